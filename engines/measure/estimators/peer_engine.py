"""A peer's file as an engine, so that a clip goes through it as through a model of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.checks import check_alpha
from engines.contract import ModelSpec
from engines.engine import MattingEngine
from engines.errors import BadData, Say, silent
from engines.machine import cores
from engines.measure.estimators.peers import peer
from engines.onnx_engine import first_line, open_session
from engines.video.config import RunConfig
from engines.video.frame import FrameFormat


class PeerEngine:
    """See `engines.engine.MattingEngine`, but for the frames of one clip, in their order.

    A peer may remember. Its `spec.size` is that of `fmt` scaled to fit the file's fixed input.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, model: Path, fmt: FrameFormat, threads: int | None = None):
        self._path = model
        session = open_session(model, threads)
        self._estimator = peer(session, model, settles=False)
        height, width = (n for n in session.get_inputs()[0].shape if n > 3)  # 1 and 3 are others
        scale = min(width / fmt.width, height / fmt.height)
        size = max(1, round(min(fmt.width, fmt.height) * scale))
        self.spec = ModelSpec(self._estimator.name, "a peer's", 1, size, (), precision="unstated")
        self(np.zeros((1, height, width, 3), np.uint8))
        self._estimator.reset()

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            alpha = np.stack([self._estimator(rgb) for rgb in frames])
        except Exception as e:  # onnxruntime's own classes share no base but Exception
            raise BadData(f"{self._path}: the model failed ({first_line(e)})") from e
        check_alpha(alpha, frames.shape, self._path)
        return alpha


def open_peer(config: RunConfig, fmt: FrameFormat, say: Say = silent) -> tuple[MattingEngine, str]:
    """`config.model`, a peer's file, as `engines.video.matte.network.open_network` opens ours.

    Raises:
        CannotOpen, BadData: it cannot be loaded or run, or is no known peer's.
    """
    return PeerEngine(Path(str(config.model)), fmt, config.network_threads or cores()), ""
