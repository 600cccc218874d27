"""Run a model with ONNX Runtime on an NVIDIA GPU, and check that it really runs there.

The session is bound to memory on the GPU that we own (ONNX Runtime, I/O Binding). A shape that
comes again is therefore one CUDA graph, launched in one call (CUDA Execution Provider,
``enable_cuda_graph`` and ``gpu_graph_id``).
"""

from __future__ import annotations

import ctypes
import io
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from engines.arrays import F32, U8
from engines.checks import check_alpha, check_signature, first_line, read_graph
from engines.contract import ModelSpec
from engines.cuda import LIBRARIES_REMEDY, MEMORY_REMEDY, Buffers, Gpu, find_gpu
from engines.errors import BadData, Unavailable, WsshmError

PROVIDER = "CUDAExecutionProvider"
MAX_GRAPHS = 8  # shapes with a CUDA graph, which lives with its memory as long as the session
NO_GRAPH = -1  # as `gpu_graph_id`: run without a graph
Shape = tuple[int, ...]


def open_session(model: Path, gpu: Gpu) -> ort.InferenceSession:
    """Load an ONNX file for `gpu`.

    Raises:
        CannotOpen, BadData: the file.
        Unavailable: ONNX Runtime cannot use the GPU; the message says what is missing.
    """
    graph = read_graph(model)
    with _quiet():
        if hasattr(ort, "preload_dlls"):  # in builds with CUDA only
            ort.preload_dlls()
        for graphs in (True, False):  # no graphs if CUDA has no kernel for some node
            try:
                session = _session(graph, gpu, graphs)
                break
            except Exception as e:  # onnxruntime's own classes share no base but Exception
                if not graphs:
                    raise _fault(e, model, gpu) from e
    if session.get_providers()[0] != PROVIDER:
        raise Unavailable(
            f"{gpu.device}: ONNX Runtime cannot use it ({_missing()})", LIBRARIES_REMEDY
        )
    return session


def _session(graph: bytes, gpu: Gpu, graphs: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    provider = {
        "device_id": str(gpu.index),
        "enable_cuda_graph": str(int(graphs)),
        # Trying every algorithm would take seconds for each new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    # With enable_fallback, a failing graph would be tried again on the CPU.
    return ort.InferenceSession(graph, options, providers=[(PROVIDER, provider)], enable_fallback=0)


def _fault(error: Exception, model: Path, gpu: Gpu) -> WsshmError:
    """Convert an error of ONNX Runtime: a fault of the GPU if it mentions it, else of the file."""
    reason = first_line(error)
    if "memory" in reason:
        return Unavailable(f"{gpu.device}: {reason}", MEMORY_REMEDY)
    if "CUDA" in reason or "CUDNN" in reason.upper():
        return Unavailable(f"{gpu.device}: {reason}", LIBRARIES_REMEDY)
    return BadData(f"{model}: the model fails on {gpu.device} ({reason})")


def _missing() -> str:
    """Return why there is no session on the GPU: the error of the library loader."""
    if PROVIDER not in ort.get_available_providers():
        return "the installed ONNX Runtime is built without CUDA"
    folder = Path(ort.__file__).with_name("capi")
    for library in sorted(folder.glob("*onnxruntime_providers_cuda.*")):
        try:
            ctypes.CDLL(str(library))
        except OSError as e:
            return str(e)
    return "the reason is not known"


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress what ONNX Runtime prints about a missing library: our error says it in one line."""
    ort.set_default_logger_severity(4)
    try:
        with redirect_stdout(io.StringIO()):
            yield
    finally:
        ort.set_default_logger_severity(2)


@dataclass(frozen=True)
class _Bound:
    """A session bound to memory for frames of one shape."""

    shape: Shape
    buffers: Buffers
    binding: Any
    options: Any


class CudaEngine:
    """A model in ONNX Runtime on a GPU: a `MattingEngine`, for one thread at a time."""

    name = "onnx"

    def __init__(self, model: Path, device: str = "cuda"):
        self._path, self._gpu = model, find_gpu(device)
        self.device = self._gpu.device
        self._session = open_session(model, self._gpu)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = ModelSpec.from_metadata(metadata, model)
        check_signature(self._session, self.spec, model)
        self._graphs: dict[Shape, _Bound] = {}
        self._gpu.use()
        shape = 1, self.spec.stride, self.spec.stride, 3
        self._last = self._bind(shape, NO_GRAPH)
        self._run(self._last, np.zeros(shape, np.uint8))

    def __call__(self, frames: U8) -> F32:
        self._gpu.use()
        return self._run(self._bound(frames.shape), frames)

    def _bound(self, shape: Shape) -> _Bound:
        if shape not in self._graphs and len(self._graphs) < MAX_GRAPHS:
            self._graphs[shape] = self._bind(shape, len(self._graphs) + 1)
        if shape in self._graphs:
            return self._graphs[shape]
        if self._last.shape != shape:
            self._last = self._bind(shape, NO_GRAPH)
        return self._last

    def _bind(self, shape: Shape, graph: int) -> _Bound:
        buffers, binding, options = Buffers(shape), self._session.io_binding(), ort.RunOptions()
        place = "cuda", self._gpu.index
        binding.bind_input(self.spec.input, *place, np.uint8, shape, buffers.frames)
        binding.bind_output(self.spec.output, *place, np.float32, shape[:3], buffers.alpha)
        options.add_run_config_entry("gpu_graph_id", str(graph))
        return _Bound(shape, buffers, binding, options)

    def _run(self, bound: _Bound, frames: U8) -> F32:
        bound.buffers.upload(frames)
        bound.buffers.wait()  # the session uses another stream, and has finished when it returns
        try:
            self._session.run_with_iobinding(bound.binding, bound.options)
        except Exception as e:
            raise _fault(e, self._path, self._gpu) from e
        alpha = bound.buffers.download()
        check_alpha(alpha, frames.shape, self._path, "use --device cpu")
        return alpha
