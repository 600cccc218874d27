"""What we export is within what TensorRT's documentation says it takes.

Operators, types and restrictions: onnx-tensorrt, ``docs/operators.md`` for TensorRT 10.15 (opsets 9
to 24; 11 reads 9 to 25: ONNX Opset Guide, TensorRT 11). uint8: ``tensorrt.DataType.UINT8``, worded
alike in the Python bindings of 10.0.1, 10.16.1 and 11.4.0. int8 and the quantised types are left
out: no file of ours for TensorRT has them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto as T
from onnx import helper as h
from skimage import data

from engines.contract import ModelSpec
from engines.engine import open_engine
from tests import graphs
from train.export import export
from train.export.graph import trace
from train.networks import build

# The exporter leaves the paddings of lite0 as nodes of constants, and says so.
pytestmark = pytest.mark.filterwarnings("ignore:Constant folding:UserWarning")

FLOATS = {T.FLOAT, T.FLOAT16}
NUMBERS = FLOATS | {T.INT32, T.INT64}
ANY = NUMBERS | {T.BOOL}

TYPES: dict[str, set[T.DataType]] = {
    "Add": NUMBERS,
    "And": {T.BOOL},
    "ArgMax": NUMBERS,
    "AveragePool": FLOATS,
    "BatchNormalization": FLOATS,
    "Cast": ANY | {T.UINT8},
    "Clip": FLOATS,
    "Concat": ANY,
    "Constant": ANY,
    "ConstantOfShape": ANY,
    "Conv": FLOATS,
    "ConvTranspose": FLOATS,
    "DepthToSpace": NUMBERS,
    "Div": NUMBERS,
    "Equal": NUMBERS,
    "Expand": ANY,
    "Gather": ANY,
    "GlobalAveragePool": FLOATS,
    "GreaterOrEqual": NUMBERS,
    "Identity": ANY,
    "InstanceNormalization": FLOATS,
    "LeakyRelu": FLOATS,
    "Less": NUMBERS,
    "MatMul": FLOATS,
    "MaxPool": FLOATS,
    "Mul": NUMBERS,
    "Pad": NUMBERS,
    "Range": NUMBERS,
    "ReduceMean": NUMBERS,
    "ReduceSum": NUMBERS,
    "Relu": NUMBERS,
    "Reshape": ANY,
    "Resize": FLOATS,
    "Shape": ANY,
    "Sigmoid": FLOATS,
    "Slice": ANY,
    "Softmax": FLOATS,
    "Sqrt": FLOATS,
    "Squeeze": ANY,
    "Sub": NUMBERS,
    "Transpose": ANY,
    "Unsqueeze": ANY,
    "Where": ANY,
}
OPSETS = range(9, 25)
COMPARING = ("Equal", "GreaterOrEqual", "Less")  # whose types are those of what they compare

# Inputs, by position, whose values must be known when a plan is built.
CONSTANT = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Clip": (1, 2),
    "Pad": (1, 2),
    "ReduceMean": (1,),
    "ReduceSum": (1,),
    "Resize": (1, 2),  # its sizes may depend on shapes
    "Squeeze": (1,),
    "Unsqueeze": (1,),
    "Slice": (3,),
    "BatchNormalization": (1, 2, 3, 4),
}

# Attributes: what each may be. One that is not given has its default, which is among them.
ALLOWED: dict[str, dict[str, Callable[[Any], bool]]] = {
    "AveragePool": {"dilations": lambda v: set(v) == {1}},
    "BatchNormalization": {"training_mode": lambda v: v == 0},
    "MaxPool": {"dilations": lambda v: set(v) == {1}},
    "Pad": {"mode": lambda v: v in (b"constant", b"edge", b"reflect")},
    "Resize": {
        "mode": lambda v: v in (b"nearest", b"linear"),
        "coordinate_transformation_mode": lambda v: (
            v
            in (
                b"half_pixel",
                b"pytorch_half_pixel",
                b"tf_half_pixel_for_nn",
                b"asymmetric",
                b"align_corners",
            )
        ),
        "nearest_mode": lambda v: (
            v in (b"floor", b"ceil", b"round_prefer_floor", b"round_prefer_ceil")
        ),
        "keep_aspect_ratio_policy": lambda v: v == b"stretch",
        "antialias": lambda v: v == 0,
        "axes": lambda v: list(v) == [0, 1, 2, 3],
    },
}


def faults(model: onnx.ModelProto) -> list[str]:
    """Everything in a graph of ours that TensorRT's documentation does not allow."""
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    graph, found = model.graph, []
    if [(o.domain, o.version in OPSETS) for o in model.opset_import] != [("", True)]:
        found.append(f"opsets {[(o.domain, o.version) for o in model.opset_import]}")
    infos = [*graph.input, *graph.output, *graph.value_info]
    types = {v.name: v.type.tensor_type.elem_type for v in infos}
    ranks = {v.name: len(v.type.tensor_type.shape.dim) for v in infos}
    types |= {w.name: w.data_type for w in graph.initializer}
    fixed = {w.name for w in graph.initializer}
    shapes = set(fixed)  # and what is computed of shapes alone
    for node in graph.node:
        op, name = node.op_type, f"{node.op_type} {node.name}"
        given = [x for x in node.input if x]
        if all(x in fixed for x in given):
            fixed.update(node.output)
        if op == "Shape" or all(x in shapes for x in given):
            shapes.update(node.output)
        judged = given[:1] if op in COMPARING else (*given[:1], *node.output)
        kinds = {types.get(x, T.UNDEFINED) for x in judged}
        if op not in TYPES or node.domain:
            found.append(f"{name}: not in the list")
        elif not kinds <= TYPES[op]:
            names = sorted(T.DataType.Name(k) for k in kinds - TYPES[op])
            found.append(f"{name}: of type {', '.join(names)}")
        if op == "Cast" and T.UINT8 in kinds and not kinds & FLOATS:
            found.append(f"{name}: between uint8 and what is neither float32 nor float16")
        for i in CONSTANT.get(op, ()):
            if i < len(node.input) and node.input[i] and node.input[i] not in fixed:
                found.append(f"{name}: input {i} is not known when a plan is built")
        if op == "Resize" and len(node.input) > 3 and node.input[3] not in shapes:
            found.append(f"{name}: its sizes depend on more than shapes")
        if op in ("Conv", "ConvTranspose") and ranks.get(node.output[0]) != 4:
            found.append(f"{name}: not 2-dimensional")
        for attribute in node.attribute:
            value = onnx.helper.get_attribute_value(attribute)
            if not ALLOWED.get(op, {}).get(attribute.name, lambda _: True)(value):
                found.append(f"{name}: {attribute.name} is {value!r}")
    return found


def halved(arch: str, folder: Path, frames: Sequence[np.ndarray] = ()) -> Path:
    """Export a network with random weights in float16, compared with torch on frames."""
    torch.manual_seed(0)
    net, path = build(arch).eval(), folder / f"{arch}.onnx"
    spec = ModelSpec(arch, arch, net.stride, 64, (64,), precision="fp16")
    export.export(net, path, spec, frames)
    return path


@pytest.fixture(scope="module", params=["lite0", "mbv2", "r18x0.5"])
def half(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return halved(request.param, tmp_path_factory.mktemp("half"))


OF_PAPERS = ["modnet", "shm", "gfm", "indexnet", "shm-psp", "lfm", "p3mnet", "gca"]


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "arch", [a if a == "modnet" else pytest.param(a, marks=pytest.mark.long) for a in OF_PAPERS]
)
def test_networks_of_other_papers_are_within_the_list(arch: str) -> None:
    """In float32. Their sizes are free too."""
    torch.manual_seed(0)
    net = build(arch).eval()
    model = trace(net, ModelSpec(arch, arch, net.stride, 64, (64,)))
    assert faults(model) == []
    dims = [d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == [0, 0, 0, 3]


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("arch", OF_PAPERS)
def test_so_are_they_in_float16_and_agree(arch: str, tmp_path: Path) -> None:
    """As ONNX Runtime computes it, which is what the export compares with torch."""
    photo = cv2.resize(data.astronaut(), (96, 64), interpolation=cv2.INTER_AREA)[np.newaxis]
    frames = [photo, np.ascontiguousarray(photo[:, :, 32:])]
    assert faults(onnx.load(halved(arch, tmp_path, frames))) == []


def test_every_node_is_one_that_tensorrt_takes(half: Path) -> None:
    assert faults(onnx.load(half)) == []


def test_float16_is_what_the_file_says(half: Path) -> None:
    """A strongly typed plan computes in the file's types: convolutions have to be in float16."""
    model = onnx.shape_inference.infer_shapes(onnx.load(half), strict_mode=True)
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    convolutions = [types[n.output[0]] for n in model.graph.node if n.op_type == "Conv"]
    assert convolutions.count(T.FLOAT16) >= 0.9 * len(convolutions)
    assert open_engine(half).spec.precision == "fp16"


def test_shapes_are_free_but_for_the_channels(half: Path) -> None:
    """What a profile bounds is free in the file, and nothing else is."""
    graph = onnx.load(half).graph
    (frames,) = graph.input
    dims = [d.dim_value for d in frames.type.tensor_type.shape.dim]
    assert dims == [0, 0, 0, 3]
    assert not {n.op_type for n in graph.node} & {"Shape", "If", "Loop", "NonZero"}


def _graph(path: Path, *nodes: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """Cast, the nodes on ``x`` (N, H, W, 3) float, which give ``y``, and its mean as alpha."""
    every = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        *nodes,
        h.make_node("ReduceMean", ["y"], ["alpha"], axes=[3], keepdims=0),
    ]
    values = {k: np.asarray(v) for k, v in constants.items()}
    return onnx.load(graphs.build(path, every, values))


def _resize(**attributes: Any) -> onnx.NodeProto:
    return h.make_node("Resize", ["x", "", "by"], ["y"], **attributes)


BY = np.array([1, 2, 2, 1], np.float32)
AS_IT_IS = h.make_node("Identity", ["x"], ["y"])


def test_graph_within_the_list_has_no_faults(tmp_path: Path) -> None:
    assert faults(_graph(tmp_path / "m.onnx", AS_IT_IS)) == []
    assert faults(_graph(tmp_path / "m.onnx", _resize(mode="linear"), by=BY)) == []


FAULTY = {
    "not in the list": [h.make_node("Det", ["x"], ["d"]), AS_IT_IS],
    "mode is b'cubic'": [_resize(mode="cubic")],
    "antialias is 1": [_resize(mode="linear", antialias=1)],
    "of type DOUBLE": [
        h.make_node("Cast", ["x"], ["d"], to=T.DOUBLE),
        h.make_node("Cast", ["d"], ["y"], to=1),
    ],
    "of type UINT8": [
        h.make_node("Transpose", ["frames"], ["t"], perm=[0, 2, 1, 3]),
        h.make_node("Cast", ["t"], ["y"], to=T.FLOAT),
    ],
    "neither float32 nor float16": [
        h.make_node("Cast", ["frames"], ["i"], to=T.INT32),
        h.make_node("Cast", ["i"], ["y"], to=1),
    ],
    "its sizes depend on more": [
        h.make_node("Cast", ["x"], ["i"], to=T.INT64),
        h.make_node("ReduceMax", ["i"], ["most"], keepdims=0),
        h.make_node("Reshape", ["most", "one"], ["side"]),
        h.make_node("Concat", ["one", "side", "side", "one"], ["sides"], axis=0),
        h.make_node("Resize", ["x", "", "", "sides"], ["y"], mode="linear"),
    ],
    "input 1 is not known": [
        h.make_node("Cast", ["x"], ["i"], to=T.INT64),
        h.make_node("ReduceMax", ["i"], ["most"], keepdims=0),
        h.make_node("Reshape", ["most", "eight"], ["pads"]),
        h.make_node("Pad", ["x", "pads"], ["y"]),
    ],
}


@pytest.mark.parametrize("words", FAULTY)
def test_each_fault_is_seen(words: str, tmp_path: Path) -> None:
    model = _graph(
        tmp_path / "m.onnx", *FAULTY[words], by=BY, eight=np.array([1]), one=np.array([1])
    )
    model.opset_import[0].version = 18 if "antialias" in words else 17
    if "antialias" in words:  # whose axes are an input from that opset on
        axes = onnx.numpy_helper.from_array(np.array([3]), "axes")
        model.graph.initializer.append(axes)
        del model.graph.node[-1].attribute[:]
        model.graph.node[-1].input.append("axes")
        model.graph.node[-1].attribute.append(h.make_attribute("keepdims", 0))
    assert any(words in fault for fault in faults(model)), faults(model)
