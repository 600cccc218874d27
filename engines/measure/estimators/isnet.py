"""ISNet (Qin et al. 2022, *Highly Accurate Dichotomous Image Segmentation*), general use."""

from __future__ import annotations

import numpy as np

from engines.arrays import F32, U8
from engines.measure.estimators.peer import StillPeer, resize

SIDE = 1024  # pixels of the input and of the first six outputs


class Isnet(StillPeer):
    """RGB in [-0.5, 0.5], 1024 × 1024, to alpha: the first of six maps.

    It finds whatever stands out in an image, a person or not, with an exact outline.
    """

    name = "ISNet"

    def __call__(self, rgb: U8) -> F32:
        values = (resize(rgb, SIDE, SIDE).astype(np.float32) - 128) / 256
        alpha = self._run(values.transpose(2, 0, 1)[None])[0, 0]
        return np.clip(resize(alpha, rgb.shape[1], rgb.shape[0]), 0, 1)
