"""MediaPipe selfie segmentation, the general model."""

from __future__ import annotations

from engines.arrays import F32, U8
from engines.measure.estimators.peer import StillPeer, resize, resize_alpha


class MediapipeSelfie(StillPeer):
    """RGB in [0, 1], 256 × 256, to the probability of a person."""

    name = "MediaPipe selfie"

    def __call__(self, rgb: U8) -> F32:
        person = self._run(resize(rgb, 256, 256)[None] / 255)
        return resize_alpha(person[0, ..., 0], rgb.shape[1], rgb.shape[0])
