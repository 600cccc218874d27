"""Export a checkpoint to ONNX with its `ModelSpec`, in float32, float16 or int8.

The graph takes uint8 frames N×H×W×3, and a trimap N×H×W if the network does, and gives float32
alpha N×H×W, with H and W any multiples of the stride. In every precision it is compared with torch
before the file is written.

    fp32   large kernels are stored as float16 and cast when the file is loaded, which halves it,
           unless that moves alpha too far: `train.export.rounding`
    fp16   `train.export.half`, for graphics cards
    int8   `train.export.quantise`, for CPUs; needs images to calibrate on
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np
import onnx
import torch

from engines.arrays import F32, U8
from engines.checks import read_graph
from engines.contract import KEY, ModelSpec
from engines.datasets.layout import list_backgrounds, list_images, list_pairs
from engines.datasets.read import read_image
from engines.errors import BadData, CannotOpen, UsageError, WsshmError
from engines.files import replacing
from engines.preprocess import fit
from train import config
from train.checkpoint import checkpoint
from train.export.graph import (
    Deployed,
    before_first,
    feeds,
    inputs_of,
    observe,
    session,
    trace,
)
from train.export.half import check_range, half
from train.export.parity import (
    TOLERANCES,
    TRACE_TOLERANCE,
    Parity,
    compare,
    synthetic,
    tolerated,
)
from train.export.quantise import quantise
from train.export.rounding import clear_bits, round_kernels, widen_kernels
from train.networks import build
from train.networks.network import Network

# Values of a kernel that is rounded; smaller ones stay float32: little to save, much to lose. The
# second is taken where the first rounds too much.
MIN_ROUNDED_VALUES = (5_000, 60_000)
CLEARED_BITS = 2, 1, 0  # of a rounded kernel's values, as many as alpha allows
MAX_IMAGES = 80  # that an export looks at
TRIMAP = "trimap"  # the name of the second input of a network that takes one
HELD_OUT_STEP = 5  # every fifth is compared with torch and never calibrated on; for fp16 all are
MIN_CALIBRATION_IMAGES = 10


@dataclass(frozen=True)
class Exported:
    """How far a written file is from torch, and what its precision required.

    Attributes:
        parity: the difference from torch.
        peak: for fp16, the greatest |value| of the network.
        floats: for fp16, the number of convolutions in float32.
        tap: for int8, the name of the features up to which the network is in float32.
    """

    parity: Parity
    peak: float | None = None
    floats: int | None = None
    tap: str | None = None


def load_net(path: Path) -> Network:
    """Load the averaged weights of a checkpoint, or released weights, as a network in eval mode.

    Raises:
        CannotOpen, BadData: not readable, not a file of this project, or of another network.
    """
    arch, weights = checkpoint.weights(path)
    try:
        net = build(arch)
    except UsageError as e:
        raise BadData(f"{path}: {e}") from e
    checkpoint.match(net, weights, path)
    return net.eval()


def trained_sizes(path: Path) -> tuple[int, ...]:
    """Return the sides, in pixels, of a run's training crops; () if its folder lacks them."""
    try:
        stages = config.saved(path.parent)["stages"]
        return tuple(sorted({int(size) for stage in stages for size in stage["sizes"]}))
    except (WsshmError, ValueError, KeyError, TypeError):
        return ()


def real_frames(folder: Path, size: int, stride: int) -> list[U8]:
    """Read at most `MAX_IMAGES` images as a network sees them, each (1, H, W, 3) uint8 RGB.

    Args:
        folder: images, or data in our layout: then its training images, equally many of each set.
        size: shorter edge, in pixels.

    Raises:
        CannotOpen, BadData: not a folder, no images in it, or one that cannot be read.
    """
    if not folder.is_dir():
        raise CannotOpen(f"{folder}: no such folder")
    sets: dict[str, list[Path]] = {}
    for kind in ("seg", "matte"):
        for pair in list_pairs(folder, kind, "train", required=False):
            sets.setdefault(f"{kind}/{pair.source}", []).append(pair.image)
    sets["background"] = list_backgrounds(folder, "train", required=False)
    found = [paths for paths in sets.values() if paths] or [list_images(folder)]
    each = -(-MAX_IMAGES // len(found))
    spread = [paths[:: -(-len(paths) // each)] for paths in found if paths]
    paths = [s[i] for i in range(each) for s in spread if i < len(s)][:MAX_IMAGES]
    if not paths:
        raise BadData(f"{folder}: no images in it, nor any to train on in seg, matte or background")
    return [_frame(path, size, stride) for path in paths]


def _frame(path: Path, size: int, stride: int) -> U8:
    rgb = read_image(path)[..., :3]
    return fit(rgb.shape[1], rgb.shape[0], size, stride).shrink(rgb)[np.newaxis]


def export(net: Network, out: Path, spec: ModelSpec, frames: Sequence[U8] = ()) -> Exported:
    """Write `net` to `out` in the precision that `spec` states.

    Args:
        frames: of `real_frames`; int8 needs them. Without, torch is compared on synthetic ones.

    Raises:
        UsageError: no such precision, or fewer than `MIN_CALIBRATION_IMAGES` frames for int8.
        BadData: the graph differs from torch by more than `TOLERANCES`, or float16 cannot hold its
            values; nothing is written.
        CannotCreate, WriteFailed: of `replacing`; `out` is as it was.
    """
    spec = replace(spec, trimap=TRIMAP if net.takes_trimap else "")
    if spec.precision not in TOLERANCES:
        raise UsageError(f"precision {spec.precision}: use {', '.join(TOLERANCES)}")
    if spec.precision == "int8" and len(frames) < MIN_CALIBRATION_IMAGES:
        raise UsageError(
            f"int8 needs {MIN_CALIBRATION_IMAGES} images to calibrate on, there are {len(frames)}"
        )
    each = 1 if spec.precision == "fp16" else HELD_OUT_STEP
    held_out, deployed = frames[::each] or synthetic(spec.stride), Deployed(net).eval()
    with torch.inference_mode():
        expected = [
            deployed(*map(torch.from_numpy, inputs_of(frame, net.takes_trimap))).numpy()
            for frame in held_out
        ]
    model = trace(net, spec, widen=spec.precision == "int8")
    taps = net.taps(model)
    peak, floats, tap = None, None, None
    # Where places are chosen, another order of sums chooses others of nearly equal values.
    traced = TOLERANCES["fp32"] if net.chooses else TRACE_TOLERANCE
    compare(model, held_out, expected, real=bool(frames)).check(tolerated(traced, net.chooses), out)
    if spec.precision == "fp16":
        early = before_first(model, taps)
        peak = check_range(model, observe(model, early, held_out))
        model, floats = half(model, early, held_out, expected, net.chooses)
    elif spec.precision == "int8":
        calibration = [frame for i, frame in enumerate(frames) if i % HELD_OUT_STEP]
        model, tap = quantise(model, taps, calibration, held_out, expected)
    else:
        model = _rounded(model, net, held_out, expected, out)
    parity = _write(model, spec, held_out, expected, bool(frames), net.chooses, out)
    return Exported(parity, peak, floats, tap)


def export_half(file: Path, out: Path, spec: ModelSpec, frames: Sequence[U8] = ()) -> Exported:
    """Write a float32 file of wsshm to `out` in float16, for which no checkpoint is needed.

    Args:
        spec: of `out`; its precision is fp16.
        frames: of `real_frames`. Without, the file's alpha is compared on synthetic ones.

    Raises:
        UsageError: the file's network is not known here.
        BadData: float16 cannot hold its values or moves alpha by more than `TOLERANCES`; nothing
            is written.
        CannotCreate, WriteFailed: of `replacing`; `out` is as it was.
    """
    net, model = build(spec.arch), onnx.load_from_string(read_graph(file))
    widen_kernels(model)
    model = onnx.shape_inference.infer_shapes(model)
    held_out, run = frames or synthetic(spec.stride), session(model)
    expected = [run.run(None, feeds(run, frame))[0] for frame in held_out]
    early = before_first(model, net.taps(model))
    peak = check_range(model, observe(model, early, held_out))
    model, floats = half(model, early, held_out, expected, net.chooses)
    parity = _write(model, spec, held_out, expected, bool(frames), net.chooses, out)
    return Exported(parity, peak, floats)


def _write(
    model: onnx.ModelProto,
    spec: ModelSpec,
    held_out: Sequence[U8],
    expected: Sequence[F32],
    real: bool,
    chooses: bool,
    out: Path,
) -> Parity:
    """Write a graph with its description, if it is within tolerance; return how far it is off."""
    onnx.helper.set_model_props(model, {KEY: spec.to_json()})
    model.doc_string = f"{spec.name}: human matting, wsshm"
    onnx.checker.check_model(model, full_check=True)
    parity = compare(model, held_out, expected, real)
    parity.check(tolerated(TOLERANCES[spec.precision], chooses), out)
    with replacing(out) as f:
        f.write(model.SerializeToString())
    return parity


def _rounded(
    model: onnx.ModelProto,
    net: Network,
    held_out: Sequence[U8],
    expected: Sequence[F32],
    out: Path,
) -> onnx.ModelProto:
    """Return the graph with its large kernels rounded, only its largest, or none, as alpha allows.

    As many of their last bits are zero as alpha allows, too.

    They move it too far in a network of few steps, whose edges are undecided.
    """
    for least, bits in product(MIN_ROUNDED_VALUES, CLEARED_BITS):
        rounded = copy.deepcopy(model)
        round_kernels(rounded, net.exact_weights, least)
        clear_bits(rounded, bits)
        try:
            compare(rounded, held_out, expected, real=False).check(
                tolerated(TOLERANCES["fp32"], net.chooses), out
            )
        except BadData:
            continue
        return rounded
    return model
