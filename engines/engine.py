"""The engine interface, and the choice of an engine.

An engine or a device that is asked for by name and not available is an error; only ``auto`` falls
back to another.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from engines import models
from engines.arrays import F32, U8
from engines.contract import ModelSpec
from engines.cuda import device_index, has_driver
from engines.errors import Say, Unavailable, UsageError, silent
from engines.preprocess import fit


class MattingEngine(Protocol):
    """A loaded model that turns frames into alpha.

    Not thread-safe on a GPU; on the CPU several threads may call it at once.
    """

    spec: ModelSpec
    name: str  # "onnx", "tensorrt"
    device: str  # "cpu", "cuda:0"

    def __call__(self, frames: U8) -> F32:
        """Return the alpha (N, H, W), float32 in [0, 1], of frames (N, H, W, 3), uint8 RGB.

        H and W are multiples of the model's stride.

        Raises:
            BadData: the model fails on these frames, or returns something that is not an alpha.
            Unavailable: the GPU fails or runs out of memory, or the plan is not for this shape.
        """


def open_engine(
    model: Path,
    device: str = "auto",
    threads: int | None = None,
    engine: str = "auto",
    size: int | None = None,
    say: Say = silent,
) -> MattingEngine:
    """Load a model file and run it on one frame.

    ``auto`` chooses TensorRT if this machine has a plan of the model, else ONNX Runtime on the GPU,
    else ONNX Runtime on the CPU.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        threads: of the network on the CPU, shared by all callers; None for all cores.
        engine: ``auto``, ``onnx`` or ``tensorrt``.
        size: shorter edge of the frames, in pixels; None for the model's own.
        say: told why a GPU that was found is not used.

    Raises:
        CannotOpen, BadData: the file.
        UsageError: no such device or engine, or they exclude each other.
        Unavailable: the device or engine that was asked for is not usable on this machine.
    """
    if engine not in ("auto", "onnx", "tensorrt"):
        raise UsageError(f"--engine {engine}: no such engine", "use auto, onnx or tensorrt")
    if device == "cpu" and engine == "tensorrt":
        raise UsageError("--engine tensorrt needs a GPU: leave --device cpu out")
    if device not in ("auto", "cpu"):
        device_index(device)
    is_asked = device not in ("auto", "cpu") or engine == "tensorrt"
    if is_asked or (device == "auto" and has_driver()):
        try:
            return _on_gpu(model, "cuda" if device == "auto" else device, engine, size)
        except Unavailable as e:
            if is_asked:
                raise
            say(f"the GPU is not used: {e}")
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


class _Named:
    """An engine under the name and size of one of the models that share its file."""

    def __init__(self, engine: MattingEngine, spec: ModelSpec):
        self.name, self.device, self.spec = engine.name, engine.device, spec
        self._engine = engine

    def __call__(self, frames: U8) -> F32:
        return self._engine(frames)


def as_shipped(engine: MattingEngine, model: str | None) -> MattingEngine:
    """Return the engine of a model's file with the model's own name and size in its spec.

    Args:
        model: as a user typed it: see `engines.models.own_spec`.
    """
    spec = models.own_spec(model, engine.spec)
    return engine if spec == engine.spec else _Named(engine, spec)


def estimate_alpha(engine: MattingEngine, rgb: U8, size: int) -> F32:
    """Return the alpha of one image at the image's own size.

    Args:
        rgb: (H, W, 3) uint8.
        size: shorter edge of what the network sees, in pixels.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = rgb.shape[:2]
    _, alpha = estimate_small_alpha(engine, rgb, size)
    return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


def estimate_small_alpha(engine: MattingEngine, rgb: U8, size: int) -> tuple[U8, F32]:
    """Return one image as the network saw it, and its alpha at that size.

    Args:
        rgb: (H, W, 3) uint8.
        size: shorter edge of what the network sees, in pixels.

    Returns:
        The image (h, w, 3) uint8, and its alpha (h, w) float32 in [0, 1].
    """
    f = fit(rgb.shape[1], rgb.shape[0], size, engine.spec.stride)
    small = f.shrink(rgb)
    return f.unpad(small), f.unpad(engine(small[np.newaxis])[0])
