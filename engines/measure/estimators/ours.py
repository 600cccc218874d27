"""The models of this project: their alpha as the network returns it, or as a run writes it."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from engines.arrays import F32, U8
from engines.engine import MattingEngine, estimate_alpha, estimate_small_alpha
from engines.video.config import MatteOptions
from engines.video.frame import FULL, Frame, FrameFormat, from_rgb
from engines.video.matte.postprocess import MattePostprocessor


class OurModel:
    """The network alone: its alpha, scaled bilinearly to the image's size.

    Args:
        name: in results.
        size: shorter edge of what the network sees, in pixels; None for the model's own.
    """

    def __init__(self, engine: MattingEngine, name: str, size: int | None = None):
        self.name, self.size = name, size or engine.spec.size
        self._engine = engine
        self.reset()

    def __call__(self, rgb: U8) -> F32:
        return estimate_alpha(self._engine, rgb, self.size)

    def reset(self) -> None:
        """Do nothing: each image is seen by itself."""


class OurModelAsRun(OurModel):
    """The network and the default post-processing of ``wsshm run``: the alpha that a run writes."""

    def reset(self) -> None:
        self._postprocess = MattePostprocessor(MatteOptions(decontaminate=False))

    def __call__(self, rgb: U8) -> F32:
        height, width = rgb.shape[:2]
        small, alpha = estimate_small_alpha(self._engine, rgb, self.size)
        fmt = FrameFormat(width, height, "gbrp", range=FULL)
        frame = Frame(from_rgb(rgb, fmt), fmt, 0, Fraction(1))
        samples = self._postprocess(frame, small, alpha).alphas[0]
        return np.divide(samples, np.float32(255))
