"""Guided contextual attention (Li and Lu, 2020): copy features from places that look alike."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_NORM = 1e-4  # of a patch
SELF_SCORE = -1e4  # added to the score of a place for itself
QUADRANTS = ((0, 0), (0, 1), (1, 0), (1, 1))  # of a patch of 4×4, row and column


class GuidedContextualAttention(nn.Module):
    """Add to each feature a mean of those of other places, of which the most alike weigh most.

    The form without a trimap: every place is unknown, so that all count alike and none may copy
    from itself.
    """

    def __init__(self, channels: int = 128):
        super().__init__()
        self.query = nn.Conv2d(channels, channels // 2, 1)
        self.out = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn = nn.BatchNorm2d(channels)
        nn.init.constant_(self.bn.weight, 1e-3)

    def forward(self, features: Tensor, guidance: Tensor) -> Tensor:
        """Return features (N, C, H, W) for a guidance of that shape; H and W are multiples of 4."""
        query = self.query(guidance)[:, :, ::2, ::2]
        return self.bn(self.out(attend(query, features))) + features


def attend(query: Tensor, features: Tensor) -> Tensor:
    """Return features made of those at places where the query is like their own.

    As matrix products: the same as a convolution of the query with its own patches as kernels, a
    softmax, and a transposed convolution with the features' patches as kernels. Converters refuse
    kernels that are computed.

    Args:
        query: (N, K, h, w), at least 2×2; a place is compared by its patch of 3×3.
        features: (N, C, 2h, 2w); a place copies a patch of 4×4, and the four at each pixel are
            averaged.

    Returns:
        (N, C, 2h, 2w).
    """
    looks = _patches(query)  # (N, 9K, places)
    lengths = looks.square().sum(1, keepdim=True).sqrt().clamp_min(MIN_NORM)
    scores = (looks / lengths).transpose(1, 2) @ looks  # (N, from, to)
    place = torch.arange(scores.shape[1], device=scores.device)
    itself = (place[:, None] == place).to(scores.dtype)
    shares = (scores + SELF_SCORE * itself).softmax(1)
    copied = _quadrants(features) @ shares  # (N, 16C, to)
    return _overlapped(copied.unflatten(2, query.shape[2:])) / 4


def _patches(x: Tensor) -> Tensor:
    """Return the patches of 3×3 around all places of (N, C, H, W), mirrored at the border.

    Returns:
        (N, 9C, H·W).
    """
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    rows = [x[:, :, i : i - 2 or None] for i in range(3)]
    return torch.cat([row[..., i : i - 2 or None] for row in rows for i in range(3)], 1).flatten(2)


def _quadrants(x: Tensor) -> Tensor:
    """Return the patches of 4×4 at stride 2 of (N, C, H, W), from a pixel before its border on.

    Returns:
        (N, 16C, H/2 · W/2): four quadrants, and in each all channels of four pixels.
    """
    x = F.pad(x, (1, 1, 1, 1), mode="reflect")
    pixels = []
    for top, left in QUADRANTS:
        part = x[:, :, 2 * top : 2 * top - 2 or None, 2 * left : 2 * left - 2 or None]
        pixels.append(torch.stack([part[:, :, i::2, j::2] for i, j in QUADRANTS], 2).flatten(1, 2))
    return torch.cat(pixels, 1).flatten(2)


def _overlapped(patches: Tensor) -> Tensor:
    """Return the sum (N, C, 2h, 2w) of patches (N, 16C, h, w) at the places `_quadrants` names."""
    placed = [
        F.pad(F.pixel_shuffle(part, 2), (2 * left, 2 - 2 * left, 2 * top, 2 - 2 * top))
        for (top, left), part in zip(QUADRANTS, patches.chunk(4, 1), strict=True)
    ]
    return (placed[0] + placed[1] + placed[2] + placed[3])[:, :, 1:-1, 1:-1]
