"""Alpha from the network's size to the frame's, its edges where the frame has them.

On the matte's outline alpha is moved along the line between the two colours found there,
``α + D·(I - αF̂ - (1 - α)B̂) / (λ + |D|²)`` with ``D = F̂ - B̂``: the α that explains the pixel best,
held to the network's the more the two colours are alike. It stays within what the network says in
the neighbourhood, so that nothing opens inside a person and nothing appears outside.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, Plane
from engines.video.frame import FrameFormat
from engines.video.matte.outline import Outline

LAMBDA = 0.05  # squared distance of two colours that is trusted half; the greatest code is 1
CHROMA = 9.0  # what a squared code of chroma counts beside one of luma
CLEAR, SOLID = 4, 251  # of 255: alpha below and above which nothing is refined
YUV_OF_GBR = (0.587, 0.114, 0.299), (-0.331, 0.5, -0.169), (-0.419, -0.081, 0.5)  # BT.601


def refine(planes: Sequence[Plane], alpha: Plane, outline: Outline, fmt: FrameFormat) -> None:
    """Refine alpha on the outline, in place.

    Args:
        planes: the frame's three, of `fmt`.
        alpha: (H, W) uint8 at the frame's size, 255 = person: the small one, enlarged.
        outline: of this frame and the small alpha.
    """
    points = outline.points(alpha.shape)
    if not len(points):
        return
    codes = points.take(alpha)
    a = codes / np.float32(255)
    behind = [points.look_up(c) for c in outline.background]
    person = [points.look_up(c) for c in outline.person]
    here = [points.take(p) if p.shape == alpha.shape else points.look_up(p) for p in planes]
    between = [f - b for f, b in zip(person, behind, strict=True)]
    residual = [i - b - a * d for i, b, d in zip(here, behind, between, strict=True)]
    if fmt.is_rgb:
        between, residual = _yuv(between), _yuv(residual)
    a += _dot(between, residual) / (_dot(between, between) + LAMBDA * fmt.peak**2)
    refined = np.clip(255 * a, points.look_up(outline.low), points.look_up(outline.high))
    points.put(np.where((codes < CLEAR) | (codes > SOLID), codes, refined), alpha)


def _yuv(gbr: list[F32]) -> list[F32]:
    g, b, r = gbr
    return [of_g * g + of_b * b + of_r * r for of_g, of_b, of_r in YUV_OF_GBR]


def _dot(a: list[F32], b: list[F32]) -> NDArray[Any]:
    return a[0] * b[0] + CHROMA * (a[1] * b[1] + a[2] * b[2])
