"""int8 for ONNX Runtime's CPU kernels: weights by channel, activations from real images.

Two things keep a network of depthwise convolutions close to its float version. Rounding a kernel of
nine weights shifts the mean of its whole channel, so every bias compensates that shift (Nagel et
al., 2019, arXiv 1906.04721, section 4.2). And the network stays in float up to its first tap, where
it responds to small differences in the image, or to a later tap if the measured loss requires it.
How much of an activation's tails its range leaves out is chosen by that loss too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

from engines.arrays import F32, U8
from train.export.graph import TAILS_PERCENT, Activation, before_first, observe, upstream
from train.export.parity import differences

MAX_LOGIT = 8.0  # beyond ± this, alpha is 0 or 1 to less than a tenth of a level of 255
MAX_WEIGHT_LEVEL = 127
# CPUs without VNNI add the products of two successive weights of a channel in 16 bits; at most this
# sum of levels of one sign, times 255, fits in, with half a level for the rounding of each.
MAX_PAIR_LEVEL = 127
TARGET_MEAN_DIFFERENCE = 0.004  # mean |difference| of alpha at which no more is left in float
# Operations that move values without changing them.
REARRANGING = ("DepthToSpace", "Gather", "Identity", "Reshape", "Squeeze")
OPERATIONS = ["Conv", "Clip", "Relu", "Add", "Concat", "Resize", "Slice"]


def quantise(
    model: onnx.ModelProto,
    taps: Mapping[str, str | tuple[str, ...]],
    calibration: Sequence[U8],
    held_out: Sequence[U8],
    expected: Sequence[F32],
) -> tuple[onnx.ModelProto, str]:
    """Return the graph in int8, and the tap up to which it is float; empty: all of it is int8.

    Args:
        model: of `train.export.graph.trace`, widened.
        taps: of `Network.taps`.
        calibration: frames (N, H, W, 3) from which the ranges of activations are taken.
        held_out: other frames, whose loss decides on the tap and the ranges.
        expected: the network's alpha for each of `held_out`, (N, H, W).
    """
    seen = observe(model, before_first(model, taps), calibration)
    outside = before_first(model, {})
    for tap in taps or ("",):
        floats = outside | (upstream(model, taps[tap]) if tap else set())
        results = [_quantised(model, seen, tail, floats) for tail in range(len(TAILS_PERCENT))]
        losses = [differences(result, held_out, expected).mean() for result in results]
        if min(losses) <= TARGET_MEAN_DIFFERENCE:
            break
    return results[losses.index(min(losses))], tap


def _quantised(
    model: onnx.ModelProto, seen: dict[str, Activation], tail: int, floats: set[str]
) -> onnx.ModelProto:
    """Return the graph with QDQ pairs around all nodes except `floats`.

    Args:
        tail: which of `TAILS_PERCENT` the ranges of activations leave out.
    """
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
    scales = _scales(given.graph, names)
    _correct_biases(given.graph, seen, scales, names)
    quantizer = QDQQuantizer(
        given,
        True,
        False,
        QuantType.QInt8,
        QuantType.QUInt8,
        _ranges(model, seen, tail),
        names,
        [],
        OPERATIONS,
        {"TensorQuantOverrides": {name: _overrides(scale) for name, scale in scales.items()}},
    )
    quantizer.quantize_model()
    quantizer.model.topological_sort()
    result: onnx.ModelProto = quantizer.model.model
    return result


def _ranges(model: onnx.ModelProto, seen: dict[str, Activation], tail: int) -> TensorsData:
    """Return the range of each activation; that of the last without what alpha cannot show."""
    ranges = {name: tuple(map(np.float32, a.ranges[tail])) for name, a in seen.items()}
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


def _scales(graph: onnx.GraphProto, names: list[str]) -> dict[str, F32]:
    """Return the step (out,) of each output channel of the kernels of the convolutions `names`."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    return {
        node.input[1]: _steps(numpy_helper.to_array(weights[node.input[1]]))
        for node in graph.node
        if node.op_type == "Conv" and node.name in names and node.input[1] in weights
    }


def _steps(kernel: F32) -> F32:
    """Return the smallest step (out,) by which each channel of a kernel (out, in, H, W) is exact.

    Kernels with one input channel, which ONNX Runtime adds up in 32 bits, need no more than fit in
    8 bits. In the others the weights at a place follow each other by input channel.
    """
    rows = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
    step = np.abs(rows).max(1) / MAX_WEIGHT_LEVEL
    if kernel.shape[1] > 1:
        pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(len(rows), -1, 2)
        for signed in (pairs, -pairs):
            step = np.maximum(step, signed.clip(0).sum(2).max(1) / MAX_PAIR_LEVEL)
    result: F32 = np.maximum(step, 1e-12).astype(np.float32)
    return result


def _overrides(steps: F32) -> list[dict[str, object]]:
    """Return the steps of a kernel's channels as ONNX Runtime's quantiser takes them."""
    same = {"quant_type": QuantType.QInt8, "axis": 0, "zero_point": np.int8(0)}
    return [{**same, "scale": step} for step in steps]


def _correct_biases(
    graph: onnx.GraphProto, seen: dict[str, Activation], scales: dict[str, F32], names: list[str]
) -> None:
    """Subtract from each bias what rounding the kernel adds to its channel on average."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or node.name not in names or len(node.input) < 3:
            continue
        kernel, bias = (numpy_helper.to_array(weights[name]) for name in node.input[1:])
        scale = scales[node.input[1]].reshape(-1, 1, 1, 1)
        added = (np.rint(kernel / scale) * scale - kernel).sum((2, 3))  # (out, in / groups)
        mean = seen[node.input[0]].mean.reshape(-1, added.shape[1])  # (groups, in / groups)
        shift = (added * mean.repeat(len(added) // len(mean), 0)).sum(1)
        corrected = numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2])
        weights[node.input[2]].CopyFrom(corrected)
