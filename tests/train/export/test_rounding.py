"""`train.export.rounding`: what is left of a kernel."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from train.export.rounding import clear_bits, round_kernels, widen_kernels


def model_of(values: np.ndarray) -> onnx.ModelProto:
    kernel = numpy_helper.from_array(values, "kernel")
    return helper.make_model(helper.make_graph([], "graph", [], [], [kernel]))


@pytest.mark.parametrize("bits", [0, 1, 2, 3])
def test_last_bits_are_rounded_to_zero(bits: int) -> None:
    """To the nearest: at most half a step of what is left, of either sign, up to the next power."""
    rng = np.random.default_rng(0)
    values = np.append(rng.normal(0, 0.1, 5000), [0.99999, -1.99, 0.0]).astype(np.float16)
    model = model_of(values)
    clear_bits(model, bits)
    found = numpy_helper.to_array(model.graph.initializer[0])
    assert not (found.view(np.uint16) & (1 << bits) - 1).any()
    step = np.spacing(np.abs(values).astype(np.float16)).astype(np.float64) * (1 << bits)
    error = np.abs(found.astype(np.float64) - values.astype(np.float64))
    assert (error <= step / 2).all()
    assert (found == values).all() == (bits == 0)


def test_other_types_are_left_alone() -> None:
    values = np.random.default_rng(0).normal(0, 0.1, 50).astype(np.float32)
    model = model_of(values)
    clear_bits(model, 3)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), values)


def test_widening_undoes_rounding() -> None:
    """Under the old names, with no cast left."""
    values = np.random.default_rng(0).normal(0, 0.1, 50).astype(np.float32)
    model = model_of(values)
    round_kernels(model, (), 50)
    assert [n.op_type for n in model.graph.node] == ["Cast"]
    widen_kernels(model)
    (kernel,) = model.graph.initializer
    assert (kernel.name, len(model.graph.node)) == ("kernel", 0)
    expected = values.astype(np.float16).astype(np.float32)
    np.testing.assert_array_equal(numpy_helper.to_array(kernel), expected)
