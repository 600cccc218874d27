"""Move the edges of an enlarged matte to where the frame has them.

On the matte's outline alpha becomes ``α + D·(I - αF̂ - (1 - α)B̂) / (λ + |D|²)`` with ``D = F̂ - B̂``:
the α that explains the pixel best, kept closer to the network's the more alike the two colours are.
It stays within the range of the network's alpha in the neighbourhood, so that no holes open inside
a person and nothing appears outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, Plane
from engines.video.frame import FrameFormat
from engines.video.matte.outline import Outline

LAMBDA = 0.05  # squared F̂-B̂ distance, samples in [0, 1], at which the correction is halved
CHROMA_WEIGHT = 9.0  # of a squared difference in chroma; luma has 1
MIN_ALPHA, MAX_ALPHA = 4, 251  # of 255: alpha below and above is not refined
YUV_OF_GBR = (0.587, 0.114, 0.299), (-0.331, 0.5, -0.169), (-0.419, -0.081, 0.5)  # BT.601


def refine(planes: Sequence[Plane], alpha: Plane, outline: Outline, fmt: FrameFormat) -> None:
    """Refine alpha on the outline, in place.

    Args:
        planes: the frame's three, of `fmt`.
        alpha: (H, W) uint8 at the frame's size, 255 = person: the network's, enlarged.
        outline: of this frame and the network's alpha.
    """
    points = outline.points(alpha.shape)
    if not len(points):
        return
    levels = points.take(alpha)
    a = levels * np.float32(1 / 255)
    person, behind = outline.colours(alpha.shape)
    here = [points.take(p) if p.shape == alpha.shape else points.look_up(p) for p in planes]
    between = [f - b for f, b in zip(person, behind, strict=True)]
    residual = [i - b - a * d for i, b, d in zip(here, behind, between, strict=True)]
    if fmt.is_rgb:
        between, residual = _yuv(between), _yuv(residual)
    a += _dot(between, residual) / (_dot(between, between) + np.float32(LAMBDA * fmt.peak**2))
    a *= np.float32(255)
    low, high = points.look_up(outline.low), points.look_up(outline.high)
    is_edge = (levels >= MIN_ALPHA) & (levels <= MAX_ALPHA)
    refined = np.rint(np.clip(a, 0, 255, out=a), out=a).astype(np.uint8)
    points.put(np.where(is_edge, np.clip(refined, low, high), levels), alpha)


def _yuv(gbr: list[F32]) -> list[F32]:
    g, b, r = gbr
    return [of_g * g + of_b * b + of_r * r for of_g, of_b, of_r in YUV_OF_GBR]


def _dot(a: list[F32], b: list[F32]) -> NDArray[Any]:
    return a[0] * b[0] + CHROMA_WEIGHT * (a[1] * b[1] + a[2] * b[2])
