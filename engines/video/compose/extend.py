"""Extend the person's colours to where alpha is 0.

A file with straight alpha has colours there too. They are not shown, but they can be extracted, and
a player that scales colour and alpha separately mixes them into the outline. So they are made from
the person alone, by push and pull (Gortler et al., "The Lumigraph", 1996): means of neighbourhoods
that grow with the distance from the person, then a plain grey, which takes no bits to encode.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from engines.arrays import F32, Plane
from engines.video.matte.outline import shrink

MIN_MEANS_LINES = 128  # shorter edge of the finest means, at most twice this; or the frame's
COARSER_LEVELS = 2  # of means, each of half the size; beyond them nothing is left of the person
FULL_WEIGHT = 1 / 4  # from this weight on, nothing is taken from further away
NEUTRAL = np.array([128, 128, 128, 1], np.float32)  # grey in any planes, and its weight


def extend(planes: Sequence[Plane], alpha: Plane) -> list[Plane]:
    """Return planes in which the person's colours go on beyond the person.

    Args:
        planes: three (H, W) of the foreground, uint8 or uint16 of 10 bits, chroma of any size.
        alpha: (H, W) uint8, 255 = person, at the size of the first plane.

    Returns:
        Three planes of the same sizes and type; where alpha is 255 they show the person blurred.
    """
    height, width = alpha.shape
    if is_deep := planes[0].dtype == np.uint16:  # 8 bits are enough: it is not shown
        planes = [cv2.convertScaleAbs(p, alpha=1 / 4) for p in planes]
    halvings = max(0, (min(width, height) // MIN_MEANS_LINES).bit_length() - 1)
    size = max(1, width >> halvings), max(1, height >> halvings)
    means = cv2.convertScaleAbs(_extended(_weighted(planes, alpha, size), COARSER_LEVELS))
    if is_deep:
        means = np.left_shift(means, 2, dtype=np.uint16)
    return [
        cv2.resize(colour, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for colour, plane in zip(cv2.split(means)[:3], planes, strict=True)
    ]


def _weighted(planes: Sequence[Plane], alpha: Plane, size: tuple[int, int]) -> F32:
    """Return three planes times α², and α² in [0, 1], at a `size` of (w, h): (h, w, 4).

    They are weighted before they are shrunk: a pixel on the outline would mix in the background.
    The weight is the square, as mixed pixels tell little of the person's colour.
    """
    luma = cv2.multiply(alpha, alpha, scale=1 / 255)
    chroma = cv2.resize(luma, planes[1].shape[::-1], interpolation=cv2.INTER_AREA)
    weights = luma, chroma, chroma
    parts = [cv2.multiply(p, w, scale=1 / 255) for p, w in zip(planes, weights, strict=True)]
    weighted: F32 = cv2.merge([shrink(p, size) for p in (*parts, luma)]).astype(np.float32)
    weighted[..., 3] /= 255
    return weighted


def _extended(weighted: F32, levels: int) -> F32:
    """Return (h, w, 4) colours times their weight, and the weight, filled to a weight of 1."""
    height, width = weighted.shape[:2]
    near = weighted / np.maximum(weighted[..., 3:], FULL_WEIGHT)
    rest: Any = NEUTRAL
    if levels:
        half = -(-width // 2), -(-height // 2)
        coarse = _extended(cv2.resize(near, half, interpolation=cv2.INTER_AREA), levels - 1)
        rest = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    filled: F32 = near + (1 - near[..., 3:]) * rest
    return filled
