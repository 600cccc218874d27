"""int8 for ONNX Runtime's CPU kernels: weights by channel, activations from real images.

Two things keep a network of depthwise convolutions close to its float self. Rounding a kernel of
nine weights shifts the mean of its whole channel, so every bias takes that shift back (Nagel et
al., 2019, arXiv 1906.04721, section 4.2). And the encoder stays in float up to f1, where it looks
for small differences of the image; further on too where the measured loss asks for it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType, TensorsData

from engines.arrays import F32, U8
from train.export.graph import Activation, observe, upstream
from train.export.parity import differences

LOGIT = 8.0  # beyond ± this, alpha is 0 or 1 to less than a tenth of a level of 255
LARGEST = 64  # code of a weight: processors without VNNI add pairs of products in 16 bits
ENOUGH = 0.004  # mean |difference| of alpha at which no more is left in float
OPERATIONS = ["Conv", "Clip", "Relu", "Add", "Concat", "Resize", "Slice"]


def quantise(
    model: onnx.ModelProto, frames: Sequence[U8], held: Sequence[U8], expected: Sequence[F32]
) -> tuple[onnx.ModelProto, str]:
    """The graph in int8, and the tap up to which it is float.

    Args:
        model: of `train.export.graph.trace`, widened.
        frames: what activations are calibrated on, each (N, H, W, 3).
        held: other frames, on which the loss is measured.
        expected: the network's alpha for each of `held`, (N, H, W).
    """
    seen = observe(model, frames)
    for tap in ("f1", "f2", "f3", "f4"):
        result = _quantised(model, seen, upstream(model, tap))
        if differences(result, held, expected).mean() <= ENOUGH:
            break
    return result, tap


def _quantised(
    model: onnx.ModelProto, seen: dict[str, Activation], floats: set[str]
) -> onnx.ModelProto:
    """The graph with QDQ pairs around all operations but `floats`, by name."""
    given = onnx.ModelProto()
    given.CopyFrom(model)
    names = [node.name for node in model.graph.node if node.name not in floats]
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
    ranges = {name: (np.float32(a.low), np.float32(a.high)) for name, a in seen.items()}
    (logits,) = (n.input[0] for n in model.graph.node if n.op_type == "DepthToSpace")
    low, high = ranges[logits]
    ranges[logits] = max(low, np.float32(-LOGIT)), min(high, np.float32(LOGIT))
    return TensorsData(CalibrationMethod.MinMax, ranges)


def _correct_biases(graph: onnx.GraphProto, seen: dict[str, Activation], names: list[str]) -> None:
    """Take from each bias what rounding the kernel will add to its channel on average."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type != "Conv" or node.name not in names or len(node.input) < 3:
            continue
        kernel, bias = (numpy_helper.to_array(weights[name]) for name in node.input[1:])
        scale = np.maximum(np.abs(kernel).max((1, 2, 3), keepdims=True), 1e-12) / LARGEST
        added = (np.rint(kernel / scale) * scale - kernel).sum((2, 3))  # (out, in / groups)
        mean = seen[node.input[0]].mean.reshape(-1, added.shape[1])  # (groups, in / groups)
        shift = (added * mean.repeat(len(added) // len(mean), 0)).sum(1)
        corrected = numpy_helper.from_array((bias - shift).astype(np.float32), node.input[2])
        weights[node.input[2]].CopyFrom(corrected)
