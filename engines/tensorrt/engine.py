"""TensorRT's own runtime on plans of our cache (NVIDIA TensorRT Python API, 10 and 11).

TensorRT is imported when an engine is opened, not before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.checks import check_alpha, read_graph
from engines.cuda import Buffers, Gpu, find_gpu
from engines.errors import BadData, Unavailable
from engines.tensorrt.plan import Plan, find

OLDEST = 10  # TensorRT
ADVICE = "use --engine onnx or --device cpu"
INSTALL = "pip install 'wsshm[tensorrt]'"


def import_tensorrt() -> Any:
    """The module; raises Unavailable where it is missing or too old."""
    try:
        import tensorrt
    except (ImportError, OSError) as e:  # OSError: a library that it loads
        raise Unavailable(f"tensorrt: {first_line(e)}; mend it with: {INSTALL}") from e
    version = str(getattr(tensorrt, "__version__", "0"))
    if int(version.partition(".")[0]) < OLDEST:
        raise Unavailable(
            f"tensorrt: {version} is installed, {OLDEST} or newer is needed; "
            f"mend it with: pip install --upgrade 'tensorrt>={OLDEST}'"
        )
    return tensorrt


def open_tensorrt(model: Path, device: str = "cuda", size: int | None = None) -> TensorrtEngine:
    """The engine of a model whose plan has been built on this machine.

    Args:
        size: shorter edge of what it will see, in pixels; the model's own when None.

    Raises:
        CannotOpen, BadData: the file.
        Unavailable: no GPU, no TensorRT, or no plan: what is missing, and what mends it.
    """
    gpu, trt = find_gpu(device), import_tensorrt()
    plan = find(read_graph(model), size, trt.__version__, gpu)
    if plan is None:
        at = "" if size is None else f" --size {size}"
        raise Unavailable(
            f"{model}: no TensorRT plan of it on this machine ({gpu.name}, TensorRT "
            f"{trt.__version__}); build one with: wsshm export {model} --to tensorrt{at}"
        )
    return TensorrtEngine(plan, gpu, model)


class TensorrtEngine:
    """See `engines.engine.MattingEngine`.

    Args:
        plan: native code: one that was just built, or of the cache.
        model: the file it was built from, for messages.

    More frames than the plan takes at once go through in parts.
    """

    name = "tensorrt"

    def __init__(self, plan: Plan, gpu: Gpu, model: Path):
        trt = import_tensorrt()
        self.spec, self.device, self._profile = plan.spec, gpu.device, plan.profile
        self._gpu, self._path, self._log = gpu, model, log(trt)
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
        self(np.zeros((*self._profile.best, 3), np.uint8))

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._gpu.use()
        most = self._profile.most[0]
        parts = [self._run(frames[i : i + most]) for i in range(0, len(frames), most)]
        alpha = parts[0] if len(parts) == 1 else np.concatenate(parts)
        check_alpha(alpha, frames.shape, self._path, ADVICE)
        return alpha

    def _run(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        if frames.shape != self._shape:
            self._bind(frames.shape)
        self._buffers.upload(frames)
        if not self._context.execute_async_v3(int(self._buffers.stream)):
            raise self._failed("TensorRT failed")
        return self._buffers.download()

    def _bind(self, shape: tuple[int, ...]) -> None:
        if not self._profile.covers(shape):
            (_, low, _), (_, high, _) = self._profile.least, self._profile.most
            raise Unavailable(
                f"{self._path}: its TensorRT plan is for edges of {low} to {high} pixels, "
                f"not for {shape[2]}x{shape[1]}; {ADVICE}"
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
        why = self._log.reason()
        return Unavailable(f"{self._path}: {what} on {self.device} ({why}); {ADVICE}")


def log(trt: Any) -> Any:
    """A logger for TensorRT that prints nothing; its `reason()` is the last error, in one line."""

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


def first_line(said: object) -> str:
    return (str(said).strip().splitlines() or [type(said).__name__])[0][:200]
