"""What is measured: a model of ours, with or without what a run does to its mattes, or a peer's."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.contract import KEY
from engines.engine import MattingEngine, open_engine
from engines.measure.estimators.peers import Estimator, peer
from engines.measure.quality.evaluate import matte, small_matte
from engines.onnx_engine import open_session
from engines.video.config import MatteOptions
from engines.video.frame import FULL, Frame, FrameFormat, from_rgb
from engines.video.matte.postprocess import MattePostprocessor


class OurModel:
    """A model of this project as a `Estimator`; each image is seen by itself."""

    def __init__(self, engine: MattingEngine, name: str, size: int | None = None):
        self.name, self.size = name, size or engine.spec.size
        self._engine = engine

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        return matte(self._engine, rgb, self.size)

    def reset(self) -> None:
        """Nothing is remembered."""


class Finished:
    """The same with what `wsshm run` does to mattes unless told otherwise: the alpha it writes."""

    def __init__(self, engine: MattingEngine, name: str, size: int | None = None):
        self.name, self.size = name, size or engine.spec.size
        self._engine = engine
        self.reset()

    def reset(self) -> None:
        self._postprocess = MattePostprocessor(MatteOptions(decontaminate=False))

    def __call__(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        height, width = rgb.shape[:2]
        small, alpha = small_matte(self._engine, rgb, self.size)
        fmt = FrameFormat(width, height, "gbrp", range=FULL)
        frame = Frame(from_rgb(rgb, fmt), fmt, 0, Fraction(1))
        codes = self._postprocess(frame, small, alpha).alphas[0]
        return np.divide(codes, np.float32(255))


def open_estimator(
    path: Path, name: str, size: int | None = None, finished: bool = False
) -> Estimator:
    """One of our ONNX files, or one of a known peer.

    Args:
        name: what ours is called in results; a peer has its own.
        size: shorter edge that ours sees; a peer's is fixed.
        finished: whether ours is to be as `wsshm run` writes it; a peer's never is.

    Raises:
        CannotOpen, BadData: it cannot be loaded, or is neither.
    """
    session = open_session(path)
    if KEY in session.get_modelmeta().custom_metadata_map:
        return (Finished if finished else OurModel)(open_engine(path, "cpu"), name, size)
    return peer(session, path)
