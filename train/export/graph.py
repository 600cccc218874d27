"""A network as an ONNX graph in float32, and the values its tensors take on given frames."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
import onnxruntime as ort
import torch
from onnx import helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.utils import Extractor
from torch import Tensor, nn

from engines.arrays import F32, U8
from engines.contract import ModelSpec
from train.networks.network import Network

OPSET = 17
# Of a tensor's values, at either end, that a range leaves out: what is left is rounded more finely.
TAILS_PERCENT = (0.01, 0.03, 0.05)
SAMPLING_STEP_PIXELS = 4  # every fourth pixel in both directions makes a tensor's range


class Deployed(nn.Module):
    """A network as it ships: uint8 frames in, alpha out, normalisation inside."""

    def __init__(self, net: Network):
        super().__init__()
        self.net = net  # the name is part of the names of all nodes of the graph

    def forward(self, frames: Tensor, trimap: Tensor | None = None) -> Tensor:
        """Return alpha (N, H, W) float in [0, 1] of frames (N, H, W, 3) uint8 RGB.

        Args:
            trimap: (N, H, W) uint8, if the network takes one; where it is 0 or 255, so is alpha.
        """
        x = frames.float().permute(0, 3, 1, 2) / 255
        if trimap is None:
            return self.net(x).deployed_alpha[:, 0]
        known = trimap.float() / 255
        alpha = self.net(torch.cat([x, known[:, None]], 1)).deployed_alpha[:, 0]
        return torch.minimum(torch.maximum(alpha, known.floor()), known.ceil())


def inputs_of(frames: U8, has_trimap: bool) -> tuple[U8, ...]:
    """Return what `Deployed` takes for frames (N, H, W, 3): a trimap, of their brightness, too."""
    grey = frames.mean(3)
    trimap = np.where(grey < 85, 0, np.where(grey > 170, 255, 128)).astype(np.uint8)
    return (frames, trimap) if has_trimap else (frames,)


def feeds(run: ort.InferenceSession, frames: U8) -> dict[str, U8]:
    """Return `inputs_of` frames by the names of a graph's inputs."""
    names = [node.name for node in run.get_inputs()]
    return dict(zip(names, inputs_of(frames, len(names) > 1), strict=True))


def trace(net: Network, spec: ModelSpec, widen: bool = False) -> onnx.ModelProto:
    """Return the float32 graph of `Deployed`, with what does not depend on frames computed.

    Batch norm and padding are folded into convolutions where they can be.

    Args:
        widen: see `Network.deployed`.
    """
    example = np.zeros((1, spec.stride * 4, spec.stride * 6, 3), np.uint8)
    examples = tuple(map(torch.from_numpy, inputs_of(example, net.takes_trimap)))
    inputs = [spec.input, spec.trimap][: len(examples)]
    axes, written = {0: "batch", 1: "height", 2: "width"}, io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # this exporter needs no more packages
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # of nodes removed below
        # An instance norm takes the image's own statistics in any mode.
        warnings.filterwarnings("ignore", "ONNX export mode.*instance_norm", UserWarning)
        torch.onnx.export(
            Deployed(net.deployed(widen)).eval(),
            examples,
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=inputs,
            output_names=[spec.output],
            dynamic_axes=dict.fromkeys((*inputs, spec.output), axes),
        )
    model = onnx.load_from_string(written.getvalue())
    _own_constants(model.graph)
    _compute_constants(model.graph)
    model = onnx.shape_inference.infer_shapes(model, data_prop=True)
    _fold_padding(model)
    # Drops unused nodes.
    return Extractor(model).extract_model(inputs, [spec.output])


def _compute_constants(graph: onnx.GraphProto) -> None:
    """Turn what is computed from initializers alone into initializers: amounts of padding, say."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in list(graph.node):
        if not all(name in weights for name in node.input if name):
            continue
        given = {name: numpy_helper.to_array(weights[name]) for name in node.input if name}
        for name, value in zip(node.output, ReferenceEvaluator(node).run(None, given), strict=True):
            weights[name] = numpy_helper.from_array(np.asarray(value), name)
            graph.initializer.append(weights[name])
        graph.node.remove(node)


def _fold_padding(model: onnx.ModelProto) -> None:
    """Merge zero padding into the convolution that follows it, where it costs nothing."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for pad in [n for n in model.graph.node if n.op_type == "Pad"]:
        readers = [n for n in model.graph.node if pad.output[0] in n.input]
        modes = [a.s for a in pad.attribute if a.name == "mode"]
        fits = [n.op_type for n in readers] == ["Conv"] and modes in ([], [b"constant"])
        if not fits or pad.input[1] not in weights:
            continue
        conv = readers[0]
        amounts = numpy_helper.to_array(weights[pad.input[1]])
        _, _, top, left, _, _, bottom, right = amounts.tolist()
        (pads,) = (a for a in conv.attribute if a.name == "pads")
        if any(pads.ints):
            continue
        pads.ints[:] = [top, left, bottom, right]
        conv.input[0] = pad.input[0]
        model.graph.node.remove(pad)


def _own_constants(graph: onnx.GraphProto) -> None:
    """Turn constants and shared weights into initializers: converters handle nothing else."""
    weights = {tensor.name: tensor for tensor in graph.initializer}
    for node in [n for n in graph.node if n.op_type in ("Constant", "Identity")]:
        if node.input and node.input[0] not in weights:  # another tensor's name
            continue
        own = onnx.TensorProto()
        own.CopyFrom(weights[node.input[0]] if node.input else node.attribute[0].t)
        own.name = node.output[0]
        graph.initializer.append(own)
        graph.node.remove(node)


def upstream(model: onnx.ModelProto, tensors: str | tuple[str, ...]) -> set[str]:
    """Return the names of the nodes that a tensor, or any of several, is computed by."""
    wanted, found = {tensors} if isinstance(tensors, str) else set(tensors), set()
    for node in reversed(model.graph.node):  # in the order of execution
        if wanted & set(node.output):
            wanted |= set(node.input)
            found.add(node.name)
    return found


def before_first(model: onnx.ModelProto, taps: Mapping[str, str | tuple[str, ...]]) -> set[str]:
    """Return the names of the nodes that the first of `Network.taps` is computed by.

    Without taps, these are the nodes of `Deployed` outside the network. In either case those are
    among them by which one of several values is picked: rounded, it would be another one.
    """
    kinds = {value.name: value.type.tensor_type.elem_type for value in model.graph.value_info}
    picks = [
        node.output[0]
        for node in model.graph.node
        if node.op_type == "GreaterOrEqual" and kinds.get(node.input[0]) == onnx.TensorProto.FLOAT
    ]
    exact: set[str] = set().union(*(upstream(model, name) for name in picks))
    if not taps:
        return exact | {n.name for n in model.graph.node if not n.name.startswith("/net/")}
    return exact | upstream(model, next(iter(taps.values())))


def session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Load a graph on the CPU, with the options of `engines.onnx_engine`."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


@dataclass(frozen=True)
class Activation:
    """The values of a float tensor (N, C, H, W) over all frames.

    Attributes:
        ranges: for each of `TAILS_PERCENT`, its range without that at either end of each frame's
            values.
        peak: the greatest |value|.
        mean: (C,) the mean of each channel.
    """

    ranges: tuple[tuple[float, float], ...]
    peak: float
    mean: F32


def observe(model: onnx.ModelProto, early: set[str], frames: Iterable[U8]) -> dict[str, Activation]:
    """Measure the float tensors of rank 4 that nodes other than `early` take or give, by name.

    Args:
        model: of `trace`.
        early: names of nodes.
        frames: at least one, each (N, H, W, 3).
    """
    names = _activations(model, early)
    run = session(_probed(model, names))
    outputs = [f"{what}:{name}" for name in names for what in ("some", "peak", "mean")]
    lowest, highest = TAILS_PERCENT, [100 - tail for tail in TAILS_PERCENT]
    ends: list[F32] = []  # (tensors, 2, tails)
    peaks: list[list[float]] = []
    means: list[list[F32]] = []
    for frame in frames:
        found = run.run(outputs, feeds(run, frame))
        ends.append(np.array([np.percentile(v, (lowest, highest)) for v in found[::3]]))
        peaks.append(found[1::3])
        means.append(found[2::3])
    low, high = np.min(ends, 0)[:, 0], np.max(ends, 0)[:, 1]  # (tensors, tails)
    return {
        name: Activation(
            tuple(zip(low[i].tolist(), high[i].tolist(), strict=True)),
            float(np.max([p[i] for p in peaks])),
            np.mean([m[i] for m in means], 0),
        )
        for i, name in enumerate(names)
    }


def _activations(model: onnx.ModelProto, early: set[str]) -> list[str]:
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
    """Return the graph with small outputs ``some:``, ``peak:`` and ``mean:`` of every tensor."""
    probed = onnx.ModelProto()
    probed.CopyFrom(model)
    graph = probed.graph
    slicing = {
        "from": [0, 0],
        "to": [1 << 30] * 2,
        "axes": [2, 3],
        "by": [SAMPLING_STEP_PIXELS] * 2,
    }
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
