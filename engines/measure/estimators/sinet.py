"""SINet (Park et al. 2020), portrait segmentation."""

from __future__ import annotations

import numpy as np

from engines.arrays import F32, U8
from engines.measure.estimators.peer import StillPeer, resize, resize_alpha

MEAN_BGR = np.array([102.890434, 111.25247, 126.91212])  # of values in 0…255
STD_BGR = np.array([62.93292, 62.82138, 66.355705])


class Sinet(StillPeer):
    """Normalised BGR, 320 × 320, to two probabilities, of which the second is the person's."""

    name = "SINet"

    def __call__(self, rgb: U8) -> F32:
        bgr = resize(rgb, 320, 320)[..., ::-1]
        values = ((bgr - MEAN_BGR) / STD_BGR / 255).transpose(2, 0, 1)
        return resize_alpha(self._run(values[None])[0, 1], rgb.shape[1], rgb.shape[0])
