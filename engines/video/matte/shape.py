"""Change a matte's shape: remove islands, make the person smaller or larger, soften edges."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from engines.arrays import F32, Plane

MIN_PART_ALPHA = 0.1  # pixels with more alpha belong to a part
RIM_PIXELS = 3  # around a part that are kept or removed with it


def remove_islands(alpha: F32, share: float) -> F32:
    """Remove the parts of a matte that are smaller than `share` of the largest one.

    A part is connected, corners included, with alpha over `MIN_PART_ALPHA`. Fainter pixels that are
    not within `RIM_PIXELS` of a part are removed too.

    Args:
        alpha: (h, w) float32 in [0, 1].
        share: in [0, 1]; 0 keeps everything.
    """
    if not share:
        return alpha
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (alpha > MIN_PART_ALPHA).astype(np.uint8), connectivity=8
    )
    sizes = stats[:, cv2.CC_STAT_AREA]
    sizes[0] = 0  # all that is no part
    keep = (sizes > 0) & (sizes >= share * sizes.max())
    around = np.ones((2 * RIM_PIXELS + 1, 2 * RIM_PIXELS + 1), np.uint8)
    return alpha * cv2.dilate(keep.astype(np.uint8)[labels], around)


def erode(alpha: Plane, pixels: int) -> Plane:
    """Make the person smaller on every side by a number of pixels, or larger if it is negative.

    Args:
        alpha: (H, W) uint8.
    """
    if not pixels:
        return alpha
    edge = 2 * abs(pixels) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (edge, edge))
    result: Any = cv2.erode(alpha, disc) if pixels > 0 else cv2.dilate(alpha, disc)
    return result


def feather(alpha: Plane, pixels: float) -> Plane:
    """Blur the edges with a Gaussian of which `pixels` is two standard deviations.

    Args:
        alpha: (H, W) uint8.
        pixels: how far an edge fades to either side.
    """
    if not pixels:
        return alpha
    result: Any = cv2.GaussianBlur(alpha, (0, 0), pixels / 2, borderType=cv2.BORDER_REPLICATE)
    return result
