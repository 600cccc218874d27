"""int8 for ONNX Runtime's CPU kernels: weights by channel, activations from real images.

Two things keep a network of depthwise convolutions close to its float version. Rounding a kernel of
nine weights shifts the mean of its whole channel, so every bias compensates that shift (Nagel et
al., 2019, arXiv 1906.04721, section 4.2). And the network stays in float up to its first tap, where
it responds to small differences in the image, or to a later tap if the measured loss requires it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

from engines.arrays import F32, U8
from train.export.graph import Activation, before_first, observe, upstream
from train.export.parity import differences

MAX_LOGIT = 8.0  # beyond ± this, alpha is 0 or 1 to less than a tenth of a level of 255
MAX_WEIGHT_LEVEL = 64  # of 127: CPUs without VNNI add pairs of products in 16 bits
TARGET_MEAN_DIFFERENCE = 0.004  # mean |difference| of alpha at which no more is left in float
# Operations that move values without changing them.
REARRANGING = ("DepthToSpace", "Gather", "Identity", "Reshape", "Squeeze")
OPERATIONS = ["Conv", "Clip", "Relu", "Add", "Concat", "Resize", "Slice"]


def quantise(
    model: onnx.ModelProto,
    taps: dict[str, str],
    calibration: Sequence[U8],
    held_out: Sequence[U8],
    expected: Sequence[F32],
) -> tuple[onnx.ModelProto, str]:
    """Return the graph in int8, and the tap up to which it is float; empty: all of it is int8.

    Args:
        model: of `train.export.graph.trace`, widened.
        taps: of `Network.taps`.
        calibration: frames (N, H, W, 3) from which the ranges of activations are taken.
        held_out: other frames, on which the loss is measured.
        expected: the network's alpha for each of `held_out`, (N, H, W).
    """
    seen = observe(model, before_first(model, taps), calibration)
    outside = before_first(model, {})
    for tap in taps or ("",):
        floats = upstream(model, taps[tap]) if tap else set()
        result = _quantised(model, seen, outside | floats)
        if differences(result, held_out, expected).mean() <= TARGET_MEAN_DIFFERENCE:
            break
    return result, tap


def _quantised(
    model: onnx.ModelProto, seen: dict[str, Activation], floats: set[str]
) -> onnx.ModelProto:
    """Return the graph with QDQ pairs around all nodes except `floats`."""
    given = onnx.ModelProto()
    given.CopyFrom(model)
    # Activations of another rank than 4 are not observed.
    known = seen.keys() | {tensor.name for tensor in model.graph.initializer}
    unknown = {
        value.name
        for value in model.graph.value_info
        if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT and value.name not in known
    }
    names = [
        node.name
        for node in model.graph.node
        if node.name not in floats and not unknown & {*node.input, *node.output}
    ]
    _correct_biases(given.graph, seen, names)
    quantizer = QDQQuantizer(
        given,
        True,
        True,
        QuantType.QInt8,
        QuantType.QUInt8,
        _ranges(model, seen),
        names,
        [],
        OPERATIONS,
        {},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    return result


def _ranges(model: onnx.ModelProto, seen: dict[str, Activation]) -> TensorsData:
    """Return the range of each activation; that of the last without what alpha cannot show."""
    ranges = {name: (np.float32(a.low), np.float32(a.high)) for name, a in seen.items()}
    last, least, most = _last(model.graph)
    if last in ranges:
        low, high = ranges[last]
        ranges[last] = max(low, np.float32(least)), min(high, np.float32(most))
    return TensorsData(CalibrationMethod.MinMax, ranges)


def _last(graph: onnx.GraphProto) -> tuple[str, float, float]:
    """Return the tensor that alpha is the sigmoid of, or clipped, and the values it shows."""
    made_by = {output: node for node in graph.node for output in node.output}
    name, least, most = graph.output[0].name, 0.0, 1.0
    while (node := made_by[name]).op_type in (*REARRANGING, "Sigmoid", "Clip"):
        name = node.input[0]
        if node.op_type == "Sigmoid":
            least, most = -MAX_LOGIT, MAX_LOGIT
    return name, least, most


def _correct_biases(graph: onnx.GraphProto, seen: dict[str, Activation], names: list[str]) -> None:
    """Subtract from each bias what rounding the kernel adds to its channel on average."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or node.name not in names or len(node.input) < 3:
            continue
        kernel, bias = (numpy_helper.to_array(weights[name]) for name in node.input[1:])
        scale = np.maximum(np.abs(kernel).max((1, 2, 3), keepdims=True), 1e-12) / MAX_WEIGHT_LEVEL
        added = (np.rint(kernel / scale) * scale - kernel).sum((2, 3))  # (out, in / groups)
        mean = seen[node.input[0]].mean.reshape(-1, added.shape[1])  # (groups, in / groups)
        shift = (added * mean.repeat(len(added) // len(mean), 0)).sum(1)
        corrected = numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2])
        weights[node.input[2]].CopyFrom(corrected)
