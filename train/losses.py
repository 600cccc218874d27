"""Named loss terms, as functions of probabilities or logits and labels in [0, 1].

Shapes are (N, 1, H, W) float throughout. A term returns one value per sample, (N,), so that terms
about edges can leave out samples that only have a coarse mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def mse(matte: Tensor, alpha: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean squared difference, optionally weighted per pixel (WSSHM, pre-training)."""
    return mean((matte - alpha).square(), weight)


def l1(matte: Tensor, alpha: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean absolute difference, optionally weighted per pixel."""
    return mean((matte - alpha).abs(), weight)


def charbonnier(
    matte: Tensor, alpha: Tensor, weight: Tensor | None = None, epsilon: float = 1e-6
) -> Tensor:
    """Return the mean of `smooth_abs` of the difference, optionally weighted per pixel."""
    return mean(smooth_abs(matte - alpha, epsilon), weight)


def smooth_abs(difference: Tensor, epsilon: float = 1e-6) -> Tensor:
    """Return ``sqrt(d² + ε²)`` of each value (the alpha loss of Xu et al., 2017)."""
    return (difference.square() + epsilon**2).sqrt()


def bce(logits: Tensor, label: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the binary cross-entropy of logits and soft labels, optionally weighted per pixel."""
    return mean(F.binary_cross_entropy_with_logits(logits, label, reduction="none"), weight)


def gradient(matte: Tensor, alpha: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the L1 difference of the horizontal and vertical finite differences.

    Of two neighbours, the lesser weight counts.
    """
    d, total = matte - alpha, matte.new_zeros(matte.shape[0])
    for dim in (-1, -2):
        n = d.shape[dim] - 1
        w = weight
        if weight is not None:
            w = torch.minimum(weight.narrow(dim, 0, n), weight.narrow(dim, 1, n))
        total = total + mean(d.diff(dim=dim).abs(), w)
    return total


def laplacian_pyramid(
    matte: Tensor,
    alpha: Tensor,
    levels: int = 5,
    even: bool = False,
    weight: Tensor | None = None,
) -> Tensor:
    """Return the L1 of a Laplacian pyramid (Niklaus et al., 2018), level k of n weighs 2^k / n.

    With `even`, each level weighs 1. The pyramid is linear, so that of the difference, times the
    weight of each pixel, is enough. Sides must be multiples of ``2 ** levels``.
    """
    d, total = matte - alpha, matte.new_zeros(matte.shape[0])
    if weight is not None:
        d = d * weight
    for level in range(levels):
        down = F.avg_pool2d(_blur(d), 2)
        up = F.interpolate(down, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + (1 if even else 2**level / levels) * mean((d - up).abs())
        d = down
    return total


def context(features: Tensor, of_teacher: Tensor) -> Tensor:
    """Return 1 - cosine between the features of student and teacher, averaged over positions.

    Both are (N, C, h, w) after a ReLU; the finer grid is averaged down to the coarser one.
    """
    h, w = (min(a, b) for a, b in zip(features.shape[2:], of_teacher.shape[2:], strict=True))
    pooled = (F.adaptive_avg_pool2d(x, (h, w)) for x in (features, of_teacher))
    return mean(1 - F.cosine_similarity(*pooled, dim=1))


def _blur(x: Tensor) -> Tensor:
    k = x.new_tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    x = F.conv2d(F.pad(x, (2, 2, 0, 0), mode="replicate"), k.view(1, 1, 1, 5))
    return F.conv2d(F.pad(x, (0, 0, 2, 2), mode="replicate"), k.view(1, 1, 5, 1))


def mean(x: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of each sample's values, optionally weighted per pixel."""
    if weight is None:
        return x.flatten(1).mean(1)
    return (x * weight).flatten(1).sum(1) / weight.flatten(1).sum(1).clamp_min(1)
