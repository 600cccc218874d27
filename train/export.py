"""Checkpoint → ONNX with its `ModelSpec`: ``python -m train.export CHECKPOINT OUT.onnx …``.

The graph takes uint8 N×H×W×3 and gives alpha N×H×W; H and W are free, multiples of the stride.
Large kernels are stored as float16 and cast when the file is loaded, which halves the file; all
arithmetic is float32. The graph is compared with torch, before and after the weights are rounded,
and only then moved to its name.
"""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import torch
from torch import Tensor, nn

from engines.contract import KEY, ModelSpec
from engines.errors import BadData, guarded, writing
from train import checkpoint
from train.model import MattingNet

OPSET = 17
SMALL = (
    5000  # values; smaller kernels (depthwise, heads) stay float32: little to save, much to lose
)
# Greatest difference of alpha between torch and ONNX Runtime, both fp32; and after the weights
# have been rounded to float16.
TOLERANCE, ROUNDED_TOLERANCE = 1e-4, 1e-2


class Deployed(nn.Module):
    """The network as it ships: uint8 pictures in, alpha out, normalisation inside."""

    def __init__(self, net: MattingNet):
        super().__init__()
        self.net = net

    def forward(self, frames: Tensor) -> Tensor:
        """(N, H, W, 3) uint8 RGB to (N, H, W) float in [0, 1]."""
        matte, *_ = self.net(frames.permute(0, 3, 1, 2).float() / 255)
        return matte.sigmoid()[:, 0]


def load_net(path: Path) -> MattingNet:
    """The network of a checkpoint or of released weights, its averaged weights, in eval mode.

    Raises:
        CannotOpen, BadData: not readable, not of this project, or of another network.
    """
    arch, weights = checkpoint.weights(path)
    try:
        net = MattingNet(arch)
    except ValueError as e:
        raise BadData(f"{path}: {e}") from e
    checkpoint.match(net, weights, path)
    return net.eval()


def export(net: MattingNet, out: Path, spec: ModelSpec) -> float:
    """Write `net` to `out`; returns the greatest difference of the file from torch.

    Raises:
        BadData: the graph differs from torch by more than is allowed; nothing is written.
        WriteFailed: a full disk, for one.
    """
    deployed, part = Deployed(net).eval(), out.with_name(out.name + ".part")
    example = torch.zeros(1, spec.stride * 4, spec.stride * 6, 3, dtype=torch.uint8)
    axes = {0: "batch", 1: "height", 2: "width"}
    try:
        with (
            writing(out, begun=True),
            warnings.catch_warnings(),
        ):  # this exporter needs no further package
            warnings.simplefilter("ignore", DeprecationWarning)
            torch.onnx.export(
                deployed, (example,), part, dynamo=False, opset_version=OPSET,
                input_names=[spec.input], output_names=[spec.output],
                dynamic_axes={spec.input: axes, spec.output: axes},
            )  # fmt: skip
        _check(deployed, part, out, spec, TOLERANCE)
        model = onnx.load(part)
        _round_weights(model)
        onnx.helper.set_model_props(model, {KEY: spec.to_json()})
        model.doc_string = f"{spec.name}: human matting, wsshm"
        onnx.checker.check_model(model, full_check=True)
        with writing(out, begun=True):
            onnx.save(model, part)
            worst = _check(deployed, part, out, spec, ROUNDED_TOLERANCE)
            os.replace(part, out)
    finally:
        part.unlink(missing_ok=True)
    return worst


def _check(deployed: Deployed, part: Path, out: Path, spec: ModelSpec, allowed: float) -> float:
    worst = parity(deployed, part, spec)
    if not worst <= allowed:
        raise BadData(f"{out}: differs from torch by {worst:.2g}, allowed {allowed:g}")
    return worst


def _round_weights(model: onnx.ModelProto) -> None:
    """Store large kernels as float16 behind a Cast, which engines fold away on loading."""
    casts = []
    for weight in model.graph.initializer:
        values = onnx.numpy_helper.to_array(weight)
        if values.dtype != np.float32 or values.size < SMALL:
            continue
        name, weight.name = weight.name, f"{weight.name}.half"
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), weight.name))
        casts.append(
            onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def parity(deployed: Deployed, model: Path, spec: ModelSpec) -> float:
    """Greatest difference of alpha between torch and ONNX Runtime, over shapes and batches."""
    session = ort.InferenceSession(model.read_bytes(), providers=["CPUExecutionProvider"])
    rng, worst = np.random.default_rng(0), 0.0
    s = spec.stride
    for n, h, w in ((1, s, s), (1, 9 * s, 16 * s), (2, 12 * s, 7 * s), (3, 2 * s, 5 * s)):
        small = rng.integers(0, 256, (n, max(2, h // 16), max(2, w // 16), 3), np.uint8)
        frames = small.repeat(-(-h // small.shape[1]), 1).repeat(-(-w // small.shape[2]), 2)
        frames = np.ascontiguousarray(frames[:, :h, :w])
        with torch.inference_mode():
            expected = deployed(torch.from_numpy(frames)).numpy()
        (alpha,) = session.run([spec.output], {spec.input: frames})
        worst = max(worst, float(np.abs(alpha - expected).max()))
    return worst


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--name", required=True)
    parser.add_argument("--size", type=int, required=True, help="shorter edge it is run at")
    parser.add_argument("--trained-sizes", type=int, nargs="+", default=[])
    parser.add_argument("--trained-on", default="unstated")
    parser.add_argument("--licence", default="unstated")
    parser.add_argument("--metrics", nargs="*", default=[], metavar="NAME=VALUE")
    args = parser.parse_args()
    net = load_net(args.checkpoint)
    spec = ModelSpec(
        args.name, net.arch, net.stride, args.size, tuple(args.trained_sizes),
        licence=args.licence, trained_on=args.trained_on,
        metrics={k: float(v) for k, _, v in (m.partition("=") for m in args.metrics)},
    )  # fmt: skip
    worst = export(net, args.out, spec)
    print(f"{args.out}: {args.out.stat().st_size / 1e6:.1f} MB, torch parity {worst:.1e}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
