"""Cut-outs over backgrounds by eq. 1, ``I = αF + (1 - α)B`` on stored values: the measured ones.

Which backgrounds a cut-out gets, how they are cropped and every value of the composite are the same
on every machine: choice by hash, integer arithmetic, nothing random.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.arrays import U8

SEED = 0
PER_MATTE = 3  # backgrounds that each cut-out is measured on
OPAQUE = 230  # of 255: alpha from which a cut-out's own colour is trusted


def extend_foreground(rgba: U8) -> U8:
    """Replace colour where alpha is below 0.9 by that of the nearest opaque pixel.

    Cut-outs keep the old background in their soft edges; composited as they are, a network learns
    to look for that halo.

    Args:
        rgba: (H, W, 4) uint8, straight alpha.
    """
    solid = rgba[..., 3] >= OPAQUE
    if not solid.any():
        return rgba
    _, nearest = cv2.distanceTransformWithLabels(
        (~solid).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    colour_of = np.zeros((nearest.max() + 1, 3), np.uint8)
    colour_of[nearest[solid]] = rgba[solid][:, :3]
    filled = cv2.blur(colour_of[nearest], (3, 3))
    return np.dstack([np.where(solid[..., None], rgba[..., :3], filled), rgba[..., 3]])


def cover(image: U8, width: int, height: int) -> U8:
    """The middle of an image, scaled so that it just covers width × height pixels.

    Bit-exact: whole-number shrinking by averages, the rest by OpenCV's exact linear resize.

    Args:
        image: (H, W, 3) uint8.
    """
    h, w = image.shape[:2]
    scale = max(width / w, height / h)
    if (k := int(1 / scale)) > 1:
        h, w = h // k, w // k
        blocks = image[: h * k, : w * k].reshape(h, k, w, k, 3).sum((1, 3), dtype=np.int64)
        image = ((blocks + k * k // 2) // (k * k)).astype(np.uint8)
        scale = max(width / w, height / h)
    w, h = max(width, round(w * scale)), max(height, round(h * scale))
    scaled: Any = cv2.resize(image, (w, h), interpolation=cv2.INTER_LINEAR_EXACT)
    x, y = (w - width) // 2, (h - height) // 2
    return scaled[y : y + height, x : x + width]


def composite(cutout: U8, background: U8) -> tuple[U8, U8]:
    """A cut-out over the middle of a background, in the cut-out's own frame.

    Args:
        cutout: (H, W, 4) uint8 RGBA, straight alpha.
        background: (h, w, 3) uint8 RGB of any size.

    Returns:
        image (H, W, 3), each value rounded to the nearest, and alpha (H, W), both uint8.
    """
    height, width = cutout.shape[:2]
    rgba = extend_foreground(cutout).astype(np.int32)
    behind = cover(background, width, height).astype(np.int32)
    a = rgba[..., 3:]
    image = (a * rgba[..., :3] + (255 - a) * behind + 127) // 255
    return image.astype(np.uint8), cutout[..., 3].copy()


def choose_backgrounds(cutout: str, backgrounds: list[Path], count: int = PER_MATTE) -> list[Path]:
    """The backgrounds of one cut-out: those whose name, hashed with its, comes first.

    A background more or less in the folder changes only the composites that it takes part in.

    Args:
        cutout: its name, ``source/stem``.
    """

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{SEED}/{cutout}/{path.name}".encode()).digest()

    return sorted(backgrounds, key=rank)[:count]
