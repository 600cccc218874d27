"""A network that fails on the way: its fault is the one shown, and what was done is kept."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h

from tests import graphs
from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import decode, parts
from tests.media import grey_clip


def afraid_of_light(path: Path) -> Path:
    """Alpha is 0; a white image makes it look beyond the end of a list."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("ReduceMin", ["x"], ["darkest"], keepdims=0),
        h.make_node("Greater", ["darkest", "half"], ["white"]),
        h.make_node("Cast", ["white"], ["index"], to=T.INT64),
        h.make_node("Gather", ["list", "index"], ["zero"]),
        h.make_node("Mul", ["grey", "zero"], ["alpha"]),
    ]
    return graphs.build(
        path, nodes, {"half": np.array(128, np.float32), "list": np.array([0], np.float32)}
    )


def test_a_network_that_fails_on_the_way(wsshm: Wsshm, tmp_path: Path) -> None:
    """Every frame that is said to be written is in a file that plays; one line, and 65."""
    images = [np.full((48, 64), 255 * (i >= 60), np.uint8) for i in range(90)]
    grey_clip(tmp_path / "in.mp4", images)
    model = afraid_of_light(tmp_path / "model.onnx")
    result = wsshm("run", "in.mp4", "--model", model, "-o", "out.mp4", "--json")
    assert result.returncode == 65, result.stderr
    frames = json.loads(result.stdout)["frames"]
    one_error_line(result, model, "the model failed", "Gather", f"({frames} of 90 frames written)")
    assert "E:onnxruntime" not in result.stderr  # its own log
    assert 0 < frames <= 60
    assert decode(tmp_path / "out.mp4").frames == frames
    assert not parts(tmp_path)
