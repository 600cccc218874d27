"""Tiny models that keep the contract, built in the test that needs them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

from engines.contract import KEY, ModelSpec

SPEC = ModelSpec("tiny", "test", stride=32, size=64, trained_sizes=(64,))


def build(
    path: Path,
    nodes: list[onnx.NodeProto],
    constants: dict[str, np.ndarray] | None = None,
    spec: ModelSpec | None = SPEC,
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
) -> Path:
    """Save a graph from ``frames`` to ``alpha``; without metadata when `spec` is None."""
    graph = h.make_graph(
        nodes,
        "tiny",
        inputs or [h.make_tensor_value_info("frames", T.UINT8, ["n", "h", "w", 3])],
        outputs or [h.make_tensor_value_info("alpha", T.FLOAT, ["n", "h", "w"])],
        [onnx.numpy_helper.from_array(v, k) for k, v in (constants or {}).items()],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    if spec is not None:
        h.set_model_props(model, {KEY: spec.to_json()})
    onnx.save(model, path)
    return path


def constant(path: Path, value: float) -> Path:
    """Alpha is `value` everywhere."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("Mul", ["grey", "zero"], ["none"]),
        h.make_node("Add", ["none", "value"], ["alpha"]),
    ]
    return build(
        path, nodes, {"zero": np.array([0], np.float32), "value": np.array([value], np.float32)}
    )


def brightness(path: Path) -> Path:
    """Alpha is the mean of red, green and blue."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("Div", ["grey", "white"], ["alpha"]),
    ]
    return build(path, nodes, {"white": np.array([255], np.float32)})


def trimap(path: Path) -> Path:
    """A model that takes a trimap, and gives the image's brightness where it is unknown."""
    frames = h.make_tensor_value_info("frames", T.UINT8, ["n", "h", "w", 3])
    told = h.make_tensor_value_info("trimap", T.UINT8, ["n", "h", "w"])
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("Transpose", ["x"], ["rgb"], perm=[0, 3, 1, 2]),
        h.make_node("Conv", ["rgb", "thirds"], ["mean"]),
        h.make_node("Squeeze", ["mean", "channel"], ["grey"]),
        h.make_node("Div", ["grey", "white"], ["bright"]),
        h.make_node("Cast", ["trimap"], ["t"], to=T.FLOAT),
        h.make_node("Div", ["t", "white"], ["known"]),
        h.make_node("Floor", ["known"], ["person"]),
        h.make_node("Ceil", ["known"], ["possible"]),
        h.make_node("Max", ["bright", "person"], ["least"]),
        h.make_node("Min", ["least", "possible"], ["alpha"]),
    ]
    spec = replace(SPEC, trimap="trimap")
    constants = {
        "thirds": np.full((1, 3, 1, 1), 1 / 3, np.float32),
        "channel": np.array([1]),
        "white": np.array([255], np.float32),
    }
    return build(path, nodes, constants, spec, inputs=[frames, told])


def convolutions(path: Path) -> Path:
    """A network of the kind we ship, with weights of 0; alpha is 0.5.

    At half the size: 4 channels from 3 by 3×3, then each channel by 3×3; twice the size by 2×2.
    """
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("Transpose", ["x"], ["rgb"], perm=[0, 3, 1, 2]),
        h.make_node("Conv", ["rgb", "w1", "b1"], ["f1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        h.make_node("Conv", ["f1", "w2"], ["f2"], group=4, pads=[1, 1, 1, 1]),
        h.make_node("ConvTranspose", ["f2", "w3"], ["d"], strides=[2, 2]),
        h.make_node("Sigmoid", ["d"], ["matte"]),
        h.make_node("Squeeze", ["matte", "channel"], ["alpha"]),
    ]
    shapes = {"w1": (4, 3, 3, 3), "b1": (4,), "w2": (4, 1, 3, 3), "w3": (4, 1, 2, 2)}
    weights = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    return build(path, nodes, weights | {"channel": np.array([1])})


def hungry(path: Path, megabytes: int, times: int = 1) -> Path:
    """Alpha is 0; so many MB are held meanwhile, and filled and read so many times."""
    passes = []
    for i in range(times):
        passes += [
            h.make_node("Expand", [f"one{i}", "many"], [f"big{i}"]),
            h.make_node("ReduceMin", [f"big{i}"], [f"one{i + 1}"], keepdims=0),
        ]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("ReduceMax", ["grey"], ["one0"], keepdims=0),
        *passes,
        h.make_node("Mul", [f"one{times}", "zero"], ["nothing"]),
        h.make_node("Mul", ["grey", "nothing"], ["alpha"]),
    ]
    constants = {"many": np.array([megabytes * 250_000]), "zero": np.array(0, np.float32)}
    return build(path, nodes, constants)
