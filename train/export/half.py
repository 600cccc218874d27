"""float16 for graphics cards: a float32 graph → one that computes in float16 where it may.

Rounding the kernels of some convolutions, mostly early ones, moves whole regions of alpha by a
little. Those stay in float32, as many of them as the measured loss asks for.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.arrays import F32, U8
from engines.errors import BadData
from train.export.graph import Activation, upstream
from train.export.parity import differences, each_difference

# These stay in float32: a mean over thousands of values, and alpha itself. So does all up to f1,
# whose kernels look for small differences of the image.
SENSITIVE = ("ReduceMean", "Sigmoid", "Gather")
ENOUGH = 3e-3  # greatest |difference| of alpha that is looked for; other images have more
FEW = 8  # frames on which the convolutions are ranked
MORE = 3  # convolutions that go back to float32 at a time
# A quarter of float16's greatest value. ONNX Runtime computes float16 in float32 on a CPU, so that
# an overflow would not show there.
LARGEST = 65504 / 4


def half(
    model: onnx.ModelProto, held: Sequence[U8], expected: Sequence[F32]
) -> tuple[onnx.ModelProto, int]:
    """The graph in float16, and how many of its convolutions are in float32.

    Args:
        model: of `train.export.graph.trace`, that `check_range` has passed.
        held: frames (N, H, W, 3), on which the loss is measured.
        expected: the network's alpha for each of `held`, (N, H, W).
    """
    early, names = upstream(model, "f1"), {node.name for node in model.graph.node}
    some = slice(None, None, -(-len(held) // FEW))

    def loss(part: set[str]) -> float:
        result = _halved(model, names - part)
        return float(differences(result, held[some], expected[some]).mean())

    def is_near(floats: set[str]) -> bool:
        found = each_difference(_halved(model, floats), held, expected)
        return all(d.max() <= ENOUGH for d in found)

    parts, floats = _convolutions(model, early), set(early)
    while parts and not is_near(floats):
        if floats == early:
            parts.sort(key=loss, reverse=True)
        floats = floats.union(*parts[:MORE])
        del parts[:MORE]
    kept = sum(node.op_type == "Conv" and node.name in floats for node in model.graph.node)
    return _halved(model, floats), kept


def _convolutions(model: onnx.ModelProto, early: set[str]) -> list[set[str]]:
    """The names of each convolution but those of `early`, with the activation that follows it."""
    parts = []
    for node in model.graph.node:
        if node.op_type == "Conv" and node.name not in early:
            after = [n for n in model.graph.node if node.output[0] in n.input]
            parts.append({node.name} | {n.name for n in after if n.op_type in ("Clip", "Relu")})
    return parts


def _halved(model: onnx.ModelProto, floats: set[str]) -> onnx.ModelProto:
    """The graph in float16, but for the operations `floats`, by name, and the sensitive ones."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph = result.graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    wide: dict[str, bool] = {}  # whether a tensor is float32
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        stays = node.op_type in SENSITIVE or node.name in floats
        for i, name in enumerate(node.input):
            if name in weights and not stays and node.op_type != "Resize":  # its scales are float32
                values = numpy_helper.to_array(weights[name]).astype(np.float16)
                weights[name].CopyFrom(numpy_helper.from_array(values, name))
            elif wide.get(name, stays) != stays:
                node.input[i] = cast = f"{name}.{'float' if stays else 'half'}"
                if cast not in wide:
                    kind = TensorProto.FLOAT if stays else TensorProto.FLOAT16
                    nodes.append(helper.make_node("Cast", [name], [cast], to=kind))
                wide[cast] = stays
        nodes.append(node)
        wide[node.output[0]] = stays
    del graph.node[:], graph.value_info[:]
    graph.node.extend(nodes)
    return result


def check_range(model: onnx.ModelProto, seen: dict[str, Activation]) -> float:
    """The greatest |value| of weights and activations.

    Args:
        model: of `train.export.graph.trace`.
        seen: of `observe`.

    Raises:
        BadData: it is too large for float16.
    """
    peaks = {name: activation.peak for name, activation in seen.items()}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT:
            peaks[tensor.name] = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
    name = max(peaks, key=lambda n: peaks[n])
    if not peaks[name] <= LARGEST:
        raise BadData(
            f"{name} reaches {peaks[name]:.3g}, too much for fp16 (at most {LARGEST:.0f}); "
            "export as fp32 or int8"
        )
    return peaks[name]
