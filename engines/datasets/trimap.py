"""Make trimaps of alphas: what is surely person, what surely background, and what is not known.

Papers call known what is exactly 0 or 1; here an alpha within 5 % of them is, as that of a picture
that was scaled or compressed is hardly ever exact.
"""

from __future__ import annotations

import cv2
import numpy as np

from engines.arrays import U8

BACKGROUND, UNKNOWN, PERSON = 0, 128, 255
SURE = 13  # of 255: an alpha up to this is background, one that is as near to 255 is person
# Radius of the unknown region on both sides of an edge where results are compared, as a share of
# the picture's shorter side; at least a pixel.
RADIUS_SHARE = 1 / 32


def make_trimap(alpha: U8, radius: int) -> U8:
    """Return the trimap of an alpha: person where it is eroded, background where it is dilated.

    Both are by an ellipse. Beyond the picture's border nothing is assumed, so that a person who is
    cut off there stays one.

    Args:
        alpha: (H, W) uint8.
        radius: of the ellipse in pixels.

    Returns:
        (H, W) uint8: `BACKGROUND`, `UNKNOWN` or `PERSON`.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2)
    trimap = np.full(alpha.shape, UNKNOWN, np.uint8)
    trimap[cv2.erode(alpha, kernel) >= 255 - SURE] = PERSON
    trimap[cv2.dilate(alpha, kernel) <= SURE] = BACKGROUND
    return trimap


def comparison_radius(size: int) -> int:
    """Return the radius for a picture whose shorter side has `size` pixels."""
    return max(1, round(size * RADIUS_SHARE))
