"""Robust Video Matting (Lin et al. 2022), as an ONNX file with fixed sizes."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort

from engines.arrays import F32, U8
from engines.measure.estimators.peer import resize, resize_alpha

STATES_IN = [f"r{i}i" for i in (1, 2, 3, 4)]
STATES_OUT = [f"r{i}o" for i in (1, 2, 3, 4)]
SETTLE_RUNS = 3  # on a first image: about as many as the network needs from the empty state


class Rvm:
    """A recurrent network: RGB in [0, 1] to alpha, the output ``pha``.

    The image keeps its aspect ratio and lies in the upper left of the fixed input; the rest is
    black. The network does better with this than with repeated edges or bars on both sides.

    Args:
        session: the loaded file.
        settle: run the network `SETTLE_RUNS` times on the first image of a sequence, and so on
            every photograph; not where frames are timed.
    """

    def __init__(self, session: ort.InferenceSession, settle: bool = True):
        self._session, self._first_runs = session, SETTLE_RUNS if settle else 1
        shapes = {n.name: n.shape for n in session.get_inputs()}
        self._height, self._width = shapes.pop("src")[2:]
        self._zeros = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
        self.name = f"RVM {self._height}x{self._width}"
        self.reset()

    def reset(self) -> None:
        self._states, self._is_first = self._zeros, True

    def __call__(self, rgb: U8) -> F32:
        height, width = rgb.shape[:2]
        scale = min(self._width / width, self._height / height)
        w, h = max(1, round(width * scale)), max(1, round(height * scale))
        framed = np.zeros((self._height, self._width, 3), np.uint8)
        framed[:h, :w] = resize(rgb, w, h)
        src = framed.transpose(2, 0, 1)[None].astype(np.float32, order="C")
        src /= 255
        for _ in range(self._first_runs if self._is_first else 1):
            pha, *states = self._session.run(["pha", *STATES_OUT], {"src": src, **self._states})
            self._states = dict(zip(STATES_IN, states, strict=True))
        self._is_first = False
        return resize_alpha(pha[0, 0, :h, :w], width, height)
