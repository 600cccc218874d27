"""The engine protocol, and how one is chosen: explicit and unavailable is an error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engines.contract import ModelSpec
from engines.cuda import has_driver, number
from engines.errors import Unavailable, UsageError


class MattingEngine(Protocol):
    """Alpha from frames. One thread uses it; several at once may where its device is the CPU."""

    spec: ModelSpec
    name: str  # "onnx", "tensorrt"
    device: str  # "cpu", "cuda:0"

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """(N, H, W, 3) uint8 RGB, H and W multiples of the stride, to (N, H, W) in [0, 1].

        Raises:
            BadData: the model fails on these frames, or gives something that is not an alpha.
            Unavailable: the GPU fails, its memory is full, or a plan is not for this shape.
        """


def open_engine(
    model: Path,
    device: str = "auto",
    threads: int | None = None,
    engine: str = "auto",
    size: int | None = None,
    on_note: Callable[[str], None] = lambda text: None,
) -> MattingEngine:
    """Load a model file and try it on one frame.

    ``auto`` takes TensorRT where a plan of the model passed on this machine, else ONNX Runtime on
    the GPU, else on the CPU.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the network on the CPU, shared by all who call it at once; all cores when None.
        engine: ``auto``, ``onnx`` or ``tensorrt``.
        size: shorter edge of what it will see, in pixels; the model's own when None.
        on_note: told why a GPU that is there is not used.

    Raises:
        CannotOpen, BadData: the file.
        UsageError: no such device or engine, or one that does not go with the other.
        Unavailable: what was asked for by name is not usable here.
    """
    if engine not in ("auto", "onnx", "tensorrt"):
        raise UsageError(f"--engine {engine}: no such engine; use auto, onnx or tensorrt")
    if device == "cpu" and engine == "tensorrt":
        raise UsageError("--engine tensorrt needs a GPU: leave --device cpu out")
    if device not in ("auto", "cpu"):
        number(device)
    is_asked = device not in ("auto", "cpu") or engine == "tensorrt"
    if is_asked or (device == "auto" and has_driver()):
        try:
            return _on_gpu(model, "cuda" if device == "auto" else device, engine, size)
        except Unavailable as e:
            if is_asked:
                raise
            on_note(f"the GPU is not used: {e}")
    from engines.onnx_engine import OnnxEngine

    return OnnxEngine(model, threads)


def _on_gpu(model: Path, device: str, engine: str, size: int | None) -> MattingEngine:
    from engines.tensorrt import plan as tensorrt_plan

    if engine == "tensorrt" or (engine == "auto" and not tensorrt_plan.is_empty()):
        from engines.tensorrt.engine import open_tensorrt

        try:
            return open_tensorrt(model, device, size)
        except Unavailable:
            if engine == "tensorrt":
                raise
    from engines.cuda_engine import CudaEngine

    return CudaEngine(model, device)
