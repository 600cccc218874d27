"""float16 for graphics cards: turn a float32 graph into one that mostly computes in float16.

Rounding the kernels of some convolutions, mostly early ones, shifts alpha slightly in whole
regions. Those stay in float32, as many as the measured loss requires.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.arrays import F32, U8
from engines.errors import BadData
from train.export.graph import Activation
from train.export.parity import differences, each_difference

# These stay in float32: a mean over thousands of values, and alpha itself. So does all up to the
# network's first tap, whose kernels respond to small differences in the image.
SENSITIVE_OPERATIONS = ("ReduceMean", "Sigmoid", "Gather")
# Greatest |difference| of alpha on the images at hand; below the tolerance, as others differ more.
TARGET_MAX_DIFFERENCE = 3e-3
RANKING_FRAMES = 8  # on which the convolutions are ranked
CONVOLUTIONS_PER_ROUND = 3  # that go back to float32 at a time
# A quarter of float16's greatest value. ONNX Runtime computes float16 in float32 on a CPU, so that
# an overflow would not show there.
MAX_FP16_VALUE = 65504 / 4


def half(
    model: onnx.ModelProto,
    early: set[str],
    held_out: Sequence[U8],
    expected: Sequence[F32],
    chooses: bool = False,
) -> tuple[onnx.ModelProto, int]:
    """Return the graph in float16, and how many of its convolutions are in float32.

    Args:
        model: of `train.export.graph.trace`, after `check_range`.
        early: names of nodes that stay in float32.
        held_out: frames (N, H, W, 3), on which the loss is measured.
        expected: the network's alpha for each of `held_out`, (N, H, W).
        chooses: of `Network.chooses`; then 99 % of the pixels are looked at.
    """
    looked_at = 99 if chooses else 100
    names = {node.name for node in model.graph.node}
    some = slice(None, None, -(-len(held_out) // RANKING_FRAMES))

    def loss(part: set[str]) -> float:
        result = _halved(model, names - part)
        return float(differences(result, held_out[some], expected[some]).mean())

    def is_near(floats: set[str]) -> bool:
        found = each_difference(_halved(model, floats), held_out, expected)
        return all(np.percentile(d, looked_at) <= TARGET_MAX_DIFFERENCE for d in found)

    parts, floats = _convolutions(model, early), set(early)
    while parts and not is_near(floats):
        if floats == early:
            parts.sort(key=loss, reverse=True)
        floats = floats.union(*parts[:CONVOLUTIONS_PER_ROUND])
        del parts[:CONVOLUTIONS_PER_ROUND]
    kept = sum(node.op_type == "Conv" and node.name in floats for node in model.graph.node)
    return _halved(model, floats), kept


def _convolutions(model: onnx.ModelProto, early: set[str]) -> list[set[str]]:
    """Return the names of each convolution outside `early` and of its activation."""
    parts = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in early:
            after = [n for n in model.graph.node if node.output[0] in n.input]
            parts.append({node.name} | {n.name for n in after if n.op_type in ("Clip", "Relu")})
    return parts


def _halved(model: onnx.ModelProto, floats: set[str]) -> onnx.ModelProto:
    """Return the graph in float16, except for the nodes `floats` and the sensitive operations."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    kinds = {value.name: value.type.tensor_type.elem_type for value in graph.value_info}
    kinds |= {name: tensor.data_type for name, tensor in weights.items()}
    wide: dict[str, bool] = {}  # whether a tensor is float32
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        stays = node.op_type in SENSITIVE_OPERATIONS or node.name in floats
        for i, name in enumerate(node.input):
            if kinds.get(name, TensorProto.FLOAT) != TensorProto.FLOAT:
                continue
            if name in weights:
                if stays or node.op_type == "Resize":  # its scales are float32
                    continue
                node.input[i] = rounded = f"{name}.half"  # others may share the weight in float32
                if rounded not in wide:
                    values = numpy_helper.to_array(weights[name]).astype(np.float16)
                    graph.initializer.append(numpy_helper.from_array(values, rounded))
                wide[rounded] = False
            elif wide.get(name, stays) != stays:
                node.input[i] = cast = f"{name}.{'float' if stays else 'half'}"
                if cast not in wide:
                    kind = TensorProto.FLOAT if stays else TensorProto.FLOAT16
                    nodes.append(helper.make_node("Cast", [name], [cast], to=kind))
                wide[cast] = stays
        if node.op_type == "Cast" and not stays and node.attribute[0].i == TensorProto.FLOAT:
            node.attribute[0].i = TensorProto.FLOAT16
        if node.op_type == "ConstantOfShape" and not stays:
            value = numpy_helper.to_array(node.attribute[0].t)
            if value.dtype == np.float32:
                node.attribute[0].t.CopyFrom(numpy_helper.from_array(value.astype(np.float16)))
        nodes.append(node)
        wide[node.output[0]] = stays
    read = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.node[:], graph.value_info[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(kept)
    return result


def check_range(model: onnx.ModelProto, seen: dict[str, Activation]) -> float:
    """Return the greatest |value| of weights and activations.

    Args:
        model: of `train.export.graph.trace`.
        seen: of `train.export.graph.observe`.

    Raises:
        BadData: it is too large for float16.
    """
    peaks = {name: activation.peak for name, activation in seen.items()}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            peaks[tensor.name] = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
    name = max(peaks, key=lambda n: peaks[n])
    if not peaks[name] <= MAX_FP16_VALUE:
        raise BadData(
            f"{name} reaches {peaks[name]:.3g}, too much for fp16 (at most {MAX_FP16_VALUE:.0f})",
            "export as fp32 or int8",
        )
    return peaks[name]
