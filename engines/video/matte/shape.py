"""What may be asked of a matte's shape: no islands, a smaller or larger person, a softer edge."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import Plane

FAINT = 0.1  # alpha up to which a pixel belongs to no part
RIM = 3  # pixels around a part that are kept or removed with it


def remove_islands(alpha: NDArray[np.float32], share: float) -> NDArray[np.float32]:
    """Alpha without the parts that are smaller than `share` of the largest one.

    A part is what is connected, corners included, with alpha over `FAINT`. What is faint and beside
    no part is removed too.

    Args:
        alpha: (h, w) float32 in [0, 1].
        share: in [0, 1]; 0 keeps everything.
    """
    if not share:
        return alpha
    _, labels, stats, _ = cv2.connectedComponentsWithStats(
        (alpha > FAINT).astype(np.uint8), connectivity=8
    )
    sizes = stats[:, cv2.CC_STAT_AREA]
    sizes[0] = 0  # the ground
    keep = (sizes > 0) & (sizes >= share * sizes.max())
    around = np.ones((2 * RIM + 1, 2 * RIM + 1), np.uint8)
    return alpha * cv2.dilate(keep.astype(np.uint8)[labels], around)


def erode(alpha: Plane, pixels: int) -> Plane:
    """The person so many pixels smaller on every side, or larger where negative.

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
    """Edges blurred, by a Gaussian of which `pixels` is two standard deviations.

    Args:
        alpha: (H, W) uint8.
        pixels: how far an edge fades to either side.
    """
    if not pixels:
        return alpha
    result: Any = cv2.GaussianBlur(alpha, (0, 0), pixels / 2, borderType=cv2.BORDER_REPLICATE)
    return result
