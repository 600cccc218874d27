"""Tiny ONNX files with the inputs and outputs of known peers, whose answer is easy to predict."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    inputs: dict[str, list[int]],
    outputs: dict[str, list[int]],
    constants: dict[str, np.ndarray] | None = None,
) -> Path:
    taken, given = (
        [h.make_tensor_value_info(name, T.FLOAT, shape) for name, shape in side.items()]
        for side in (inputs, outputs)
    )
    kept = [onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items()]
    graph = h.make_graph(nodes, "peer", taken, given, kept)
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    return path


def rvm(path: Path) -> Path:
    """72×128; alpha is red plus a tenth of how many images have been seen since the start."""
    states = {f"r{i}": [1, 1, 9 // i, 16 // i] for i in (1, 2, 3, 4)}
    nodes = [h.make_node("Add", [f"{r}i", "one"], [f"{r}o"]) for r in states]
    nodes += [
        h.make_node("Gather", ["src", "first"], ["red"], axis=1),
        h.make_node("ReduceMean", ["r4i"], ["seen"], keepdims=1),
        h.make_node("Mul", ["seen", "tenth"], ["more"]),
        h.make_node("Add", ["red", "more"], ["pha"]),
        h.make_node("Identity", ["src"], ["fgr"]),
    ]
    return save(
        path,
        nodes,
        {"src": [1, 3, 72, 128], **{f"{r}i": s for r, s in states.items()}},
        {"fgr": [1, 3, 72, 128], "pha": [1, 1, 72, 128], **{f"{r}o": s for r, s in states.items()}},
        {
            "one": np.array(1, np.float32),
            "tenth": np.array(0.1, np.float32),
            "first": np.array([0]),
        },
    )


def selfie(path: Path) -> Path:
    """Alpha is red."""
    nodes = [h.make_node("Gather", ["in", "first"], ["out"], axis=3)]
    shapes = {"in": [1, 256, 256, 3]}, {"out": [1, 256, 256, 1]}
    return save(path, nodes, *shapes, {"first": np.array([0])})


def meet(path: Path) -> Path:
    """Logits are green and red, 200 times: where red is more it is person."""
    nodes = [
        h.make_node("Gather", ["in", "both"], ["two"], axis=3),
        h.make_node("Mul", ["two", "much"], ["out"]),
    ]
    shapes = {"in": [1, 144, 256, 3]}, {"out": [1, 144, 256, 2]}
    return save(path, nodes, *shapes, {"both": np.array([1, 0]), "much": np.array(200, np.float32)})


def sinet(path: Path) -> Path:
    """The person is 50 times the third channel, the background the first."""
    nodes = [
        h.make_node("Gather", ["in", "both"], ["two"], axis=1),
        h.make_node("Mul", ["two", "much"], ["out"]),
    ]
    shapes = {"in": [1, 3, 320, 320]}, {"out": [1, 2, 320, 320]}
    return save(path, nodes, *shapes, {"both": np.array([0, 2]), "much": np.array(50, np.float32)})


def isnet(path: Path) -> Path:
    """The first of six maps is the green channel plus a half; the others are not for use."""
    nodes = [
        h.make_node("Gather", ["in", "second"], ["green"], axis=1),
        h.make_node("Add", ["green", "half"], ["d1"]),
    ]
    nodes += [h.make_node("Identity", ["green"], [f"d{i}"]) for i in range(2, 7)]
    nodes.append(h.make_node("Identity", ["in"], ["features"]))
    maps = {f"d{i}": [1, 1, 1024, 1024] for i in range(1, 7)}
    return save(
        path,
        nodes,
        {"in": [1, 3, 1024, 1024]},
        maps | {"features": [1, 3, 1024, 1024]},
        {"second": np.array([1]), "half": np.array(0.5, np.float32)},
    )
