"""Run a plan from our cache with TensorRT (NVIDIA TensorRT Python API, 10 and 11).

TensorRT is imported only when an engine is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engines.arrays import F32, U8
from engines.checks import check_alpha, first_line, read_graph
from engines.cuda import Buffers, Gpu, find_gpu
from engines.errors import BadData, Unavailable
from engines.tensorrt.plan import Plan, find

MIN_VERSION = 10  # of TensorRT
ENGINE_REMEDY = "use --engine onnx or --device cpu"
INSTALL_REMEDY = "run: pip install 'wsshm[tensorrt]'"


def import_tensorrt() -> Any:
    """Return the module ``tensorrt``; raise Unavailable if it is missing or too old."""
    try:
        import tensorrt
    except (ImportError, OSError) as e:  # OSError: of a shared library
        raise Unavailable(f"tensorrt: {first_line(e)}", INSTALL_REMEDY) from e
    version = str(getattr(tensorrt, "__version__", "0"))
    if int(version.partition(".")[0]) < MIN_VERSION:
        raise Unavailable(
            f"tensorrt: {version} is installed, {MIN_VERSION} or newer is needed",
            f"run: pip install --upgrade 'tensorrt>={MIN_VERSION}'",
        )
    return tensorrt


def open_tensorrt(model: Path, device: str = "cuda", size: int | None = None) -> TensorrtEngine:
    """Open the plan of a model that was built on this machine.

    Args:
        size: shorter edge of the frames, in pixels; None for the model's own.

    Raises:
        CannotOpen, BadData: the file.
        Unavailable: no GPU, no TensorRT or no plan; the remedy gets what is missing.
    """
    gpu, trt = find_gpu(device), import_tensorrt()
    plan = find(read_graph(model), size, trt.__version__, gpu)
    if plan is None:
        at = "" if size is None else f" --size {size}"
        raise Unavailable(
            f"{model}: no TensorRT plan of it on this machine ({gpu.name}, TensorRT "
            f"{trt.__version__})",
            f"run: wsshm export {model} --to tensorrt{at}",
        )
    return TensorrtEngine(plan, gpu, model)


class TensorrtEngine:
    """A plan in TensorRT on a GPU: a `MattingEngine`, for one thread at a time.

    More frames than the plan takes at once are split.

    Args:
        plan: one that was just built, or one from the cache: it contains native code.
        model: the file that the plan was built from, for messages.
    """

    name = "tensorrt"

    def __init__(self, plan: Plan, gpu: Gpu, model: Path):
        trt = import_tensorrt()
        self.spec, self.device, self._profile = plan.spec, gpu.device, plan.profile
        self._gpu, self._path, self._log = gpu, model, make_log(trt)
        gpu.use()
        # Each must outlive the next (TensorRT, How TensorRT Works, Object Lifetimes).
        self._runtime = trt.Runtime(self._log)
        self._engine = self._runtime.deserialize_cuda_engine(plan.data)
        if self._engine is None:
            raise self._failed("the plan cannot be loaded")
        self._check_signature(trt)
        self._context = self._engine.create_execution_context()
        if self._context is None:
            raise self._failed("no memory for the plan")
        self._shape: tuple[int, ...] = ()
        self(np.zeros((*self._profile.opt, 3), np.uint8))

    def __call__(self, frames: U8) -> F32:
        self._gpu.use()
        batch = self._profile.max[0]
        parts = [self._run(frames[i : i + batch]) for i in range(0, len(frames), batch)]
        alpha = parts[0] if len(parts) == 1 else np.concatenate(parts)
        check_alpha(alpha, frames.shape, self._path, ENGINE_REMEDY)
        return alpha

    def _run(self, frames: U8) -> F32:
        if frames.shape != self._shape:
            self._bind(frames.shape)
        self._buffers.upload(frames)
        if not self._context.execute_async_v3(int(self._buffers.stream)):
            raise self._failed("TensorRT failed")
        return self._buffers.download()

    def _bind(self, shape: tuple[int, ...]) -> None:
        if not self._profile.covers(shape):
            (_, low, _), (_, high, _) = self._profile.min, self._profile.max
            raise Unavailable(
                f"{self._path}: its TensorRT plan is for edges of {low} to {high} pixels, "
                f"not for {shape[2]}x{shape[1]}",
                ENGINE_REMEDY,
            )
        self._shape = ()
        self._buffers = Buffers(shape)
        done = (
            self._context.set_input_shape(self.spec.input, shape)
            and self._context.set_tensor_address(self.spec.input, self._buffers.frames)
            and self._context.set_tensor_address(self.spec.output, self._buffers.alpha)
        )
        if not done:
            raise self._failed("TensorRT refused the frames")
        self._shape = shape

    def _check_signature(self, trt: Any) -> None:
        expected = {
            self.spec.input: (trt.TensorIOMode.INPUT, trt.DataType.UINT8, 4),
            self.spec.output: (trt.TensorIOMode.OUTPUT, trt.DataType.FLOAT, 3),
        }
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        found = {
            name: (
                self._engine.get_tensor_mode(name),
                self._engine.get_tensor_dtype(name),
                len(self._engine.get_tensor_shape(name)),
            )
            for name in names
        }
        if found != expected:
            raise BadData(
                f"{self._path}: inputs and outputs (mode, type, rank) of its plan are {found}, "
                f"its description says {expected}"
            )

    def _failed(self, what: str) -> Unavailable:
        reason = self._log.reason()
        return Unavailable(f"{self._path}: {what} on {self.device} ({reason})", ENGINE_REMEDY)


def make_log(trt: Any) -> Any:
    """Return a TensorRT logger that prints nothing; `reason()` is the last error, in one line."""

    class Log(trt.ILogger):  # type: ignore[misc] # TensorRT is Any here
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._last = "no reason given"

        def log(self, severity: Any, msg: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self._last = first_line(msg)

        def reason(self) -> str:
            return self._last

    return Log()
