"""Multiply-accumulates and parameters, counted by hand."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines.errors import BadData
from engines.measure.speed.cost import Cost, count
from tests import graphs


def frames(*shape: int) -> dict[str, np.ndarray]:
    return {"frames": np.zeros(shape, np.uint8)}


def test_cost_of_convolutions(tmp_path: Path) -> None:
    path = graphs.convolutions(tmp_path / "net.onnx")
    half = 4 * 32 * 48  # values of f1 and f2
    assert count(path, frames(1, 64, 96, 3)) == Cost(
        macs=half * 27 + half * 9 + half * 4, parameters=108 + 4 + 36 + 16
    )
    assert count(path, frames(2, 64, 96, 3)) == Cost(2 * half * 40, 164)
    with pytest.raises(BadData, match=r"net\.onnx: the model failed"):
        count(path, frames(1, 64, 96, 4))


def test_cost_of_products(tmp_path: Path) -> None:
    two = onnx.numpy_helper.from_array(np.array([1, 2], np.float32))
    nodes = [
        h.make_node("MatMul", ["a", "b"], ["ab"]),  # (2, 5, 3) by (3, 4)
        h.make_node("Gemm", ["c", "b", "bias"], ["cb"], transA=1),  # (3, 7) turned by (3, 4)
        h.make_node("Constant", [], ["k"], value=two),
    ]
    inputs, outputs = (
        [h.make_tensor_value_info(name, T.FLOAT, None) for name in names]
        for names in (("a", "c"), ("ab", "cb"))
    )
    kept: dict[str, np.ndarray] = {
        "b": np.zeros((3, 4), np.float32),
        "bias": np.zeros(4, np.float32),
        "i": np.arange(9),
    }
    constants = [onnx.numpy_helper.from_array(v, k) for k, v in kept.items()]
    graph = h.make_graph(nodes, "g", inputs, outputs, constants)
    path = tmp_path / "g.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    given = {"a": np.zeros((2, 5, 3), np.float32), "c": np.zeros((3, 7), np.float32)}
    assert count(path, given) == Cost(macs=2 * 5 * 4 * 3 + 7 * 4 * 3, parameters=12 + 4 + 2)


def test_cost_where_nothing_counts_or_onnx_is_missing(
    brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count(brightness, frames(1, 64, 64, 3)) == Cost(macs=0, parameters=1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert count(brightness, frames(1, 64, 64, 3)) is None
