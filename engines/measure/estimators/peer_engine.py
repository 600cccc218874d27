"""Another project's file as an engine, so that a clip passes through it as through our models."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from engines.arrays import F32, U8
from engines.checks import check_alpha, first_line
from engines.contract import ModelSpec
from engines.engine import MattingEngine
from engines.errors import BadData, Say, silent
from engines.machine import cores
from engines.measure.estimators.open import open_peer
from engines.onnx_engine import open_session
from engines.video.config import RunConfig
from engines.video.frame import FrameFormat


class PeerEngine:
    """A `MattingEngine` for the frames of one clip, which must come in order: it may have memory.

    Its `spec.size` is the shorter edge of the frames, scaled to fit into the file's fixed input.

    Args:
        fmt: of the clip's frames.
        threads: of the network; None for all cores.

    Raises:
        CannotOpen, BadData: the file cannot be loaded or run, or its kind is not known.
    """

    name = "onnx"
    device = "cpu"

    def __init__(self, model: Path, fmt: FrameFormat, threads: int | None = None):
        self._path = model
        session = open_session(model, threads)
        self._estimator = open_peer(session, model, settle=False)
        # The input is (1, H, W, 3) or (1, 3, H, W).
        height, width = (n for n in session.get_inputs()[0].shape if n > 3)
        scale = min(width / fmt.width, height / fmt.height)
        size = max(1, round(min(fmt.width, fmt.height) * scale))
        self.spec = ModelSpec(self._estimator.name, "a peer's", 1, size, (), precision="unstated")
        self(np.zeros((1, height, width, 3), np.uint8))
        self._estimator.reset()

    def __call__(self, frames: U8) -> F32:
        try:
            alpha = np.stack([self._estimator(rgb) for rgb in frames])
        except Exception as e:  # onnxruntime's own classes share no base but Exception
            raise BadData(f"{self._path}: the model failed ({first_line(e)})") from e
        check_alpha(alpha, frames.shape, self._path)
        return alpha


def open_peer_engine(
    config: RunConfig, fmt: FrameFormat, say: Say = silent
) -> tuple[MattingEngine, str]:
    """Open the file `config.model` of another project, in place of a run's `open_network`.

    Returns:
        The engine, and an empty reason: there is no choice of a precision.

    Raises:
        CannotOpen, BadData: the file cannot be loaded or run, or its kind is not known.
    """
    return PeerEngine(Path(str(config.model)), fmt, config.network_threads or cores()), ""
