"""What is put behind the person: a picture, a colour, the blurred frame, or nothing."""

from __future__ import annotations

import math
import re
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import CannotOpen, UsageError, reading
from engines.video import frame as fr
from engines.video.frame import Frame, Layout, Plane
from engines.video.sources import read_still

LEAST = np.float32(1e-3)  # weight of a pixel of the person, where there is nothing else


class Background(Protocol):
    """Planes to put behind a frame."""

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        """One (H, W) uint8 plane for each of the frame's.

        Args:
            alphas: the frame's alpha at the size of each plane, (H, W) uint8, 255 = person.
        """


class Picture:
    """A picture that covers the frame: scaled to fill it, what stands over cut off evenly."""

    def __init__(self, rgb: Plane, sample_aspect: Fraction | None = None):
        self._rgb, self._aspect = rgb, float(sample_aspect or 1)
        self._made: tuple[Layout, list[Plane]] | None = None

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        if self._made is None or self._made[0] != frame.layout:
            width, height = frame.layout.width, frame.layout.height
            covered = cover(self._rgb, max(1, round(width * self._aspect)), height)
            if covered.shape[1] != width:  # the player stretches the frame back
                covered = cv2.resize(covered, (width, height), interpolation=cv2.INTER_AREA)
            converted = fr.from_rgb(covered, frame.layout)
            self._made = frame.layout, [p.copy() for p in fr.planes(converted)]
        return self._made[1]


class Blur:
    """The frame itself, out of focus.

    The person is left out of the average (normalised convolution, Knutsson and Westin 1993), so
    that no glow of their colours surrounds them.

    Args:
        strength: standard deviation of the Gaussian, in percent of the shorter edge.
    """

    def __init__(self, strength: float):
        self._strength = strength

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        sigma = self._strength / 100 * min(frame.layout.width, frame.layout.height)
        blurred: list[Plane] = []
        weights: dict[tuple[int, ...], Any] = {}  # chroma planes share theirs
        for plane, alpha in zip(fr.planes(frame.picture), alphas, strict=True):
            # In cells of so many pixels each way: at a sigma of 2 of them nothing is lost.
            plane_sigma = sigma * plane.shape[0] / frame.layout.height
            halvings = int(math.log2(max(1, plane_sigma / 2)))
            cell_sigma = plane_sigma / (1 << halvings)
            if plane.shape not in weights:
                nobody = cv2.bitwise_not(alpha)
                norm = self._blur(_halved(nobody, halvings) / 255 + LEAST, cell_sigma)
                weights[plane.shape] = nobody, norm
            nobody, norm = weights[plane.shape]
            # Weighted before it is shrunk: a cell on the outline would mix the person in.
            behind = cv2.multiply(plane, nobody, scale=1 / 255)
            small = _halved(behind, halvings)
            small += LEAST * cv2.resize(plane, small.shape[::-1], interpolation=cv2.INTER_LINEAR)
            mean = cv2.convertScaleAbs(self._blur(small, cell_sigma) / norm)
            blurred.append(cv2.resize(mean, plane.shape[::-1], interpolation=cv2.INTER_LINEAR))
        return blurred

    @staticmethod
    def _blur(values: Any, sigma: float) -> Any:
        return cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)


def _halved(plane: Plane, times: int) -> NDArray[np.float32]:
    """(H, W) uint8 as float, each edge halved so often: exact halves take OpenCV's fastest way."""
    small: Any = plane
    for n in range(times):
        if n == 2:  # few are left to round, and each rounding by integers lifts the mean by 1/8
            small = small.astype(np.float32)
        h, w = small.shape
        small = cv2.resize(small, (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA)
    result: NDArray[np.float32] = small.astype(np.float32, copy=False)
    return result


def cover(rgb: Plane, width: int, height: int) -> Plane:
    """(H, W, 3) uint8 scaled and cut evenly to width × height, aspect kept."""
    h, w = rgb.shape[:2]
    scale = max(width / w, height / h)
    cut_w, cut_h = min(w, max(1, round(width / scale))), min(h, max(1, round(height / scale)))
    x, y = (w - cut_w) // 2, (h - cut_h) // 2
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    part = np.ascontiguousarray(rgb[y : y + cut_h, x : x + cut_w])
    resized: Any = cv2.resize(part, (width, height), interpolation=how)
    return resized


def open_background(spec: str, sample_aspect: Fraction | None = None) -> Background | None:
    """A background from what ``--bg`` says; None for ``transparent``.

    Args:
        sample_aspect: width to height of the video's pixels, 1 when None.
        spec: a picture file, ``#rrggbb``, ``blur``, ``blur:N`` (0 < N ≤ 50) or ``transparent``.

    Raises:
        UsageError: none of these.
        CannotOpen, BadData: the picture.
    """
    if spec == "transparent":
        return None
    if spec.startswith("#"):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", spec):
            raise UsageError(f"--bg {spec}: a colour is written #rrggbb, as in '#00b140'")
        return Picture(np.full((1, 1, 3), list(bytes.fromhex(spec[1:])), np.uint8))
    if match := re.fullmatch(r"blur(?::(.*))?", spec):
        try:
            strength = float(match[1] or 3)
        except ValueError:
            strength = 0.0
        if not 0 < strength <= 50:
            raise UsageError(f"--bg {spec}: blur:N takes a number over 0 up to 50")
        return Blur(strength)
    path = Path(spec)
    with reading(f"--bg {spec}"):
        exists = path.exists()
    if not exists:
        raise CannotOpen(
            f"--bg {spec}: no such file; --bg takes a picture, '#rrggbb', blur, blur:N or "
            "transparent"
        )
    if path.is_dir():
        raise CannotOpen(f"--bg {spec}: is a folder; name one picture")
    picture, layout = read_still(path)
    return Picture(fr.RgbScaler(layout)(picture, layout.width, layout.height), sample_aspect)
