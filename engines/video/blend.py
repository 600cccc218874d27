"""Blend planes by an alpha, and show of an image with alpha only what is to be seen."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import av
import cv2
import numpy as np

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.frame import FrameFormat

STRIP_ROWS = 64  # blended at a time, so that the wider products stay in the cache
# An input's own alpha, of 255, up to which nothing of its picture is left, and from which on its
# colour is there in full. Lossy codecs leave a few levels where nothing is to be seen.
HIDDEN_ALPHA, SHOWN_ALPHA = 4, 16
NEUTRAL = 128, 128, 128  # RGB, of 255: a grey that looks like nobody


def at_planes(alpha: Plane, fmt: FrameFormat) -> list[Plane]:
    """Scale (H, W) alpha to the size of each of the frame's three planes."""
    full, half, _ = fmt.plane_sizes
    chroma = alpha if half == full else cv2.resize(alpha, half, interpolation=cv2.INTER_AREA)
    return [alpha, chroma, chroma]


def blend(foreground: Plane, background: Plane, alpha: Plane, out: Plane) -> None:
    """Write ``(α·F + (255 - α)·B) / 255`` to `out`, rounded to nearest; all (H, W).

    α is uint8; the others are uint8, or uint16 of 10 bits. Exact: α = 255 gives F, α = 0 gives B.
    """
    wide: Any = np.uint16 if out.dtype == np.uint8 else np.uint32
    for row in range(0, out.shape[0], STRIP_ROWS):
        strip = slice(row, row + STRIP_ROWS)
        a = alpha[strip].astype(wide)
        mix = foreground[strip].astype(wide)
        rest = background[strip].astype(wide)
        mix *= a
        a ^= 255  # 255 - α
        rest *= a
        mix += rest
        mix += 127
        mix //= 255  # which NumPy does by multiplying
        out[strip] = mix


def over(
    image: av.VideoFrame, alphas: Sequence[Plane], rgb: tuple[int, int, int], fmt: FrameFormat
) -> av.VideoFrame:
    """Return a new image: one with straight alpha, laid over a colour.

    Args:
        alphas: (H, W) uint8, 255 = opaque, at the size of each of the image's planes.
        rgb: the colour, each part of 255.
    """
    pixel = np.array([[rgb]], np.uint8)
    colour = fr.planes(fr.from_rgb(pixel, replace(fmt, width=1, height=1)))
    result = fmt.new_image()
    parts = zip(fr.planes(image), colour, alphas, fr.planes(result), strict=True)
    for plane, value, alpha, target in parts:
        blend(plane, np.broadcast_to(value, plane.shape), alpha, target)
    return result


def visible(image: av.VideoFrame, alpha: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """Return a copy of an image with straight alpha in which nothing lies hidden.

    It is grey where the image is transparent, so that neither the network nor a blurred background
    sees what is not to be seen. Where it is partly transparent, its colour stays: how much of that
    is seen, the matte says, which is multiplied by alpha.

    Args:
        alpha: (H, W) uint8, 255 = opaque, at the image's size.
    """
    scale = 255 / (SHOWN_ALPHA - HIDDEN_ALPHA)
    share = cv2.convertScaleAbs(cv2.subtract(alpha, HIDDEN_ALPHA), alpha=scale)
    return over(image, at_planes(share, fmt), NEUTRAL, fmt)
