"""Run a model with ONNX Runtime on the CPU; its provider and the model's contract are checked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from engines.arrays import F32, U8
from engines.checks import check_alpha, check_signature, first_line, read_graph
from engines.contract import ModelSpec
from engines.errors import BadData, Unavailable

PROVIDER = "CPUExecutionProvider"


def open_session(path: Path, threads: int | None = None) -> ort.InferenceSession:
    """Load an ONNX file for the CPU.

    Args:
        threads: of the network; None for all cores.

    Raises:
        CannotOpen: there is no such file.
        BadData: the file is too large, or ONNX Runtime cannot load it.
    """
    graph = read_graph(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads or 0
    # Spinning threads would take cores from decoding and encoding.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        return ort.InferenceSession(graph, options, providers=[PROVIDER])
    except Exception as e:  # onnxruntime's own classes share no base but Exception
        raise BadData(
            f"{path}: not a model ONNX Runtime can load ({first_line(e)})",
            "it may be incomplete; of a checkpoint, wsshm export makes a model",
        ) from e


class OnnxEngine:
    """A model in ONNX Runtime on the CPU: a `MattingEngine`, safe to call from several threads."""

    name = "onnx"
    device = "cpu"

    def __init__(self, model: Path, threads: int | None = None):
        self._path = model
        self._session = open_session(model, threads)
        if (used := self._session.get_providers()[0]) != PROVIDER:
            raise Unavailable(f"asked ONNX Runtime for {PROVIDER}, got {used}")
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.spec = ModelSpec.from_metadata(metadata, model)
        check_signature(self._session, self.spec, model)
        self(np.zeros((1, self.spec.stride, self.spec.stride, 3), np.uint8))

    def __call__(self, frames: U8) -> F32:
        try:
            (alpha,) = self._session.run([self.spec.output], {self.spec.input: frames})
        except Exception as e:
            raise BadData(f"{self._path}: the model failed ({first_line(e)})") from e
        check_alpha(alpha, frames.shape, self._path)
        result: F32 = alpha
        return result
