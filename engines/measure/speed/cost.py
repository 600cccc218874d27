"""Count the multiply-accumulates and parameters of a network in its graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import onnxruntime as ort
from numpy.typing import NDArray

from engines.checks import first_line
from engines.errors import BadData, reading
from engines.onnx_engine import PROVIDER

COUNTED_OPERATORS = {"Conv", "ConvTranspose", "Gemm", "MatMul"}


@dataclass(frozen=True)
class Cost:
    """The cost of one run of a network.

    `macs` are the multiply-accumulates of convolutions and matrix products; one is two FLOPs.
    `parameters` are all constants of the graph except 64-bit integers, which are shapes.
    """

    macs: int
    parameters: int


def count(path: Path, inputs: dict[str, NDArray[Any]]) -> Cost | None:
    """Count the cost of an ONNX file with these inputs.

    The network runs once, because the file need not contain the shapes of its tensors.

    Returns:
        The cost, or None if the package onnx is not installed.

    Raises:
        BadData: the network does not run on these inputs.
    """
    try:
        import onnx
    except ModuleNotFoundError:
        return None
    with reading(path):
        model = onnx.load_model_from_string(path.read_bytes())
    graph = model.graph
    nodes = [
        n for n in graph.node if n.op_type in COUNTED_OPERATORS and n.domain in ("", "ai.onnx")
    ]
    names = sorted({name for n in nodes for name in (*n.input[:2], n.output[0])})
    constants = [a for n in graph.node if n.op_type == "Constant" for a in n.attribute]
    kept = [*graph.initializer, *(a.t for a in constants if a.HasField("t"))]
    try:
        shapes = _shapes(model, names, inputs)
    except Exception as e:  # onnxruntime's own classes share no base but Exception
        raise BadData(f"{path}: the model failed ({first_line(e)})") from e
    return Cost(
        macs=sum(_macs(n, *(shapes[x] for x in (*n.input[:2], n.output[0]))) for n in nodes),
        parameters=sum(prod(t.dims) for t in kept if t.data_type != onnx.TensorProto.INT64),
    )


def _shapes(
    model: Any, names: list[str], inputs: dict[str, NDArray[Any]]
) -> dict[str, tuple[int, ...]]:
    """Run a model and return the shapes of the named tensors; changes the model's outputs."""
    from onnx import TensorProto, helper

    if not names:
        return {}
    del model.graph.output[:]
    for i, name in enumerate(names):
        model.graph.node.append(helper.make_node("Shape", [name], [f"wsshm shape {i}"]))
        model.graph.output.append(
            helper.make_tensor_value_info(f"wsshm shape {i}", TensorProto.INT64, [None])
        )
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options, providers=[PROVIDER])
    found: Iterable[Any] = session.run(None, inputs)
    return {name: tuple(map(int, s)) for name, s in zip(names, found, strict=True)}


def _macs(node: Any, a: tuple[int, ...], b: tuple[int, ...], out: tuple[int, ...]) -> int:
    """Return the MACs of a node from the shapes of its first two inputs and its output."""
    if node.op_type == "Conv":  # b: channels out, channels in of a group, kernel
        return prod(out) * prod(b[1:])
    if node.op_type == "ConvTranspose":  # b: channels in, channels out of a group, kernel
        return prod(a) * prod(b[1:])
    is_transposed = any(x.name == "transA" and x.i for x in node.attribute)
    return prod(out) * (a[0] if is_transposed else a[-1])
