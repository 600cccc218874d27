"""Named loss terms, as functions of probabilities or logits and labels in [0, 1].

Shapes are (N, 1, H, W) float throughout. A term returns one value per sample, (N,), so that terms
which need fine labels can be kept off samples that only have a coarse mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def boundary_label(alpha: Tensor) -> Tensor:
    """1 where ``0.05 < alpha < 0.95``, else 0 (WSSHM, step 1)."""
    return ((alpha > 0.05) & (alpha < 0.95)).to(alpha.dtype)


def l1(matte: Tensor, alpha: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean absolute difference, optionally weighted per pixel."""
    return _mean((matte - alpha).abs(), weight)


def bce(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy of logits, optionally weighted per pixel; soft labels allowed."""
    return _mean(F.binary_cross_entropy_with_logits(logits, label, reduction="none"), weight)


def gradient(matte: Tensor, alpha: Tensor) -> Tensor:
    """L1 of the horizontal and vertical finite differences."""
    d = matte - alpha
    return _mean(d.diff(dim=-1).abs()) + _mean(d.diff(dim=-2).abs())


def laplacian_pyramid(matte: Tensor, alpha: Tensor, levels: int = 5) -> Tensor:
    """L1 over a Laplacian pyramid, level k of n weighted by 2^k / n (Niklaus et al., 2018).

    Linear in its input, so one pyramid of the difference serves. Sides need to be multiples of
    ``2 ** levels``.
    """
    d, total = matte - alpha, matte.new_zeros(matte.shape[0])
    for level in range(levels):
        down = F.avg_pool2d(_blur(d), 2)
        up = F.interpolate(down, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + 2**level / levels * _mean((d - up).abs())
        d = down
    return total


def _blur(x: Tensor) -> Tensor:
    k = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), k.view(1, 1, 1, 5))
    return F.conv2d(F.pad(x, (0, 0, 2, 2), mode="replicate"), k.view(1, 1, 5, 1))


def _mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
    if weight is None:
        return x.flatten(1).mean(1)
    return (x * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)


def matting_losses(
    matte: Tensor, boundary: Tensor, label: Tensor, fine: Tensor, boundary_weight: float
) -> dict[str, Tensor]:
    """The terms of one step and their ``total``, each a scalar.

    A coarse mask says where a person is but not how its edge falls off: within 3 pixels of its
    edge it counts a quarter. The terms about edges (gradient, Laplacian pyramid, boundary) only see
    samples with fine labels.

    Args:
        matte, boundary: logits of the network.
        label: alpha or mask in [0, 1].
        fine: (N,) bool, True where `label` is an alpha.
        boundary_weight: λ of the paper.
    """
    alpha, is_fine = matte.sigmoid(), fine.to(matte.dtype)
    edge = F.max_pool2d(label, 7, 1, 3) + F.max_pool2d(-label, 7, 1, 3)
    weight = torch.where(fine.view(-1, 1, 1, 1), torch.ones_like(edge), 1 - 0.75 * edge)
    n_fine = is_fine.sum().clamp_min(1)
    terms = {
        "l1": l1(alpha, label, weight).mean(),
        "bce": 0.5 * bce(matte, label, weight).mean(),
        "gradient": (gradient(alpha, label) * is_fine).sum() / n_fine,
        "laplacian": (laplacian_pyramid(alpha, label) * is_fine).sum() / n_fine,
        "boundary": boundary_weight
        * (bce(boundary, boundary_label(label)) * is_fine).sum()
        / n_fine,
    }
    return terms | {"total": torch.stack(list(terms.values())).sum()}
