"""The network as an ONNX graph in float32, and what goes through it on given frames."""

from __future__ import annotations

import copy
import io
import warnings
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
import torch.nn.functional as F
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.utils import Extractor
from torch import Tensor, nn

from engines.arrays import F32, U8
from engines.contract import ModelSpec
from train.networks.unet import MattingNet

OPSET = 17
SIDE = 4  # pixels of a block whose alpha the exported head gives at once
BLOCK = SIDE**2  # channels that a kernel computes at once, on processors with AVX-512
TAIL = 0.01  # percent of a tensor's values, at either end, that its range leaves out
STEP = 4  # of the pixels of a tensor, every fourth in both directions makes its range


class Deployed(nn.Module):
    """The network as it ships: uint8 images in, alpha out, normalisation inside."""

    def __init__(self, net: MattingNet):
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, H, W) float in [0, 1]."""
        matte, *_ = self.net(frames.float().permute(0, 3, 1, 2) / 255)
        return matte.sigmoid()[:, 0]


class First(nn.Module):
    """The first `count` channels."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


def trace(net: MattingNet, spec: ModelSpec, widen: bool = False) -> onnx.ModelProto:
    """The float32 graph of `Deployed`, batch norm and padding folded into convolutions.

    Args:
        widen: give the decoder whole blocks of channels, as the kernels for int8 want them.
    """
    net = copy.deepcopy(net)
    if widen:
        for level in range(5):
            setattr(net, f"d{level}", _widened(getattr(net, f"d{level}")))
    net.matte = _blockwise(net.matte)
    for name in ("mean", "std"):
        value = getattr(net, name)
        if (value == value[:, :1]).all():  # a number is taken from all values at once
            setattr(net, name, value[:, :1])
    example = torch.zeros(1, spec.stride * 4, spec.stride * 6, 3, dtype=torch.uint8)
    axes, written = {0: "batch", 1: "height", 2: "width"}, io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this exporter needs no more packages
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # of what goes below
        torch.onnx.export(
            Deployed(net).eval(),
            (example,),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=[spec.input],
            output_names=[spec.output],
            dynamic_axes={spec.input: axes, spec.output: axes},
        )
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(written.getvalue()))
    _fold_padding(model)
    model = Extractor(model).extract_model([spec.input], [spec.output])  # what is needed now
    _own_constants(model.graph)
    return model


def _blockwise(head: nn.Conv2d) -> nn.Sequential:
    """A 3×3 head of one channel as one that gives a block of pixels at each step.

    The same function, in a third of the time: kernels compute `BLOCK` channels at once, and one of
    them alone takes as long.
    """
    blocks = nn.Conv2d(head.in_channels, BLOCK, SIDE + 2, stride=SIDE, padding=1)
    assert head.bias is not None
    with torch.no_grad():
        blocks.weight.zero_()
        for i in range(BLOCK):
            y, x = divmod(i, SIDE)
            blocks.weight[i, :, y : y + 3, x : x + 3] = head.weight[0]
        blocks.bias.copy_(head.bias.expand(BLOCK))
    return nn.Sequential(blocks, nn.PixelShuffle(SIDE))


def _widened(part: nn.Sequential) -> nn.Sequential:
    """Convolution, norm and ReLU with a whole number of blocks; the channels added are cut off."""
    conv, norm, relu = part
    count = conv.out_channels
    if count % BLOCK == 0:
        return part
    conv, more = nn.utils.fuse_conv_bn_eval(conv, norm), -count % BLOCK
    conv.weight = nn.Parameter(F.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, more)))
    conv.bias = nn.Parameter(F.pad(conv.bias, (0, more)))
    return nn.Sequential(conv, relu, First(count))


def _fold_padding(model: onnx.ModelProto) -> None:
    """Give the padding before a convolution to the convolution, where it costs nothing."""
    for pad in [n for n in model.graph.node if n.op_type == "Pad"]:
        (conv,) = (n for n in model.graph.node if pad.output[0] in n.input)
        constant = Extractor(model).extract_model([], [pad.input[1]])
        (amounts,) = ReferenceEvaluator(constant).run(None, {})
        _, _, top, left, _, _, bottom, right = np.asarray(amounts).tolist()
        (pads,) = (a for a in conv.attribute if a.name == "pads")
        pads.ints[:] = [top, left, bottom, right]  # they were 0
        conv.input[0] = pad.input[0]
        model.graph.node.remove(pad)


def _own_constants(graph: onnx.GraphProto) -> None:
    """Make initializers of constants and of weights that are shared: converters know no others."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type in ("Constant", "Identity")]:
        own = onnx.TensorProto()
        own.CopyFrom(weights[node.input[0]] if node.input else node.attribute[0].t)
        own.name = node.output[0]
        graph.initializer.append(own)
        graph.node.remove(node)


def upstream(model: onnx.ModelProto, tap: str) -> set[str]:
    """The names of the nodes that `tap`, one of ``f1`` … ``f4``, is computed by.

    Args:
        model: of `trace`.
    """
    joints = [n for n in model.graph.node if n.name.startswith("/net/Concat")]  # of d4 … d0
    wanted, found = {joints[4 - int(tap[1:])].input[1]}, set()
    for node in reversed(model.graph.node):  # in the order of execution
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.add(node.name)
    return found


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """The graph on the CPU, as `engines.onnx_engine` runs it."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True)
class Activation:
    """What a float tensor (N, C, H, W) of a graph holds, over all frames.

    `low` and `high` leave out `TAIL` of each frame's values, `peak` is the greatest of all |value|;
    `mean` (C,) is that of each channel.
    """

    low: float
    high: float
    peak: float
    mean: F32


def observe(model: onnx.ModelProto, frames: Iterable[U8]) -> dict[str, Activation]:
    """The float tensors of rank 4 from the image and f1 on, by name.

    Args:
        model: of `trace`.
        frames: at least one, each (N, H, W, 3).
    """
    names = _activations(model)
    run, entry = session(_probed(model, names)), model.graph.input[0].name
    outputs = [f"{what}:{name}" for name in names for what in ("some", "peak", "mean")]
    ends: list[F32] = []
    peaks: list[list[float]] = []
    means: list[list[F32]] = []
    for frame in frames:
        found = run.run(outputs, {entry: frame})
        ends.append(np.array([np.percentile(v, (TAIL, 100 - TAIL)) for v in found[::3]]))
        peaks.append(found[1::3])
        means.append(found[2::3])
    low, high = np.min(ends, 0)[:, 0], np.max(ends, 0)[:, 1]
    return {
        name: Activation(
            float(low[i]),
            float(high[i]),
            float(np.max([p[i] for p in peaks])),
            np.mean([m[i] for m in means], 0),
        )
        for i, name in enumerate(names)
    }


def _activations(model: onnx.ModelProto) -> list[str]:
    """The float tensors of rank 4 that f1 and what follows it take or give."""
    early = upstream(model, "f1")
    late = [node for node in model.graph.node if node.name not in early]
    names = {name for node in late for name in (*node.input, *node.output)}
    return [
        value.name
        for value in model.graph.value_info
        if value.name in names
        and value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
        and len(value.type.tensor_type.shape.dim) == 4
    ]


def _probed(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """The graph with outputs ``what:name`` of every tensor; little of it leaves the graph."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    slicing = {"from": [0, 0], "to": [1 << 30] * 2, "axes": [2, 3], "by": [STEP] * 2}
    for name, value in slicing.items():
        graph.initializer.append(numpy_helper.from_array(np.array(value, np.int64), name))
    for name in names:
        nodes = [
            helper.make_node("Slice", [name, *slicing], [f"some:{name}"]),
            helper.make_node("Abs", [name], [f"size:{name}"]),
            helper.make_node("ReduceMax", [f"size:{name}"], [f"peak:{name}"], keepdims=0),
            helper.make_node("ReduceMean", [name], [f"mean:{name}"], axes=[0, 2, 3], keepdims=0),
        ]
        graph.node.extend(nodes)
        graph.output.extend(
            helper.make_tensor_value_info(f"{what}:{name}", onnx.TensorProto.FLOAT, None)
            for what in ("some", "peak", "mean")
        )
    return probed
