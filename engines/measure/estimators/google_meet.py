"""The segmentation of Google Meet, the full model."""

from __future__ import annotations

import numpy as np

from engines.arrays import F32, U8
from engines.measure.estimators.peer import StillPeer, resize, resize_alpha


class GoogleMeet(StillPeer):
    """RGB in [0, 1], 256 × 144, to two logits, of which the second is the person's."""

    name = "Google Meet"

    def __call__(self, rgb: U8) -> F32:
        logits = self._run(resize(rgb, 256, 144)[None] / 255)[0]
        person = np.exp(logits[..., 1] - np.logaddexp(*np.moveaxis(logits, 2, 0)))  # softmax
        return resize_alpha(person, rgb.shape[1], rgb.shape[0])
