"""The interface of a background, and two kinds: an image and the blurred frame."""

from __future__ import annotations

import math
from fractions import Fraction
from typing import Any, Protocol

import cv2
import numpy as np

from engines.arrays import F32, Plane
from engines.video import frame as fr
from engines.video.blend import NEUTRAL, at_planes, over
from engines.video.config import BackgroundFit
from engines.video.frame import Frame, FrameFormat

# The weight of the person's own pixels in the blur. It keeps the normalised convolution defined
# where nothing else is in reach.
MIN_WEIGHT = np.float32(1e-3)
Colour = tuple[int, int, int]  # RGB, of 255
BLACK = 0, 0, 0
MIN_SIGMA_PIXELS = 0.3  # of a Gaussian; OpenCV takes 0 for "choose one"


class Background(Protocol):
    """The image or video behind the person."""

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        """Return the planes to put behind a frame, of the same sizes and bit depth as its own.

        Args:
            alphas: the frame's alpha at the size of each plane, (H, W) uint8, 255 = person.
        """

    def close(self) -> None:
        """Release the open files."""


class ImageBackground:
    """An image, scaled to the frame.

    Args:
        rgb: (h, w, 3) uint8.
        sample_aspect: width to height of the frames' pixels, 1 when None.
        colour: RGB, of 255, where it does not reach.
    """

    def __init__(
        self,
        rgb: Plane,
        sample_aspect: Fraction | None = None,
        fit: BackgroundFit = BackgroundFit.cover,
        colour: Colour = BLACK,
    ):
        self._rgb, self._aspect, self._fit = rgb, float(sample_aspect or 1), fit
        self._colour = colour
        self._latest: tuple[FrameFormat, list[Plane]] | None = None

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        fmt = frame.format
        if self._latest is None or self._latest[0] != fmt:
            rgb = place(self._rgb, (fmt.width, fmt.height), self._fit, self._aspect, self._colour)
            self._latest = fmt, [p.copy() for p in fr.planes(fr.from_rgb(rgb, fmt))]
        return self._latest[1]

    def close(self) -> None:
        pass


class BlurredBackground:
    """The frame itself, blurred.

    The person is left out of the blur (normalised convolution, Knutsson and Westin 1993), so that
    no glow of their colours surrounds them.

    Args:
        strength: standard deviation of the Gaussian, in percent of the shorter edge.
    """

    def __init__(self, strength: float):
        self._strength = strength

    def close(self) -> None:
        pass

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        sigma = self._strength / 100 * min(frame.format.width, frame.format.height)
        image = frame.image
        if frame.alpha is not None:  # seen in part, else the blur would show it in full
            image = over(image, at_planes(frame.alpha, frame.format), NEUTRAL, frame.format)
        depth = cv2.CV_8U if frame.format.bit_depth == 8 else cv2.CV_16U
        blurred: list[Plane] = []
        weights: dict[tuple[int, ...], Any] = {}  # by shape: both chroma planes have the same
        for plane, alpha in zip(fr.planes(image), alphas, strict=True):
            # The plane is halved while sigma stays over 2 pixels: nothing visible is lost.
            plane_sigma = sigma * plane.shape[0] / frame.format.height
            halvings = int(math.log2(max(1, plane_sigma / 2)))
            small_sigma = plane_sigma / (1 << halvings)
            if plane.shape not in weights:
                weight = cv2.bitwise_not(alpha)
                norm = _gaussian(_halved(weight, halvings) / 255 + MIN_WEIGHT, small_sigma)
                weights[plane.shape] = weight.astype(plane.dtype, copy=False), norm
            weight, norm = weights[plane.shape]
            # Weighted before it is shrunk: a pixel on the outline would mix the person in.
            weighted = cv2.multiply(plane, weight, scale=1 / 255)
            small = _halved(weighted, halvings)
            whole = cv2.resize(plane, small.shape[::-1], interpolation=cv2.INTER_LINEAR)
            small += MIN_WEIGHT * whole
            mean: Any = cv2.divide(_gaussian(small, small_sigma), norm, dtype=depth)
            mean = cv2.min(mean, frame.format.peak)
            blurred.append(cv2.resize(mean, plane.shape[::-1], interpolation=cv2.INTER_LINEAR))
        return blurred


def _gaussian(values: Any, sigma: float) -> F32:
    """Return (H, W) float32 values blurred by a Gaussian; `sigma` is in pixels."""
    sigma = max(sigma, MIN_SIGMA_PIXELS)
    blurred: F32 = cv2.GaussianBlur(values, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return blurred


def _halved(plane: Plane, times: int) -> F32:
    """Return an (H, W) plane as float32, each edge halved `times` times.

    OpenCV is fastest at exact halves.
    """
    small: Any = plane
    for n in range(times):
        if n == 2:  # integers are faster, but each rounding lifts the mean by 1/8
            small = small.astype(np.float32)
        h, w = small.shape
        small = cv2.resize(small, (max(1, w // 2), max(1, h // 2)), interpolation=cv2.INTER_AREA)
    result: F32 = small.astype(np.float32, copy=False)
    return result


Box = tuple[int, int, int, int]  # left, top, width, height in pixels


def fitted(
    size: tuple[int, int], frame: tuple[int, int], fit: BackgroundFit, aspect: float, step: int = 1
) -> tuple[Box, Box]:
    """Return which part of an image is seen in a frame, and where in the frame.

    Args:
        size: (width, height) of the image in pixels.
        frame: (width, height) of the frame in pixels.
        aspect: width to height of the image's pixels, in pixels of the frame.
        step: what left and top are multiples of; 2 for subsampled chroma.
    """
    (w, h), (width, height) = size, frame
    if fit is BackgroundFit.stretch:
        return (0, 0, w, h), (0, 0, width, height)
    across, down = width / (w * aspect), height / h
    if fit is BackgroundFit.contain:
        scale = min(across, down)
        return (0, 0, w, h), _centred(frame, (w * aspect * scale, h * scale), step)
    scale = max(across, down)
    return _centred(size, (width / (aspect * scale), height / scale), step), (0, 0, width, height)


def _centred(whole: tuple[int, int], part: tuple[float, float], step: int) -> Box:
    """Return the box of size `part`, rounded to pixels, in the middle of `whole`."""
    width, height = (min(w, max(1, round(p))) for w, p in zip(whole, part, strict=True))
    left, top = ((w - p) // 2 // step * step for w, p in zip(whole, (width, height), strict=True))
    return left, top, width, height


def place(
    rgb: Plane,
    frame: tuple[int, int],
    fit: BackgroundFit = BackgroundFit.cover,
    aspect: float = 1,
    colour: Colour = BLACK,
) -> Plane:
    """Return an image scaled to a frame: (height, width, 3) uint8.

    Args:
        rgb: (h, w, 3) uint8.
        frame: (width, height) of the frame in pixels.
        aspect: width to height of the frame's pixels.
        colour: RGB, of 255, where it does not reach.
    """
    size = rgb.shape[1], rgb.shape[0]
    (x, y, w, h), (left, top, width, height) = fitted(size, frame, fit, 1 / aspect)
    interpolation = cv2.INTER_AREA if width * height < w * h else cv2.INTER_CUBIC
    part = np.ascontiguousarray(rgb[y : y + h, x : x + w])
    resized: Any = cv2.resize(part, (width, height), interpolation=interpolation)
    if (width, height) == frame:
        return resized
    whole = np.full((frame[1], frame[0], 3), colour, np.uint8)
    whole[top : top + height, left : left + width] = resized
    return whole
