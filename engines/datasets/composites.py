"""Composite cut-outs over backgrounds for evaluation: ``I = αF + (1 - α)B`` on stored values.

The result is the same on every machine, bit for bit: backgrounds are chosen by hash, cropped and
composited in integer arithmetic.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.arrays import U8

SEED = 0
BACKGROUNDS_PER_CUTOUT = 3  # WSSHM puts those of D-646 on five
MIN_OPAQUE_ALPHA = 230  # of 255: below, a cut-out's colour is mixed with its old background


def extend_foreground(rgba: U8) -> U8:
    """Replace the colour of translucent pixels by that of the nearest opaque pixel.

    The soft edges of a cut-out still contain its old background. Composited like that, it would
    teach a network to look for the halo.

    Args:
        rgba: (H, W, 4) uint8, straight alpha.

    Returns:
        (H, W, 4) uint8 with the same alpha.
    """
    solid = rgba[..., 3] >= MIN_OPAQUE_ALPHA
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
    """Scale an image so that it just covers width × height pixels, and crop its middle.

    Bit-exact: it is first shrunk by a whole number with averages, then resized by OpenCV's exact
    linear interpolation.

    Args:
        image: (H, W, 3) uint8.

    Returns:
        (height, width, 3) uint8.
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
    """Composite a cut-out over the middle of a background, at the cut-out's size.

    Args:
        cutout: (H, W, 4) uint8 RGBA, straight alpha.
        background: (h, w, 3) uint8 RGB of any size.

    Returns:
        The image (H, W, 3), rounded to the nearest value, and its alpha (H, W), both uint8.
    """
    height, width = cutout.shape[:2]
    rgba = extend_foreground(cutout).astype(np.int32)
    behind = cover(background, width, height).astype(np.int32)
    a = rgba[..., 3:]
    image = (a * rgba[..., :3] + (255 - a) * behind + 127) // 255
    return image.astype(np.uint8), cutout[..., 3].copy()


def choose_backgrounds(
    cutout: str, backgrounds: list[Path], count: int = BACKGROUNDS_PER_CUTOUT
) -> list[Path]:
    """Return the backgrounds for one cut-out: the first `count` by the hash of both names.

    So a background that is added to the folder, or removed, changes only its own composites.

    Args:
        cutout: ``source/stem`` of the cut-out.
        backgrounds: the paths to choose from; only their names count.
    """

    def rank(path: Path) -> bytes:
        return hashlib.sha256(f"{SEED}/{cutout}/{path.name}".encode()).digest()

    return sorted(backgrounds, key=rank)[:count]
