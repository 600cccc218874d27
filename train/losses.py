"""Named loss terms, as functions of probabilities or logits and labels in [0, 1].

Shapes are (N, 1, H, W) float throughout. A term returns one value per sample, (N,), so that terms
which need fine labels can be kept off samples that only have a coarse mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mse(matte: Tensor, alpha: Tensor, weight: Tensor | None = None) -> Tensor:
    """Mean squared difference, optionally weighted per pixel (WSSHM, pre-training)."""
    return _mean((matte - alpha).square(), weight)


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


def context(features: Tensor, of_teacher: Tensor) -> Tensor:
    """1 - cosine between the features of student and teacher, the mean over places.

    Both are (N, C, h, w) after a ReLU; the finer grid is averaged to the coarser one.
    """
    h, w = (min(a, b) for a, b in zip(features.shape[2:], of_teacher.shape[2:], strict=True))
    pooled = (F.adaptive_avg_pool2d(x, (h, w)) for x in (features, of_teacher))
    return _mean(1 - F.cosine_similarity(*pooled, dim=1))


def _blur(x: Tensor) -> Tensor:
    k = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), k.view(1, 1, 1, 5))
    return F.conv2d(F.pad(x, (0, 0, 2, 2), mode="replicate"), k.view(1, 1, 5, 1))


def _mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
    if weight is None:
        return x.flatten(1).mean(1)
    return (x * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)


def edge_weight(mask: Tensor, edge: float) -> Tensor:
    """`edge` within 3 pixels of a mask's edge, 1 elsewhere.

    A coarse mask says where a person is but not how its edge falls off.
    """
    near = F.max_pool2d(mask, 7, 1, 3) + F.max_pool2d(-mask, 7, 1, 3)
    return 1 - (1 - edge) * near


def matting_losses(
    matte: Tensor,
    boundary: Tensor,
    label: Tensor,
    boundary_label: Tensor,
    fine: Tensor,
    weights: dict[str, float],
    mask_edge: float = 1.0,
    features: Tensor | None = None,
    of_teacher: Tensor | None = None,
) -> dict[str, Tensor]:
    """The weighted terms of one step and their ``total``, each a scalar, the mean over the batch.

    Terms about edges (``gradient``, ``laplacian``, ``boundary``) leave samples with coarse labels
    out: they count as zero, so that batches split among processes average to the same.

    Args:
        matte, boundary: logits of the network.
        label: alpha, blended label or mask in [0, 1].
        boundary_label: of `mlb.boundary_label` or predicted by the teacher.
        fine: (N,) bool, False where `label` is a coarse mask.
        weights: of the terms by name; those left out are not computed.
        mask_edge: weight of pixels near the edge of a coarse mask, see `edge_weight`.
        features, of_teacher: of the network and of its teacher, for the term ``context``.
    """
    alpha, is_fine = matte.sigmoid(), fine.to(matte.dtype)
    pixels = None
    if mask_edge != 1.0:
        coarse = edge_weight(label, mask_edge)
        pixels = torch.where(fine.view(-1, 1, 1, 1), torch.ones_like(coarse), coarse)
    terms = {
        "mse": lambda: mse(alpha, label, pixels),
        "l1": lambda: l1(alpha, label, pixels),
        "bce": lambda: bce(matte, label, pixels),
        "gradient": lambda: gradient(alpha, label) * is_fine,
        "laplacian": lambda: laplacian_pyramid(alpha, label) * is_fine,
        "boundary": lambda: bce(boundary, boundary_label) * is_fine,
    }
    if features is not None and of_teacher is not None:
        terms["context"] = lambda: context(features, of_teacher)
    losses = {name: weight * terms[name]().mean() for name, weight in weights.items()}
    return losses | {"total": torch.stack(list(losses.values())).sum()}
