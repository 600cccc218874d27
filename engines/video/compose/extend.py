"""The person's colours, carried on to where nobody is.

A file with straight alpha has colours also where alpha is 0. They are not shown, but whoever looks
finds them, and a player that scales colour and alpha separately mixes them into the outline. What
is there is made from the person alone: push and pull (Gortler et al., "The Lumigraph", 1996), means
of larger neighbourhoods the further away the person is, and soon a plain colour, which costs no
bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from engines.arrays import F32, Plane
from engines.video.matte.outline import shrink

LINES = 128  # the shorter edge of the finest means is this to twice this, or the frame's
LEVELS = 2  # of means beyond those, each of half the size: then nothing is left of the person
SURE = 4  # a weight of a quarter is enough: nothing is taken from further away
PLAIN = np.array([128, 128, 128, 1], np.float32)  # far from anybody: grey, in any planes


def extend(planes: Sequence[Plane], alpha: Plane) -> list[Plane]:
    """Colours around a person as if the person went on there.

    Args:
        planes: the three of the person's image, uint8 or uint16 of 10 bits, each of its own size.
        alpha: (H, W) uint8, 255 = person, at the size of the first.

    Returns:
        Three such planes; what they have where alpha is 255 is the person, out of focus.
    """
    height, width = alpha.shape
    if is_deep := planes[0].dtype == np.uint16:  # 8 bits will do for what is not looked at
        planes = [cv2.convertScaleAbs(p, alpha=1 / 4) for p in planes]
    halvings = max(0, (min(width, height) // LINES).bit_length() - 1)
    size = max(1, width >> halvings), max(1, height >> halvings)
    means = cv2.convertScaleAbs(_extended(_weighted(planes, alpha, size), LEVELS))
    if is_deep:
        means = np.left_shift(means, 2, dtype=np.uint16)
    return [
        cv2.resize(colour, plane.shape[::-1], interpolation=cv2.INTER_LINEAR)
        for colour, plane in zip(cv2.split(means)[:3], planes, strict=True)
    ]


def _weighted(planes: Sequence[Plane], alpha: Plane, size: tuple[int, int]) -> F32:
    """Three planes times α², and α², at `size`: (h, w, 4), the last in [0, 1].

    Weighted before they are shrunk: a cell on the outline would mix in what is behind. By the
    square, as mixed pixels say little of the person.
    """
    luma = cv2.multiply(alpha, alpha, scale=1 / 255)
    chroma = cv2.resize(luma, planes[1].shape[::-1], interpolation=cv2.INTER_AREA)
    weights = luma, chroma, chroma
    parts = [cv2.multiply(p, w, scale=1 / 255) for p, w in zip(planes, weights, strict=True)]
    weighted: F32 = cv2.merge([shrink(p, size) for p in (*parts, luma)]).astype(np.float32)
    weighted[..., 3] /= 255
    return weighted


def _extended(weighted: F32, levels: int) -> F32:
    """(h, w, 4) of colours times their weight, and the weight, with a weight of 1 everywhere."""
    height, width = weighted.shape[:2]
    sure = weighted / np.maximum(weighted[..., 3:], 1 / SURE)
    rest: Any = PLAIN
    if levels:
        half = -(-width // 2), -(-height // 2)
        coarse = _extended(cv2.resize(sure, half, interpolation=cv2.INTER_AREA), levels - 1)
        rest = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    filled: F32 = sure + (1 - sure[..., 3:]) * rest
    return filled
