"""float16 for graphics cards: a float32 graph → one that computes in float16 where it may."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import BadData
from train.graph import Activation, upstream

# These stay in float32: a mean over thousands of values, and alpha itself. So does all up to f1,
# whose kernels look for small differences of the picture.
SENSITIVE = ("ReduceMean", "Sigmoid", "Gather")
# A quarter of float16's greatest value. ONNX Runtime computes float16 in float32 on a CPU, so that
# an overflow would not show there.
LARGEST = 65504 / 4


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """A graph of `train.graph.trace` in float16, where it is not sensitive to that."""
    result = onnx.ModelProto()
    result.CopyFrom(model)
    graph, early = result.graph, upstream(model, "f1")
    weights = {tensor.name: tensor for tensor in graph.initializer}
    wide: dict[str, bool] = {}  # whether a tensor is float32
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        stays = node.op_type in SENSITIVE or node.name in early
        for i, name in enumerate(node.input):
            if name in weights and not stays and node.op_type != "Resize":  # its scales are float32
                with np.errstate(over="ignore"):  # `check_range` tells
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
    """The greatest |value| in float16, of weights and of activations.

    Args:
        model: of `half`.
        seen: of `observe`, of the graph before.

    Raises:
        BadData: it is too large for float16.
    """
    peaks = {name: activation.peak for name, activation in seen.items()}
    for tensor in model.graph.initializer:
        if tensor.data_type == TensorProto.FLOAT16:
            peaks[tensor.name] = float(np.abs(numpy_helper.to_array(tensor)).max(initial=0))
    name = max(peaks, key=lambda n: peaks[n])
    if not peaks[name] <= LARGEST:
        raise BadData(
            f"{name} reaches {peaks[name]:.3g}, too much for fp16 (at most {LARGEST:.0f}); "
            "export as fp32 or int8"
        )
    return peaks[name]
