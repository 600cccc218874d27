"""Spoil a fine mask as coarse annotations are: BSHM's twin of a matte (Liu et al., 2020).

The paper blurs, thresholds, erodes or dilates, and shrinks and enlarges; how much and how often it
does not say. Here each has a chance of a half, with the ranges below.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.random import Generator

from engines.arrays import U8

CHANCE = 0.5
# Pixels of a map of 192×160, and as many of another as it is larger or smaller.
SIGMA = (1.0, 5.0)
DIAMETER = (3.0, 9.0)  # of the ellipse that erodes or dilates
SIDE = (192 * 160) ** 0.5
LEVEL = (0.3, 0.7)  # of the threshold
FACTOR = (2.0, 4.0)  # by which it is shrunk, and enlarged again


def spoilt(rng: Generator, mask: U8) -> U8:
    """Return a mask (H, W) uint8, 255 = person, at random blurred, hard, wide or thin, and coarse.

    Always takes as many numbers of the generator.
    """
    h, w = mask.shape
    unit = (h * w) ** 0.5 / SIDE
    blur, harden, reshape, shrink, grows = rng.random(5) < CHANCE
    sigma, diameter, level, factor = (
        float(rng.uniform(*limits)) for limits in (SIGMA, DIAMETER, LEVEL, FACTOR)
    )
    if blur:
        mask = np.asarray(cv2.GaussianBlur(mask, (0, 0), sigma * unit), np.uint8)
    if harden:
        mask = np.where(mask > level * 255, 255, 0).astype(np.uint8)
    if reshape:
        side = max(1, round(diameter * unit))
        ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
        mask = np.asarray((cv2.dilate if grows else cv2.erode)(mask, ellipse), np.uint8)
    if shrink:
        small = max(1, round(w / factor)), max(1, round(h / factor))
        mask = cv2.resize(mask, small, interpolation=cv2.INTER_AREA)
        mask = np.asarray(cv2.resize(mask, (w, h), interpolation=cv2.INTER_LINEAR), np.uint8)
    return mask
