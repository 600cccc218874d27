"""The engine protocol, and how one is chosen: explicit and unavailable is an error."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.contract import ModelSpec
from engines.errors import Unavailable, UsageError


class MattingEngine(Protocol):
    """Alpha from frames. One engine is used by one thread."""

    spec: ModelSpec
    name: str  # "onnx"
    device: str  # "cpu"

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB, H and W multiples of the stride, to (N, H, W) in [0, 1].

        Raises:
            BadData: the model fails on these frames, or gives something that is not an alpha.
        """


def open_engine(model: Path, device: str = "auto", threads: int | None = None) -> MattingEngine:
    """Load a model file and try it on one frame.

    Args:
        device: ``auto`` or ``cpu``.
        threads: of the network; all cores when None.

    Raises:
        CannotOpen, BadData: the file.
        Unavailable: `device` is not usable here.
    """
    if device.startswith("cuda"):
        raise Unavailable("--device cuda: this version runs on the CPU; use --device cpu or auto")
    if device not in ("auto", "cpu"):
        raise UsageError(f"--device {device}: no such device; use auto or cpu")
    from engines.onnx_engine import OnnxEngine

    return OnnxEngine(model, threads)
