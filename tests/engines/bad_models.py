"""Files that are no models of ours, each for one reason."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto as T
from onnx import helper as h

from engines.contract import FORMAT, KEY
from tests import graphs


def with_metadata(path: Path, text: str) -> Path:
    """A good graph with any text where its description should be."""
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    h.set_model_props(model, {KEY: text})
    onnx.save(model, path)
    return path


def described(**changes: object) -> str:
    """A good description with fields changed."""
    return json.dumps(json.loads(graphs.SPEC.to_json()) | changes)


def no_metadata(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    del model.metadata_props[:]
    onnx.save(model, path)
    return path


def foreign_key(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    h.set_model_props(model, {"author": "someone", "stride": "32"})
    onnx.save(model, path)
    return path


def wrong_input_name(path: Path) -> Path:
    info = [h.make_tensor_value_info("image", T.UINT8, ["n", "h", "w", 3])]
    nodes = [
        h.make_node("Cast", ["image"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.array([255], np.float32)}, inputs=info)


def wrong_output_name(path: Path) -> Path:
    info = [h.make_tensor_value_info("matte", T.FLOAT, ["n", "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["matte"]),
    ]
    return graphs.build(path, nodes, {"white": np.array([255], np.float32)}, outputs=info)


def second_input(path: Path) -> Path:
    info = [
        h.make_tensor_value_info("frames", T.UINT8, ["n", "h", "w", 3]),
        h.make_tensor_value_info("state", T.FLOAT, [1]),
    ]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Mul", ["y", "state"], ["alpha"]),
    ]
    return graphs.build(path, nodes, inputs=info)


def _typed_input(path: Path, kind: int) -> Path:
    info = [h.make_tensor_value_info("frames", kind, ["n", "h", "w", 3])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.array([255], np.float32)}, inputs=info)


def int8_input(path: Path) -> Path:
    return _typed_input(path, T.INT8)


def float_input(path: Path) -> Path:
    return _typed_input(path, T.FLOAT)


def float16_output(path: Path) -> Path:
    info = [h.make_tensor_value_info("alpha", T.FLOAT16, ["n", "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT16),
        h.make_node("ReduceMean", ["x"], ["alpha"], axes=[3], keepdims=0),
    ]
    return graphs.build(path, nodes, outputs=info)


def wrong_rank(path: Path) -> Path:
    info = [h.make_tensor_value_info("alpha", T.FLOAT, ["n", "h", "w", 1])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=1),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.array([255], np.float32)}, outputs=info)


def planar_input(path: Path) -> Path:
    """Channels first, as most other people's models are."""
    info = [h.make_tensor_value_info("frames", T.UINT8, ["n", 3, "h", "w"])]
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[1], keepdims=0),
        h.make_node("Div", ["y", "white"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"white": np.array([255], np.float32)}, inputs=info)


def half_size_output(path: Path) -> Path:
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Slice", ["y", "begin", "end", "axes", "steps"], ["z"]),
        h.make_node("Div", ["z", "white"], ["alpha"]),
    ]
    constants = {
        "white": np.array([255], np.float32),
        "begin": np.array([0]),
        "end": np.array([9999]),
        "axes": np.array([1]),
        "steps": np.array([2]),
    }
    return graphs.build(path, nodes, constants)


def nan_output(path: Path) -> Path:
    return graphs.constant(path, float("nan"))


def infinite_output(path: Path) -> Path:
    return graphs.constant(path, float("inf"))


def too_large_output(path: Path) -> Path:
    return graphs.constant(path, 255.0)


def negative_output(path: Path) -> Path:
    return graphs.constant(path, -0.5)


def fails_when_run(path: Path) -> Path:
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("Reshape", ["x", "impossible"], ["alpha"]),
    ]
    return graphs.build(path, nodes, {"impossible": np.array([7, 11, 13])})


def cut_off(path: Path) -> Path:
    data = graphs.constant(path, 1.0).read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def junk(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(4096))
    return path


def another_kind(path: Path) -> Path:
    path.write_text("<html>404 Not Found</html>\n" * 20)
    return path


def newer_format(path: Path) -> Path:
    return with_metadata(path, described(format=FORMAT + 1))


def newer_opset(path: Path) -> Path:
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    model.opset_import[0].version = 999
    onnx.save(model, path)
    return path


def unknown_operator(path: Path) -> Path:
    return graphs.build(path, [h.make_node("CallHome", ["frames"], ["alpha"], domain="evil")])


def _external(path: Path, location: str) -> Path:
    """The constant's bytes are said to lie in another file."""
    graphs.constant(path, 1.0)
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        onnx.external_data_helper.set_external_data(tensor, location, offset=0, length=4)
        tensor.ClearField("raw_data")
    path.write_bytes(model.SerializeToString())
    return path


def external_data_beside_it(path: Path) -> Path:
    (path.parent / "weights.bin").write_bytes(b"\0" * 64)
    return _external(path, "weights.bin")


def external_data_elsewhere(path: Path) -> Path:
    return _external(path, "../../../../../../../../etc/passwd")


def external_data_by_link(path: Path) -> Path:
    (path.parent / "link.bin").symlink_to("/etc/passwd")
    return _external(path, "link.bin")


FILES = [
    no_metadata,
    foreign_key,
    wrong_input_name,
    wrong_output_name,
    second_input,
    int8_input,
    float_input,
    float16_output,
    wrong_rank,
    planar_input,
    half_size_output,
    nan_output,
    infinite_output,
    too_large_output,
    negative_output,
    fails_when_run,
    cut_off,
    empty,
    junk,
    another_kind,
    newer_format,
    newer_opset,
    unknown_operator,
    external_data_beside_it,
    external_data_elsewhere,
    external_data_by_link,
]
