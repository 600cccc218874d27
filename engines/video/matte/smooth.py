"""A matte that holds still where the image does.

An exponential mean of each pixel's alpha over time, from frame to frame and causal. The weight of
the past falls to nothing where the image changes, there and in a neighbourhood that is the wider
the more of it changes, for a network sees context: its alpha beside a moving person is on its way
too. A cut therefore leaves nothing of the past.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from engines.arrays import F32, Plane

STILL, MOVING = 2.0, 8.0  # of 255: change up to which all and from which none of the past is kept
NEAR = 3  # pixels, at half the matte's size: edge of the box around a change that takes part in it
FAR_SHRINK, FAR = 8, 17  # ... and of the box a mean change is taken over, at an eighth of that
TREND = 0.02  # alpha that is twice in turn further than this from its mean on the same side ...
FOLLOW = np.float32(0.6)  # ... is on its way: so much of the weight of the past is left


class Smoother:
    """Alpha of consecutive frames, calmed.

    Args:
        strength: weight of the past where nothing moves, in [0, 1); 0 changes nothing.
    """

    def __init__(self, strength: float):
        self._strength = np.float32(strength)
        self._mean: F32 | None = None
        self._before: Plane
        self._error: F32

    def __call__(self, rgb: Plane, alpha: F32) -> F32:
        """The next frame's alpha; the first one's, and the first one's of a new size, as it is.

        Args:
            rgb: (h, w, 3) uint8, the frame that the network saw.
            alpha: (h, w) float32 in [0, 1], the matte of it.
        """
        if not self._strength:
            return alpha
        height, width = alpha.shape
        small = cv2.resize(rgb, (max(1, width // 2), max(1, height // 2)))
        if self._mean is None or self._mean.shape != alpha.shape:
            self._mean, self._error = alpha, np.zeros_like(alpha)
        else:
            weight: Any = cv2.resize(self._past(_change(self._before, small)), (width, height))
            error = self._mean - alpha
            persists = np.multiply(error, self._error, out=self._error) > TREND**2
            np.multiply(weight, FOLLOW, out=weight, where=persists)
            weight *= error
            weight += alpha
            self._mean, self._error = weight, error
        self._before = small
        return self._mean

    def _past(self, change: F32) -> F32:
        """The weight of the past for a change of each pixel in codes."""
        slope = self._strength / np.float32(MOVING - STILL)
        return np.clip((np.float32(MOVING) - change) * slope, 0, self._strength)


def _change(before: Plane, after: Plane) -> F32:
    """How much two (h, w, 3) uint8 images differ in and around each pixel: codes, float32."""
    red, green, blue = cv2.split(cv2.absdiff(before, after))
    height, width = red.shape
    change = cv2.blur(cv2.max(cv2.max(red, green), blue).astype(np.float32), (3, 3))
    eighth = (max(1, width // FAR_SHRINK), max(1, height // FAR_SHRINK))
    around = cv2.blur(cv2.resize(change, eighth, interpolation=cv2.INTER_AREA), (FAR, FAR))
    near = cv2.dilate(change, np.ones((NEAR, NEAR), np.uint8))
    far: Any = cv2.max(near, cv2.resize(around, (width, height)))
    return far
