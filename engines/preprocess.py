"""Scale and pad an image to the input of a network, and crop its alpha again.

The shorter edge becomes `size` and the aspect ratio is kept; the right and the bottom are padded to
the model's stride by repeating the last column and row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
from numpy.typing import NDArray

from engines.arrays import U8

MAX_ASPECT = 8  # longer edge ÷ shorter edge


@dataclass(frozen=True)
class Fit:
    """The sizes of an image on its way through a network, in pixels.

    `width` × `height` is the scaled image, `padded_width` × `padded_height` the network's input.
    """

    width: int
    height: int
    padded_width: int
    padded_height: int

    def pad(self, rgb: U8) -> U8:
        """Pad a scaled image (height, width, 3) to (padded_height, padded_width, 3)."""
        bottom, right = self.padded_height - self.height, self.padded_width - self.width
        if not bottom and not right:
            return rgb
        padded: Any = cv2.copyMakeBorder(rgb, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        return padded

    def unpad(self, alpha: NDArray[Any]) -> NDArray[Any]:
        """Return the view (height, width) of a padded array (padded_height, padded_width)."""
        return alpha[: self.height, : self.width]

    def shrink(self, rgb: U8) -> U8:
        """Scale an image (H, W, 3) of any size without aliasing, and pad it."""
        smaller = self.width * self.height < rgb.shape[0] * rgb.shape[1]
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        scaled: Any = cv2.resize(rgb, (self.width, self.height), interpolation=how)
        return self.pad(scaled)


def fit(width: int, height: int, size: int, stride: int) -> Fit:
    """Return the `Fit` of a width × height image whose shorter edge becomes `size` pixels.

    If the image is more than `MAX_ASPECT` times as long as wide, its longer edge becomes
    `MAX_ASPECT` × `size` instead: otherwise a thin strip would need a huge network input.
    """
    scale = min(size / min(width, height), MAX_ASPECT * size / max(width, height))
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    return Fit(w, h, -(-w // stride) * stride, -(-h // stride) * stride)
