"""Hide the traces by which a composite is known: what codecs left of its parts, sharp seams.

Images are (H, W, 3) uint8 RGB; alpha is left as it is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from engines.arrays import U8
from train.config import Config

MAX_KERNEL = 15  # pixels of the blur's


@dataclass(frozen=True)
class TraceRule:
    """How often and how much: ``recode``, ``blur`` and so on of `train.config.Config`."""

    recode: float
    recode_quality: int
    blur: float
    blur_sigma: float

    @classmethod
    def of(cls, config: Config) -> TraceRule:
        """Return the rule of a run."""
        return cls(config.recode, config.recode_quality, config.blur, config.blur_sigma)

    def part(self, rng: Generator, image: U8) -> U8:
        """Return a part of a composite, at random after JPEG."""
        if rng.random() >= self.recode:
            return image
        return jpeg(image, int(rng.integers(self.recode_quality, 100, endpoint=True)))

    def whole(self, rng: Generator, image: U8) -> U8:
        """Return a composite, at random blurred and after JPEG."""
        if rng.random() < self.blur:
            image = blurred(image, rng.uniform(0, self.blur_sigma))
        return self.part(rng, image)


def jpeg(image: U8, quality: int) -> U8:
    """Return the image as JPEG keeps it; quality is 1 to 100."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)


def blurred(image: U8, sigma: float) -> U8:
    """Return the image after a Gaussian blur of this deviation in pixels."""
    side = min(MAX_KERNEL, 2 * math.ceil(3 * sigma) + 1)
    return np.asarray(cv2.GaussianBlur(image, (side, side), sigma), np.uint8) if sigma else image
