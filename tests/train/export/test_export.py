from __future__ import annotations

import copy
from pathlib import Path

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from skimage import data

from engines.contract import ModelSpec
from engines.engine import open_engine
from engines.errors import BadData, CannotOpen, UsageError
from train.export import export, parity, quantise
from train.export.graph import Activation, Deployed, before_first, observe, trace, upstream
from train.networks import build
from train.networks.network import Network

pytestmark = pytest.mark.timeout(150)

FLOAT, FLOAT16 = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
INT8, UINT8 = onnx.TensorProto.INT8, onnx.TensorProto.UINT8


def made(arch: str) -> Network:
    torch.manual_seed(0)
    return build(arch).eval()


def spec(net: Network, precision: str = "fp32") -> ModelSpec:
    return ModelSpec("test", net.arch, net.stride, 64, (64,), precision)


def before_f1(net: Network) -> set[str]:
    """Return the names of the nodes that f1 is computed by."""
    model = trace(net, spec(net))
    return upstream(model, net.taps(model)["f1"])


@pytest.fixture
def net() -> Network:
    return made("r18x0.25")


@pytest.fixture(scope="module")
def frames() -> list[np.ndarray]:
    """Fifteen parts of real photographs, 64×96."""
    images = [data.astronaut(), data.coffee(), data.chelsea()]
    small = [cv2.resize(p, (240, 160), interpolation=cv2.INTER_AREA) for p in images]
    corners = [(0, 0), (0, 140), (90, 0), (90, 140), (40, 70)]
    return [p[np.newaxis, y : y + 64, x : x + 96].copy() for y, x in corners for p in small]


@pytest.fixture(scope="module")
def normed(frames: list[np.ndarray]) -> Network:
    """A network of depthwise convolutions whose activations are as large as a trained one's.

    It is not one: what a random network makes of rounding grows from layer to layer.
    """
    net = made("lite0").train()
    images = torch.from_numpy(np.concatenate(frames)).permute(0, 3, 1, 2) / 255
    for m in net.modules():
        if isinstance(m, torch.nn.BatchNorm2d):
            m.momentum = None  # statistics are those of the frames
    with torch.no_grad():
        net(images)
        logits = net.eval()(images).matte
        net.matte.weight *= 0.1 / logits.std()
        net.matte.bias.zero_()
    return net


@pytest.fixture(scope="module")
def halved(
    normed: Network, frames: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, export.Exported]:
    """`normed` in float16."""
    path = tmp_path_factory.mktemp("halved") / "net.onnx"
    return path, export.export(normed, path, spec(normed, "fp16"), frames)


@pytest.mark.parametrize("arch", ["r18x0.25", "mbv2", "lite0", "lite0-half"])
@pytest.mark.parametrize("widen", [False, True])
def test_graph_is_the_network(arch: str, widen: bool) -> None:
    """Deployed parts have other shapes than trained ones, and the same values up to the borders."""
    net = made(arch)
    model, frames = trace(net, spec(net), widen), parity.synthetic(net.stride)
    with torch.inference_mode():
        expected = [Deployed(net)(torch.from_numpy(f)).numpy() for f in frames]
    assert max(alpha.std() for alpha in expected) > 1e-3
    assert parity.compare(model, frames, expected, real=False).max < 1e-6


def test_what_sees_the_image_itself_is_before_f1() -> None:
    """So it stays in float, as the image is: of 3 channels, int8 kernels take longer."""
    assert any(name.startswith("/net/detail/") for name in before_f1(made("lite0-half")))


def test_graph_has_constant_scales_and_no_boundary(net: Network) -> None:
    graph = trace(net, spec(net)).graph
    assert [o.name for o in graph.output] == ["alpha"]
    weights = {tensor.name for tensor in graph.initializer}
    resizes = [n for n in graph.node if n.op_type == "Resize"]
    assert resizes
    assert all(n.input[2] in weights for n in resizes)
    assert not {n.op_type for n in graph.node} & {"Shape", "If", "Loop", "NonZero", "Pad"}


def test_exported_file_gives_the_networks_alpha(net: Network, tmp_path: Path) -> None:
    """Run the file in the shipped engine, at sizes other than the exporter's."""
    path = tmp_path / "net.onnx"
    exported = export.export(net, path, spec(net))
    assert exported.parity.images == 0
    engine = open_engine(path)
    assert engine.spec == spec(net)
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 112, 3), np.uint8)
    with torch.inference_mode():
        expected = Deployed(net)(torch.from_numpy(frames)).numpy()
    assert np.abs(engine(frames) - expected).max() <= 1e-3
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("most", "are_rounded"), [(1e-3, True), (1e-6, False)])
def test_weights_are_rounded_where_alpha_stands_it(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: float, are_rounded: bool
) -> None:
    monkeypatch.setitem(parity.TOLERANCES["fp32"], "p99", most)
    frame = torch.from_numpy(parity.synthetic(net.stride)[1]).permute(0, 3, 1, 2) / 255
    with torch.no_grad():  # logits as large as a trained network's
        net.matte.weight *= 10 / net(frame).matte.std()
        net.matte.bias -= net(frame).matte.mean()
    path = tmp_path / "net.onnx"
    parity_of_all = export.export(net, path, spec(net)).parity
    assert parity_of_all.p99 <= most
    stored = [w.data_type for w in onnx.load(path).graph.initializer]
    assert (FLOAT16 in stored) == are_rounded
    cleared, p99 = [], parity_of_all.p99
    while are_rounded:  # a little less is allowed each time
        cleared.append(_cleared_bits(path))
        monkeypatch.setitem(parity.TOLERANCES["fp32"], "p99", 0.99 * p99)
        p99 = export.export(net, path, spec(net)).parity.p99
        fewer = [w.data_type for w in onnx.load(path).graph.initializer]
        if fewer.count(FLOAT16) < stored.count(FLOAT16):  # the smaller kernels stay as they are
            assert fewer.count(FLOAT16) > 0
            break
    assert cleared == sorted(cleared, reverse=True)
    assert {*cleared} == ({2, 1, 0} if are_rounded else set())


def _cleared_bits(path: Path) -> int:
    """Return how many of the last bits are zero in all kernels of float16."""
    stored = onnx.load(path).graph.initializer
    kernels = [onnx.numpy_helper.to_array(w) for w in stored if w.data_type == FLOAT16]
    used = int(np.bitwise_or.reduce(np.concatenate([k.view(np.uint16).ravel() for k in kernels])))
    return (used & -used).bit_length() - 1


def test_a_file_in_float32_becomes_one_in_float16(
    normed: Network, frames: list[np.ndarray], tmp_path: Path
) -> None:
    """Without its checkpoint, at another size and under another name; the file's alpha counts."""
    file, out = tmp_path / "net.onnx", tmp_path / "half.onnx"
    export.export(normed, file, spec(normed), frames)
    assert FLOAT16 in [w.data_type for w in onnx.load(file).graph.initializer]
    other = ModelSpec("other", normed.arch, normed.stride, 96, (64,), "fp16")
    exported = export.export_half(file, out, other, frames)
    assert exported.parity.images == len(frames)
    assert exported.parity.max <= parity.TOLERANCES["fp16"]["max"]
    engine = open_engine(out)
    assert engine.spec == other
    found = np.abs(engine(frames[0]) - open_engine(file)(frames[0])).max()
    assert 0 < found <= exported.parity.max
    kinds = [w.data_type for w in onnx.load(out).graph.initializer]
    assert kinds.count(FLOAT16) > kinds.count(FLOAT) > 0  # the part before the first tap


@pytest.mark.parametrize("limits", ["TRACE_TOLERANCE", "fp32"])
def test_nothing_is_written_when_parity_fails(
    net: Network, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: str
) -> None:
    allowed = parity.TRACE_TOLERANCE if limits == "TRACE_TOLERANCE" else parity.TOLERANCES[limits]
    monkeypatch.setitem(allowed, "max", -1.0)
    path = tmp_path / "net.onnx"
    path.write_bytes(b"an earlier one")
    with pytest.raises(BadData, match=r"net\.onnx: alpha differs from torch by"):
        export.export(net, path, spec(net))
    assert path.read_bytes() == b"an earlier one"
    assert list(tmp_path.iterdir()) == [path]


def test_fp16_takes_bytes_and_gives_float32(
    normed: Network, frames: list[np.ndarray], halved: tuple[Path, export.Exported]
) -> None:
    path, exported = halved
    assert exported.parity.images == len(frames)
    assert exported.parity.max < 5e-3
    assert exported.peak is not None
    assert 1 < exported.peak < 1000
    graph = onnx.load(path).graph
    assert graph.input[0].type.tensor_type.elem_type == UINT8
    assert graph.output[0].type.tensor_type.elem_type == FLOAT
    first = next(n for n in graph.node if "frames" in n.input)
    assert first.op_type == "Cast"  # TensorRT does nothing else to bytes
    early = before_f1(normed)
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv":
            assert kinds[node.input[1]] == (FLOAT if node.name in early else FLOAT16), node.name
    assert open_engine(path)(frames[0]).dtype == np.float32


def test_fp16_keeps_in_float32_what_rounding_would_move(
    normed: Network,
    frames: list[np.ndarray],
    halved: tuple[Path, export.Exported],
    tmp_path: Path,
) -> None:
    """Of a network with steep edges, only as much as is needed stays in float32."""
    steep, path = copy.deepcopy(normed), tmp_path / "net.onnx"
    with torch.no_grad():
        steep.matte.weight *= 40
    (_, plain), exported = halved, export.export(steep, path, spec(steep, "fp16"), frames)
    assert exported.parity.max <= 5e-3
    graph = onnx.load(path).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    halves = [kinds[n.input[1]] == FLOAT16 for n in graph.node if n.op_type == "Conv"]
    assert plain.floats is not None
    assert exported.floats == halves.count(False) > plain.floats
    assert halves.count(True) > len(halves) / 4


def test_fp16_refuses_what_it_cannot_hold(
    net: Network, frames: list[np.ndarray], tmp_path: Path
) -> None:
    """ONNX Runtime would not notice: on a processor it computes in float32."""
    with torch.no_grad():  # a much louder d2, to which d1 listens less: the same alpha
        net.d2[1].weight *= 1e6
        net.d2[1].bias *= 1e6
        net.d1[0].weight[:, : net.d2[0].out_channels] /= 1e6
    with pytest.raises(BadData, match=r"/net/d2/.* reaches .*e\+0., too much for fp16"):
        export.export(net, tmp_path / "net.onnx", spec(net, "fp16"), frames[:2])
    assert list(tmp_path.iterdir()) == []
    export.export(net, tmp_path / "net.onnx", spec(net), frames[:2])


def test_int8_is_what_the_processor_computes(
    normed: Network, frames: list[np.ndarray], tmp_path: Path
) -> None:
    """ONNX Runtime fuses every quantised pattern into one of its int8 kernels."""
    path, fused = tmp_path / "net.onnx", tmp_path / "fused.onnx"
    exported = export.export(normed, path, spec(normed, "int8"), frames)
    assert exported.tap == "f1"
    alphas = [open_engine(path)(frame) for frame in frames]
    assert np.std(alphas) > 0.01
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(fused)
    options.log_severity_level = 3
    ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    early = before_f1(normed)
    convolutions = [n for n in trace(normed, spec(normed)).graph.node if n.op_type == "Conv"]
    kernels = [n.op_type for n in onnx.load(fused).graph.node]
    assert kernels.count("QLinearConv") == sum(n.name not in early for n in convolutions) > 50
    assert kernels.count("QLinearConcat") == 6
    assert kernels.count("QLinearAdd") == 10


def test_int8_decoder_has_whole_blocks_of_channels() -> None:
    net = made("lite0")
    graph = trace(net, spec(net), widen=True).graph
    weights = {tensor.name: tensor for tensor in graph.initializer}
    decoder = [n for n in graph.node if n.op_type == "Conv" and n.name.startswith("/net/d")]
    assert [weights[n.input[1]].dims[0] for n in decoder] == [96, 64, 32, 16, 16]


@pytest.mark.long
def test_int8_leaves_more_in_float_when_the_loss_asks(
    normed: Network, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = trace(normed, spec(normed), widen=True)
    with torch.inference_mode():
        expected = [Deployed(normed)(torch.from_numpy(f)).numpy() for f in frames[:3]]

    def quantised() -> tuple[float, int, str]:
        taps = normed.taps(model)
        result, tap = quantise.quantise(model, taps, frames[3:], frames[:3], expected)
        loss = parity.compare(result, frames[:3], expected, real=True).mean
        return loss, sum(t.data_type == INT8 for t in result.graph.initializer), tap

    loss, count, tap = quantised()
    assert tap == "f1"
    assert loss <= quantise.TARGET_MEAN_DIFFERENCE
    monkeypatch.setattr(quantise, "TARGET_MEAN_DIFFERENCE", 0.0)
    lower, fewer, last = quantised()
    assert last == "f4"
    assert lower < loss
    assert fewer < count


def test_int8_spends_no_levels_on_sure_logits() -> None:
    net = made("r18x0.25")
    model = trace(net, spec(net), widen=True)
    (logits,) = (n.input[0] for n in model.graph.node if n.op_type == "DepthToSpace")
    seen = {logits: Activation(((-30, 5), (-6, 4)), 30, np.zeros(16, np.float32))}
    assert quantise._ranges(model, seen, 0)[logits].range_value == (-8, 5)
    assert quantise._ranges(model, seen, 1)[logits].range_value == (-6, 4)


def test_int8_takes_the_ranges_that_lose_least(
    normed: Network, frames: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A range without half of the values loses more, and is not taken."""
    monkeypatch.setattr("train.export.graph.TAILS_PERCENT", (25.0, 0.01))
    monkeypatch.setattr(quantise, "TAILS_PERCENT", (25.0, 0.01))
    model = trace(normed, spec(normed), widen=True)
    with torch.inference_mode():
        expected = [Deployed(normed)(torch.from_numpy(f)).numpy() for f in frames[:2]]
    taps = normed.taps(model)
    result, _ = quantise.quantise(model, taps, frames[2:12], frames[:2], expected)
    early = before_first(model, taps)
    seen = observe(model, early, frames[2:12])
    losses = [
        parity.differences(quantise._quantised(model, seen, tail, early), frames[:2], expected)
        for tail in range(2)
    ]
    found = parity.differences(result, frames[:2], expected)
    assert found.mean() == losses[1].mean() < losses[0].mean()


def test_int8_products_fit_in_16_bits(
    normed: Network, frames: list[np.ndarray], tmp_path: Path
) -> None:
    """CPUs without VNNI add two products of a pixel in 16 bits, and clip what does not fit in."""
    path = tmp_path / "net.onnx"
    export.export(normed, path, spec(normed, "int8"), frames)
    largest = []
    for tensor in onnx.load(path).graph.initializer:
        kernel = onnx.numpy_helper.to_array(tensor).astype(int)
        if tensor.data_type == INT8 and kernel.ndim == 4 and kernel.shape[1] > 1:
            rows = kernel.transpose(0, 2, 3, 1).reshape(len(kernel), -1)
            pairs = np.pad(rows, ((0, 0), (0, rows.shape[1] % 2))).reshape(-1, 2)
            sums = pairs.clip(0).sum(1), -pairs.clip(None, 0).sum(1)
            largest.append(255 * np.max(sums))
    assert len(largest) > 30
    assert max(largest) < 2**15
    assert min(largest) > 0.95 * 2**15  # and no level is given away


def test_int8_needs_images(net: Network, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="int8 needs 10 images to calibrate on, there are 0"):
        export.export(net, tmp_path / "net.onnx", spec(net, "int8"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("groups", [1, 4])
def test_biases_take_back_what_rounding_kernels_adds(groups: int) -> None:
    """On the mean input, a rounded kernel and the corrected bias give what the kernel gave."""
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(8, 8 // groups, 3, 3)).astype(np.float32)
    bias, mean = rng.normal(size=8).astype(np.float32), rng.uniform(0, 6, 8).astype(np.float32)
    node = onnx.helper.make_node("Conv", ["x", "kernel", "bias"], ["y"], "conv", group=groups)
    weights = {"kernel": kernel, "bias": bias}
    tensors = [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = onnx.helper.make_graph([node], "", [], [], tensors)
    scales = quantise._scales(graph, ["conv"])
    quantise._correct_biases(graph, {"x": Activation(((0, 6),), 6, mean)}, scales, ["conv"])
    corrected = onnx.numpy_helper.to_array(graph.initializer[1])
    scale = scales["kernel"].reshape(-1, 1, 1, 1)
    rounded = np.rint(kernel / scale) * scale

    def output(kernel: np.ndarray, bias: np.ndarray) -> np.ndarray:
        x = torch.from_numpy(mean).view(1, 8, 1, 1).expand(1, 8, 3, 3)
        given = torch.tensor(kernel), torch.tensor(bias)
        return torch.nn.functional.conv2d(x, *given, groups=groups).flatten().numpy()

    before = output(kernel, bias)
    assert np.abs(output(rounded, bias) - before).max() > 0.01
    np.testing.assert_allclose(output(rounded, corrected), before, atol=1e-4)


def test_observed_ranges_hold_nearly_all_values(frames: list[np.ndarray]) -> None:
    net = made("lite0")
    model = trace(net, spec(net))
    early = before_f1(net)
    seen = observe(model, early, frames)
    image = next(n.output[0] for n in reversed(model.graph.node) if n.name == "/net/Div")
    pixels = np.concatenate(frames) / 255
    normal = (pixels - net.mean.numpy().reshape(3)) / net.std.numpy().reshape(3)
    assert seen[image].peak == pytest.approx(np.abs(normal).max(), abs=1e-5)
    np.testing.assert_allclose(seen[image].mean, normal.mean((0, 1, 2)), atol=1e-5)
    widest, *others = seen[image].ranges
    assert normal.min() - 1e-5 <= widest[0] < widest[1] <= normal.max() + 1e-5
    for low, high in (widest, *others):
        assert np.mean((normal < low - 1e-5) | (normal > high + 1e-5)) < 1e-3
        assert widest[0] <= low < high <= widest[1]
    late = {n.input[0] for n in model.graph.node if n.op_type == "Conv" and n.name not in early}
    assert late <= set(seen)


def test_images_are_those_to_train_on(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = export.real_frames(dataset, 64, 32)
    assert len(found) == 5  # three photographs, two backgrounds; cut-outs are no photographs
    assert {f.shape for f in found} == {(1, 64, 64, 3), (1, 64, 96, 3)}  # 85 padded to 96
    monkeypatch.setattr(export, "MAX_IMAGES", 3)
    assert [f.shape[2] for f in export.real_frames(dataset, 64, 32)] == [64, 96, 64]


def test_images_held_out_are_not_looked_at(dataset: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for folder in dataset.iterdir():
        (data / folder.name).symlink_to(folder)
    (data / "val.txt").write_text("seg/a/images/1.jpg\nseg/a/images/2.jpg\nbackground/stars.jpg")
    assert len(export.real_frames(data, 64, 32)) == 2


def test_a_folder_of_images_will_do(dataset: Path, tmp_path: Path) -> None:
    assert len(export.real_frames(dataset / "seg/a/images", 64, 32)) == 3
    with pytest.raises(BadData, match="no images in it"):
        export.real_frames(tmp_path, 64, 32)
    with pytest.raises(CannotOpen, match="no such folder"):
        export.real_frames(tmp_path / "none", 64, 32)


def test_trained_sizes_are_those_of_the_run(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    assert export.trained_sizes(path) == ()
    (tmp_path / "config.toml").write_text(
        "[[stages]]\nsteps = 1\nbatch = 1\nsizes = [320, 256]\n"
        "[[stages]]\nsteps = 1\nbatch = 1\nsizes = [320, 384]\n"
    )
    assert export.trained_sizes(path) == (256, 320, 384)
    (tmp_path / "config.toml").write_text("stages = 3")
    assert export.trained_sizes(path) == ()


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"arch": "r18x0.25", "ema": {}}, tmp_path / "empty.pt")
    with pytest.raises(BadData, match=r"empty\.pt: not a checkpoint of wsshm"):
        export.load_net(tmp_path / "empty.pt")
