"""Temporal smoothing of a matte where the image stands still.

It is a causal exponential mean of each pixel's alpha over time. The weight of the past falls to
zero where the image changes, and around it: the more of the image changes, the wider. For a network
sees context, so that its alpha next to a moving person changes too. After a cut nothing is left of
the past.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from engines.arrays import F32, Plane

# Change of the image, of 255: up to the first the past has full weight, from the second on none.
STILL_CHANGE, MOVING_CHANGE = 2.0, 8.0
NEAR_PIXELS = 3  # at half the matte's size: edge of the box that a change extends to
FAR_SHRINK, FAR_PIXELS = 8, 17  # at an eighth of that: edge of the box of the mean change
# If alpha's error exceeds TREND_ALPHA with the same sign in two successive frames, it is a real
# change: the weight of the past is scaled by TREND_FACTOR.
TREND_ALPHA = 0.02
TREND_FACTOR = np.float32(0.8)


class Smoother:
    """Smooths the alpha of consecutive frames.

    Args:
        strength: weight of the past where nothing moves, in [0, 1); 0 is off.
    """

    def __init__(self, strength: float):
        self._strength = np.float32(strength)
        self._mean: F32 | None = None
        self._before: Plane
        self._error: F32

    def __call__(self, rgb: Plane, alpha: F32) -> F32:
        """Return the next frame's alpha, smoothed; the first of a size is returned as it is.

        Args:
            rgb: (h, w, 3) uint8, the frame as the network saw it.
            alpha: (h, w) float32 in [0, 1], the network's matte of it.
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
            persists = np.multiply(error, self._error, out=self._error) > TREND_ALPHA**2
            np.multiply(weight, TREND_FACTOR, out=weight, where=persists)
            weight *= error
            weight += alpha
            self._mean, self._error = weight, error
        self._before = small
        return self._mean

    def _past(self, change: F32) -> F32:
        """Return the weight of the past for a (h, w) change of the image, of 255."""
        slope = self._strength / np.float32(MOVING_CHANGE - STILL_CHANGE)
        return np.clip((np.float32(MOVING_CHANGE) - change) * slope, 0, self._strength)


def _change(before: Plane, after: Plane) -> F32:
    """Return how much two (h, w, 3) uint8 images differ around each pixel: float32, of 255."""
    red, green, blue = cv2.split(cv2.absdiff(before, after))
    height, width = red.shape
    change = cv2.blur(cv2.max(cv2.max(red, green), blue).astype(np.float32), (3, 3))
    eighth = (max(1, width // FAR_SHRINK), max(1, height // FAR_SHRINK))
    around = cv2.blur(
        cv2.resize(change, eighth, interpolation=cv2.INTER_AREA), (FAR_PIXELS, FAR_PIXELS)
    )
    near = cv2.dilate(change, np.ones((NEAR_PIXELS, NEAR_PIXELS), np.uint8))
    far: Any = cv2.max(near, cv2.resize(around, (width, height)))
    return far
