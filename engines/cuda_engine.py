"""ONNX Runtime on a GPU of NVIDIA's. That it really runs there is verified, not assumed.

Frames and alpha lie in memory of ours on the GPU, to which the session is bound (ONNX Runtime,
I/O Binding), so that a shape that comes again is one CUDA graph, launched in one call (CUDA
Execution Provider, ``enable_cuda_graph`` and ``gpu_graph_id``).
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
from numpy.typing import NDArray

from engines.checks import check_alpha, check_signature, read_graph
from engines.contract import ModelSpec
from engines.cuda import LIBRARIES, Buffers, Gpu, find_gpu
from engines.errors import BadData, Unavailable, WsshmError
from engines.onnx_engine import first_line

PROVIDER = "CUDAExecutionProvider"
GRAPHS = 8  # shapes that get a graph: it and its memory stay as long as the session
NO_GRAPH = -1
Shape = tuple[int, ...]


def open_session(model: Path, gpu: Gpu) -> ort.InferenceSession:
    """Load an ONNX file for `gpu`.

    Raises:
        CannotOpen, BadData: the file.
        Unavailable: ONNX Runtime cannot use the GPU: what is missing, and what mends it.
    """
    graph = read_graph(model)
    with _quiet():
        if hasattr(ort, "preload_dlls"):  # only builds that know CUDA have it
            ort.preload_dlls()
        for graphs in (True, False):  # a node that CUDA has no kernel for forbids them
            try:
                session = _session(graph, gpu, graphs)
                break
            except Exception as e:  # onnxruntime's own classes share no base but Exception
                if not graphs:
                    raise _fault(e, model, gpu) from e
    if session.get_providers()[0] != PROVIDER:
        raise Unavailable(
            f"{gpu.device}: ONNX Runtime cannot use it ({_missing()}); mend it with: {LIBRARIES}"
        )
    return session


def _session(graph: bytes, gpu: Gpu, graphs: bool) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    provider = {
        "device_id": str(gpu.index),
        "enable_cuda_graph": str(int(graphs)),
        # Trying every algorithm takes seconds at each new shape.
        "cudnn_conv_algo_search": "HEURISTIC",
    }
    # With enable_fallback, what fails would be tried again on the CPU.
    return ort.InferenceSession(graph, options, providers=[(PROVIDER, provider)], enable_fallback=0)


def _fault(error: Exception, model: Path, gpu: Gpu) -> WsshmError:
    """What ONNX Runtime raised, as a fault of the GPU where it speaks of it, else of the file."""
    said = first_line(error)
    if "memory" in said:
        return Unavailable(f"{gpu.device}: {said}; use a smaller --size, or --device cpu")
    if "CUDA" in said or "CUDNN" in said.upper():
        return Unavailable(f"{gpu.device}: {said}; mend it with: {LIBRARIES}")
    return BadData(f"{model}: the model fails on {gpu.device} ({said})")


def _missing() -> str:
    """Why there is no session on the GPU, in the words of the loader."""
    if PROVIDER not in ort.get_available_providers():
        return "the ONNX Runtime that is installed knows no CUDA"
    folder = Path(ort.__file__).with_name("capi")
    for library in sorted(folder.glob("*onnxruntime_providers_cuda.*")):
        try:
            ctypes.CDLL(str(library))
        except OSError as e:
            return str(e)
    return "the reason is not known"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what ONNX Runtime prints when a library is missing: it becomes one line of ours."""
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
    """See `engines.engine.MattingEngine`."""

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

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self._gpu.use()
        return self._run(self._bound(frames.shape), frames)

    def _bound(self, shape: Shape) -> _Bound:
        if shape not in self._graphs and len(self._graphs) < GRAPHS:
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

    def _run(self, bound: _Bound, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        bound.buffers.upload(frames)
        bound.buffers.wait()  # the session has a stream of its own, and is done when it returns
        try:
            self._session.run_with_iobinding(bound.binding, bound.options)
        except Exception as e:
            raise _fault(e, self._path, self._gpu) from e
        alpha = bound.buffers.download()
        check_alpha(alpha, frames.shape, self._path, "use --device cpu")
        return alpha
