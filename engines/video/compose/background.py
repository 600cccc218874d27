"""What is put behind the person: an image, a video, a colour, the blurred frame, or nothing."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import Plane
from engines.errors import CannotOpen, UsageError, reading
from engines.files import IMAGE_SUFFIXES
from engines.video import frame as fr
from engines.video.config import BackgroundFit
from engines.video.frame import Frame, FrameFormat
from engines.video.read.pictures import read_image_frame

LEAST = np.float32(1e-3)  # weight of a pixel of the person, where there is nothing else


class Background(Protocol):
    """Planes to put behind a frame."""

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        """One (H, W) plane for each of the frame's, with as many bits.

        Args:
            alphas: the frame's alpha at the size of each plane, (H, W) uint8, 255 = person.
        """

    def close(self) -> None:
        """Release what is open."""


class ImageBackground:
    """An image, scaled to the frame."""

    def __init__(
        self,
        rgb: Plane,
        sample_aspect: Fraction | None = None,
        fit: BackgroundFit = BackgroundFit.cover,
    ):
        self._rgb, self._aspect, self._fit = rgb, float(sample_aspect or 1), fit
        self._made: tuple[FrameFormat, list[Plane]] | None = None

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        if self._made is None or self._made[0] != frame.format:
            size = frame.format.width, frame.format.height
            converted = fr.from_rgb(place(self._rgb, size, self._fit, self._aspect), frame.format)
            self._made = frame.format, [p.copy() for p in fr.planes(converted)]
        return self._made[1]

    def close(self) -> None:
        pass


class BlurredBackground:
    """The frame itself, out of focus.

    The person is left out of the average (normalised convolution, Knutsson and Westin 1993), so
    that no glow of their colours surrounds them.

    Args:
        strength: standard deviation of the Gaussian, in percent of the shorter edge.
    """

    def __init__(self, strength: float):
        self._strength = strength

    def close(self) -> None:
        pass

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        sigma = self._strength / 100 * min(frame.format.width, frame.format.height)
        depth = cv2.CV_8U if frame.format.bit_depth == 8 else cv2.CV_16U
        blurred: list[Plane] = []
        weights: dict[tuple[int, ...], Any] = {}  # chroma planes share theirs
        for plane, alpha in zip(fr.planes(frame.image), alphas, strict=True):
            # In cells of so many pixels each way: at a sigma of 2 of them nothing is lost.
            plane_sigma = sigma * plane.shape[0] / frame.format.height
            halvings = int(math.log2(max(1, plane_sigma / 2)))
            cell_sigma = plane_sigma / (1 << halvings)
            if plane.shape not in weights:
                nobody = cv2.bitwise_not(alpha)
                norm = self._blur(_halved(nobody, halvings) / 255 + LEAST, cell_sigma)
                weights[plane.shape] = nobody.astype(plane.dtype, copy=False), norm
            nobody, norm = weights[plane.shape]
            # Weighted before it is shrunk: a cell on the outline would mix the person in.
            behind = cv2.multiply(plane, nobody, scale=1 / 255)
            small = _halved(behind, halvings)
            small += LEAST * cv2.resize(plane, small.shape[::-1], interpolation=cv2.INTER_LINEAR)
            mean: Any = cv2.divide(self._blur(small, cell_sigma), norm, dtype=depth)
            mean = cv2.min(mean, frame.format.peak)
            blurred.append(cv2.resize(mean, plane.shape[::-1], interpolation=cv2.INTER_LINEAR))
        return blurred

    @staticmethod
    def _blur(values: Any, sigma: float) -> Any:
        return cv2.GaussianBlur(values, (0, 0), max(sigma, 0.3), borderType=cv2.BORDER_REPLICATE)


def _halved(plane: Plane, times: int) -> NDArray[np.float32]:
    """(H, W) codes as float, each edge halved so often: exact halves take OpenCV's fastest way."""
    small: Any = plane
    for n in range(times):
        if n == 2:  # few are left to round, and each rounding by integers lifts the mean by 1/8
            small = small.astype(np.float32)
        h, w = small.shape
        small = cv2.resize(small, (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA)
    result: NDArray[np.float32] = small.astype(np.float32, copy=False)
    return result


Box = tuple[int, int, int, int]  # left, top, width, height


def fitted(
    size: tuple[int, int], frame: tuple[int, int], fit: BackgroundFit, aspect: float, step: int = 1
) -> tuple[Box, Box]:
    """Which part of an image is seen in a frame, and where; width before height.

    Args:
        aspect: width to height of the image's pixels, in pixels of the frame.
        step: what left and top are multiples of: 2 where chroma is thinned.
    """
    (w, h), (width, height) = size, frame
    if fit is BackgroundFit.stretch:
        return (0, 0, w, h), (0, 0, width, height)
    across, down = width / (w * aspect), height / h
    if fit is BackgroundFit.contain:
        scale = min(across, down)
        place = _middle(frame, (w * aspect * scale, h * scale), step)
        return (0, 0, w, h), place
    scale = max(across, down)
    return _middle(size, (width / (aspect * scale), height / scale), step), (0, 0, width, height)


def _middle(whole: tuple[int, int], part: tuple[float, float], step: int) -> Box:
    width, height = (min(w, max(1, round(p))) for w, p in zip(whole, part, strict=True))
    left, top = ((w - p) // 2 // step * step for w, p in zip(whole, (width, height), strict=True))
    return left, top, width, height


def place(
    rgb: Plane, frame: tuple[int, int], fit: BackgroundFit = BackgroundFit.cover, aspect: float = 1
) -> Plane:
    """(h, w, 3) uint8 scaled to a frame of (width, height), black where it does not reach.

    Args:
        aspect: width to height of the frame's pixels.
    """
    size = rgb.shape[1], rgb.shape[0]
    (x, y, w, h), (left, top, width, height) = fitted(size, frame, fit, 1 / aspect)
    how = cv2.INTER_AREA if width * height < w * h else cv2.INTER_CUBIC
    part = np.ascontiguousarray(rgb[y : y + h, x : x + w])
    resized: Any = cv2.resize(part, (width, height), interpolation=how)
    if (width, height) == frame:
        return resized
    whole = np.zeros((frame[1], frame[0], 3), np.uint8)
    whole[top : top + height, left : left + width] = resized
    return whole


def open_background(
    spec: str,
    sample_aspect: Fraction | None = None,
    fit: BackgroundFit = BackgroundFit.cover,
    on_note: Callable[[str], None] = lambda text: None,
    bit_depth: int = 8,
) -> Background | None:
    """A background from what ``--bg`` says; None for ``transparent``.

    Args:
        sample_aspect: width to height of the video's pixels, 1 when None.
        spec: an image or a video file, ``#rrggbb``, ``blur``, ``blur:N`` (0 < N ≤ 50) or
            ``transparent``.
        on_note: told where a video ends before it should.
        bit_depth: of a code of the frames it is put behind.

    Raises:
        UsageError: none of these.
        CannotOpen, BadData: the image or the video.
    """
    if spec == "transparent":
        return None
    if spec.startswith("#"):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", spec):
            raise UsageError(f"--bg {spec}: a colour is written #rrggbb, as in '#00b140'")
        return ImageBackground(np.full((1, 1, 3), list(bytes.fromhex(spec[1:])), np.uint8))
    if match := re.fullmatch(r"blur(?::(.*))?", spec):
        try:
            strength = float(match[1] or 3)
        except ValueError:
            strength = 0.0
        if not 0 < strength <= 50:
            raise UsageError(f"--bg {spec}: blur:N takes a number over 0 up to 50")
        return BlurredBackground(strength)
    path = Path(spec)
    with reading(f"--bg {spec}"):
        exists = path.exists()
    if not exists:
        raise CannotOpen(
            f"--bg {spec}: no such file; --bg takes an image, a video, a colour as '#00b140', "
            "blur, blur:N or transparent"
        )
    if path.is_dir():
        raise CannotOpen(f"--bg {spec}: is a folder; name one image or video")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        from engines.video.compose.moving import VideoBackground  # which builds on this module

        return VideoBackground(path, sample_aspect, fit, on_note, bit_depth)
    image, fmt = read_image_frame(path)
    return ImageBackground(fr.RgbScaler(fmt)(image, fmt.width, fmt.height), sample_aspect, fit)
