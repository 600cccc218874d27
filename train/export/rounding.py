"""Store the kernels of a float32 graph in fewer bits, so that its file and a wheel are smaller.

A kernel becomes float16 behind a Cast, which engines fold away on loading: half the file. The last
bits of its float16 may be zero, which changes no file's size but what compression makes of it.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def round_kernels(model: onnx.ModelProto, exact: tuple[str, ...], least: int) -> None:
    """Store large kernels as float16 behind a Cast.

    Args:
        exact: of `train.networks.network.Network.exact_weights`.
        least: number of values of a kernel that is large.
    """
    casts, kept = [], tuple(f"net.{prefix}." for prefix in exact)  # `Deployed` calls it net
    for weight in model.graph.initializer:
        values = numpy_helper.to_array(weight)
        small = values.size < least
        if values.dtype != np.float32 or small or weight.name.startswith(kept):
            continue
        name, weight.name = weight.name, f"{weight.name}.half"
        weight.CopyFrom(numpy_helper.from_array(values.astype(np.float16), weight.name))
        casts.append(helper.make_node("Cast", [weight.name], [name], to=TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def widen_kernels(model: onnx.ModelProto) -> None:
    """Undo `round_kernels`, but for what rounding took: all kernels are float32 again."""
    stored = {w.name: w for w in model.graph.initializer if w.data_type == TensorProto.FLOAT16}
    for node in [n for n in model.graph.node if n.op_type == "Cast" and n.input[0] in stored]:
        weight = stored[node.input[0]]
        values = numpy_helper.to_array(weight).astype(np.float32)
        weight.CopyFrom(numpy_helper.from_array(values, node.output[0]))
        model.graph.node.remove(node)


def clear_bits(model: onnx.ModelProto, bits: int) -> None:
    """Round all kernels of float16 to values whose last `bits` bits, of 10 or fewer, are zero."""
    for weight in model.graph.initializer:
        if weight.data_type == TensorProto.FLOAT16 and bits:
            values = numpy_helper.to_array(weight).view(np.uint16).astype(np.uint32)
            # To the nearest, of two to the even one; a carry into the exponent is right, too.
            values += (1 << bits - 1) - 1 + (values >> bits & 1)
            values = (values >> bits << bits).astype(np.uint16)
            weight.CopyFrom(numpy_helper.from_array(values.view(np.float16), weight.name))
