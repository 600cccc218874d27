"""Turn the network's alpha into the matte and the foreground to composite.

    islands → smooth → enlarge, refined on the outline → decontaminate → erode, feather → × input's
      the network's size   ┘        the frame's size

At the end the matte is multiplied by the alpha of the input, if that has one: so it is neither
smoothed nor refined.

One `MattePostprocessor` takes the frames of a run one after the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import av
import cv2

from engines.arrays import F32, U8, Plane
from engines.video import frame as fr
from engines.video.blend import at_planes
from engines.video.config import MatteOptions
from engines.video.frame import Frame, FrameFormat
from engines.video.matte import outline
from engines.video.matte.decontaminate import decontaminate
from engines.video.matte.refine import refine
from engines.video.matte.shape import erode, feather, remove_islands
from engines.video.matte.smooth import Smoother

MAX_MARGIN_PIXELS = 14  # of the network's alpha: so far from a person their colour is still known


@dataclass(frozen=True)
class Matted:
    """A frame with its matte.

    `alphas` are three (H, W) uint8, 255 = person, at the size of each of the frame's planes.
    `foreground` is the image to composite: the frame's own, or a decontaminated copy.
    """

    frame: Frame
    alphas: list[Plane]
    foreground: av.VideoFrame


class MattePostprocessor:
    """Post-processes the mattes of consecutive frames; it remembers what `Smoother` does."""

    def __init__(self, options: MatteOptions):
        self._options, self._smooth = options, Smoother(options.smooth)

    def __call__(self, frame: Frame, rgb: U8, alpha: F32) -> Matted:
        """Return the next frame with its matte at the frame's size.

        Args:
            rgb: (h, w, 3) uint8, the frame as the network saw it.
            alpha: (h, w) float32 in [0, 1], the network's matte of it.
        """
        do, fmt = self._options, frame.format
        small = self._smooth(rgb, remove_islands(alpha, do.islands))
        foreground = frame.image
        if do.refine or do.decontaminate:
            margin = self._margin(small.shape[0] / fmt.height)
            found = outline.find(fr.planes(frame.image), small, margin)
        if do.refine and do.coarse:
            width, height = -(-fmt.width // 2), -(-fmt.height // 2)
            half = replace(fmt, width=width, height=height)
            full = full_size(small, half)
            refine(full, found, half)
            full = cv2.resize(full, (fmt.width, fmt.height), interpolation=cv2.INTER_LINEAR)
        else:
            full = full_size(small, fmt)
            if do.refine:
                refine(full, found, fmt)
        alphas = at_planes(full, fmt)
        if do.decontaminate:  # by the matte of what was seen, before it is reshaped
            foreground = decontaminate(frame, alphas, found)
        if do.erode or do.feather:
            full = feather(erode(full, do.erode), do.feather)
            alphas = at_planes(full, fmt)
        if frame.alpha is not None:
            alphas = at_planes(cv2.multiply(full, frame.alpha, scale=1 / 255), fmt)
        return Matted(frame, alphas, foreground)

    def _margin(self, scale: float) -> int:
        reach = abs(self._options.erode) + self._options.feather
        return min(MAX_MARGIN_PIXELS, math.ceil(reach * scale))


def full_size(alpha: F32, fmt: FrameFormat) -> U8:
    """Enlarge the network's alpha, (h, w) float32 in [0, 1], to the frame's size as uint8."""
    levels = cv2.convertScaleAbs(alpha, alpha=255)
    resized: Any = cv2.resize(levels, (fmt.width, fmt.height), interpolation=cv2.INTER_LINEAR)
    return resized
