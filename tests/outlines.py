"""Images of known alpha and colours, for what works on a matte's outline."""

from __future__ import annotations

from fractions import Fraction

import cv2
import numpy as np

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.frame import Frame, FrameFormat

FORMATS = ["yuv420p", "yuv422p", "yuv444p", "gbrp", "yuv420p10le"]
PERSON, WALL = (70, 48, 40), (150, 165, 180)  # RGB: dark hair before a pale wall


def soft_person(width: int = 240, height: int = 180) -> Plane:
    """Alpha (H, W) uint8: a head with strands of hair, drawn finely and averaged."""
    k = 8
    fine = np.zeros((height * k, width * k), np.uint8)
    centre = (width * k // 2, height * k)
    cv2.ellipse(fine, centre, (width * k // 4, height * k * 2 // 3), 0, 0, 360, 255, -1)
    for i in range(24):
        angle = np.pi * (1 + (i + 0.5) / 24)
        start = np.array(centre) + np.array([np.cos(angle), np.sin(angle)]) * 0.4 * height * k
        end = start + np.array([np.cos(angle + 0.4), np.sin(angle + 0.4)]) * 0.4 * height * k
        cv2.line(fine, start.astype(int).tolist(), end.astype(int).tolist(), 255, 2 * k)
    small = cv2.resize(fine, (width, height), interpolation=cv2.INTER_AREA)
    return cv2.GaussianBlur(small, (0, 0), 0.7)


def textured(colour: tuple[int, int, int], width: int, height: int, seed: int) -> Plane:
    """(H, W, 3) uint8: a colour with soft blotches of ±12."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 1)).astype(np.float32)
    blotches = cv2.GaussianBlur(noise, (0, 0), 6)[..., np.newaxis]
    blotches *= 12 / np.abs(blotches).max()
    return np.clip(np.array(colour) + blotches, 0, 255).astype(np.uint8)


def over(alpha: Plane, foreground: Plane, background: Plane) -> Plane:
    """Eq. 1 on (H, W, 3) uint8, rounded to the nearest."""
    a = alpha[..., np.newaxis].astype(np.int32)
    return ((a * foreground + (255 - a) * background + 127) // 255).astype(np.uint8)


def framed(rgb: Plane, pix_fmt: str = "yuv420p") -> Frame:
    """A frame that shows (H, W, 3) RGB."""
    fmt = FrameFormat(rgb.shape[1], rgb.shape[0], pix_fmt, fr.BT709, fr.LIMITED)
    return Frame(fr.from_rgb(rgb, fmt), fmt, 0, Fraction(1, 30))


def reduced(alpha: Plane, ratio: float) -> np.ndarray:
    """(H, W) uint8 alpha as a network's: (H / ratio, W / ratio) float32 in [0, 1]."""
    size = (round(alpha.shape[1] / ratio), round(alpha.shape[0] / ratio))
    return cv2.resize(alpha, size, interpolation=cv2.INTER_AREA).astype(np.float32) / 255
