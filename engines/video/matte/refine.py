"""Move the edges of an enlarged matte to where the frame has them.

On the matte's outline alpha becomes ``α + D·(I - αF̂ - (1 - α)B̂) / (λ + |D|²)`` with ``D = F̂ - B̂``:
the α that explains the pixel best, kept closer to the network's the more alike the two colours are.
It stays within the range of the network's alpha in the neighbourhood, so that no holes open inside
a person and nothing appears outside.
"""

from __future__ import annotations

import numpy as np

from engines.arrays import F32, Plane
from engines.video.frame import FrameFormat
from engines.video.matte.outline import Outline

LAMBDA = 0.05  # squared F̂-B̂ distance, samples in [0, 1], at which the correction is halved
CHROMA_WEIGHT = 9.0  # of a squared difference in chroma; luma has 1
MIN_ALPHA, MAX_ALPHA = 4, 251  # of 255: alpha below and above is not refined
YUV_OF_GBR = (0.587, 0.114, 0.299), (-0.331, 0.5, -0.169), (-0.419, -0.081, 0.5)  # BT.601


def refine(alpha: Plane, outline: Outline, fmt: FrameFormat) -> None:
    """Refine alpha on the outline, in place.

    Args:
        alpha: (H, W) uint8, 255 = person: the network's, enlarged.
        outline: of the frame and the network's alpha.
        fmt: of the frame.
    """
    points = outline.points(alpha.shape)
    if not len(points):
        return
    levels = points.take(alpha)
    person, behind = outline.colours(alpha.shape)
    here = [outline.samples(n, alpha.shape) for n in range(3)]
    between = person - behind
    offset = here - behind
    if fmt.is_rgb:
        between, offset = _yuv(between), _yuv(offset)
    # α + D·(I - B̂ - αD) / (λ + |D|²) = (λα + D·(I - B̂)) / (λ + |D|²)
    smooth = np.float32(LAMBDA * fmt.peak**2)
    refined = _dot(between, offset)
    refined *= np.float32(255)
    refined += levels * smooth
    norm = _dot(between, between)
    norm += smooth
    refined /= norm
    np.rint(np.clip(refined, 0, 255, out=refined), out=refined)
    low, high, _ = points.split(outline.bounds)
    bounded = np.minimum(np.maximum(refined.astype(np.uint8), low), high)
    np.copyto(levels, bounded, where=(levels >= MIN_ALPHA) & (levels <= MAX_ALPHA))
    points.put(levels, alpha)


def _yuv(gbr: F32) -> F32:
    g, b, r = gbr
    return np.stack([of_g * g + of_b * b + of_r * r for of_g, of_b, of_r in YUV_OF_GBR])


def _dot(a: F32, b: F32) -> F32:
    """Return the weighted dot products of (3, N) colour differences."""
    luma, chroma, other = a * b
    chroma += other
    chroma *= np.float32(CHROMA_WEIGHT)
    luma += chroma
    return luma
