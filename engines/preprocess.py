"""From an image's size to the network's, and the exact way back.

The shorter edge becomes `size`, aspect kept; right and bottom are padded by repeating the last
column and row up to the model's stride. The way back cuts the padding off again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Fit:
    """How an image of one size goes through the network; all in pixels.

    `width` × `height` is the image scaled, `padded_width` × `padded_height` the network's input.
    """

    width: int
    height: int
    padded_width: int
    padded_height: int

    def pad(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """(height, width, 3) uint8 to (padded_height, padded_width, 3)."""
        bottom, right = self.padded_height - self.height, self.padded_width - self.width
        if not bottom and not right:
            return rgb
        padded: Any = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return padded

    def unpad(self, alpha: NDArray[Any]) -> NDArray[Any]:
        """(padded_height, padded_width) to (height, width), a view."""
        return alpha[: self.height, : self.width]

    def shrink(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Any (H, W, 3) uint8 image to the network's padded size, without aliasing."""
        smaller = self.width * self.height < rgb.shape[0] * rgb.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        scaled: Any = cv2.resize(rgb, (self.width, self.height), interpolation=how)
        return self.pad(scaled)


def fit(width: int, height: int, size: int, stride: int) -> Fit:
    """The `Fit` of a width × height image at shorter edge `size`.

    An image more than 8 times as long as wide is scaled by its longer edge instead, so that one
    strip of pixels cannot ask for a network input of any length.
    """
    scale = min(size / min(width, height), 8 * size / max(width, height))
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return Fit(w, h, -(-w // stride) * stride, -(-h // stride) * stride)
