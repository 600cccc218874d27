"""Deep Image Matting's network is the papers' own, learns, and exports with its trimap."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import vgg16, vgg16_bn

from engines.contract import ModelSpec
from engines.datasets.trimap import make_trimap
from engines.errors import UsageError
from engines.measure.estimators.with_trimap import TrimapModel
from engines.onnx_engine import open_session
from tests.train.networks.costs import parameters
from tests.train.networks.encoders.weights import not_asked_for
from tests.train.overfit import overfits
from train import config as configs
from train.chain import chain
from train.config import Config
from train.export.export import export
from train.export.graph import Deployed
from train.methods import METHODS
from train.methods.method import Batch
from train.networks import build
from train.networks.dim import DIM
from train.networks.encoders.imagenet import start_encoder
from train.networks.network import Network
from train.objective import step_losses
from train.run import Run

pytestmark = pytest.mark.timeout(600)

OVERFIT_STEPS = 500


def scene(side: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return a photograph (side, side, 3), a soft-edged alpha and its trimap, uint8."""
    photo = cv2.resize(data.astronaut(), (side, side), interpolation=cv2.INTER_AREA)
    alpha = np.zeros((side, side), np.uint8)
    cv2.ellipse(alpha, (side // 2, side // 2), (side // 4, side // 3), 0, 0, 360, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), side / 25)
    return photo, alpha, make_trimap(alpha, 1)


def batch(side: int, spoilt: bool = False) -> Batch:
    """Return two crops, one mirrored; their alpha is inverted where it is known if `spoilt`."""
    photo, alpha, trimap = scene(side)
    if spoilt:
        alpha = np.where(trimap == 128, alpha, 255 - alpha)
    image, label, told = (
        torch.from_numpy(np.stack([x, x[:, ::-1]])).float() / 255 for x in (photo, alpha, trimap)
    )
    return Batch(
        image.permute(0, 3, 1, 2),
        label[:, None],
        torch.tensor([True, True]),
        trimap=told[:, None],
    )


@cache
def recipe(method: str = "supervised") -> Config:
    return configs.load("paper", "dim", method=method)


def loss(net: Network, given: Batch, method: str = "supervised") -> Tensor:
    return step_losses(net, net, METHODS[method], None, given, recipe(method))["total"]


@pytest.mark.parametrize(("side", "billions"), [(320, 60.4), (512, 154.7)])
def test_it_costs_what_the_papers_network_costs(side: int, billions: float) -> None:
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        net = build("dim").eval()
        net(torch.empty(1, 4, side, side))
    assert parameters(net) == 25_936_880
    assert counted.get_total_flops() / 2e9 == pytest.approx(billions, rel=0.01)


def by_torch(net: DIM, frames: Tensor) -> Tensor:
    """Return alpha by torch's own pooling with indices and un-pooling, layer by layer."""
    rgb = (frames[:, :3] - net.mean) / net.std
    x, places = net.mix(torch.cat([rgb, frames[:, 3:]], 1)), []
    for layer in net.encoder.features:
        if isinstance(layer, nn.MaxPool2d):
            x, where = F.max_pool2d(x, 2, return_indices=True)
            places.append(where)
        else:
            x = layer(x)
    for conv in net.bridge:
        x = conv(x)
    for conv in net.decoder:
        x = conv(F.max_unpool2d(x, places.pop(), 2))
    return torch.sigmoid(net.alpha(x))


def test_it_is_the_network_that_torchs_own_operators_make() -> None:
    torch.manual_seed(0)
    net, frames = build("dim-bn").train(), batch(32).seen[0]  # norms by the batch: alpha varies
    assert isinstance(net, DIM)
    assert net.stride == 16
    with torch.inference_mode():
        found = net(frames).alpha
        torch.testing.assert_close(found, by_torch(net, frames))
        assert found.std() > 0.01
        small = net(frames[..., :28, :28]).alpha
        padded = F.pad(frames[..., :28, :28], (0, 4, 0, 4), mode="replicate")
        torch.testing.assert_close(small, by_torch(net, padded)[..., :28, :28])


@pytest.mark.parametrize(("arch", "published"), [("dim", vgg16), ("dim-bn", vgg16_bn)])
def test_torchvisions_file_fills_its_encoder(
    arch: str, published: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nn.Linear, "reset_parameters", lambda self: None)  # of 120 million
    theirs = published(weights=None, init_weights=False).features.state_dict()
    torch.save({f"features.{k}": v for k, v in theirs.items()}, tmp_path / "vgg.pth")
    net = build(arch)
    line = start_encoder(net, str(tmp_path / "vgg.pth"), False, not_asked_for)
    assert line == "encoder: from vgg.pth"
    own = net.encoder.features.state_dict()
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) for name in own)


def test_the_unknown_alone_is_judged_where_the_method_says_so() -> None:
    torch.manual_seed(0)
    net = build("dim").eval()
    nn.init.constant_(net.alpha.bias, 2.0)  # or alpha is 0.5, as far from 0 as from 1
    with torch.inference_mode():
        whole, spoilt = loss(net, batch(32)), loss(net, batch(32, spoilt=True))
        assert abs(whole - spoilt) > 0.01
        unknown = [loss(net, batch(32, spoilt=s), "unknown") for s in (False, True)]
        given = batch(32)
        where = (given.trimap == 128 / 255)[:, 0]
        error = (net(*given.seen).alpha - given.label).abs()[:, 0]
        expected = torch.stack([e[w].mean() for e, w in zip(error, where, strict=True)]).mean()
    assert unknown[0] == unknown[1] == pytest.approx(expected.item(), rel=1e-4)
    with pytest.raises(UsageError, match="takes a trimap"):
        METHODS["unknown"].targets(given._replace(trimap=None), None, recipe("unknown"))


@pytest.mark.parametrize(
    ("kind", "arch", "needle"),
    [("pretrain", "dim", "takes a trimap"), ("dim", "mbv2", "takes no trimap")],
)
def test_step_and_network_have_to_fit(
    kind: str, arch: str, needle: str, dataset: Path, tmp_path: Path
) -> None:
    run = Run(configs.load("paper", kind, arch=arch), dataset, tmp_path / "run")
    with pytest.raises(UsageError, match=f"--arch {arch}: {needle}"):
        chain(run, "paper", tmp_path, "cpu", print)
    assert not run.out.exists()


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "method", "side"), [("dim", "supervised", 16), ("dim-bn", "unknown", 32)]
)
def test_it_overfits_a_batch(arch: str, method: str, side: int) -> None:
    torch.manual_seed(0)
    net, given = build(arch).train(), batch(side)

    def total() -> Tensor:
        return loss(net, given, method)

    overfits(net, total, 1e-4, OVERFIT_STEPS)


@pytest.mark.long
@pytest.mark.parametrize("arch", ["dim", "dim-bn"])
def test_its_file_agrees_with_torch_at_any_size(arch: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, path = build(arch).train(), tmp_path / "net.onnx"
    with torch.no_grad():
        for _ in range(3):  # batch norms see an image
            net(*batch(64).seen)
    net.eval()
    export(net, path, ModelSpec("test", arch, net.stride, 64, (64,)))
    assert not {"MaxUnpool", "NonZero", "If", "Loop"} & {
        n.op_type for n in onnx.load(path).graph.node
    }
    session = open_session(path)
    for side, width in ((64, 64), (96, 160)):
        photo, alpha, trimap = (x[:, :width] for x in scene(max(side, width)))
        inputs = [np.ascontiguousarray(x[:side])[np.newaxis] for x in (photo, trimap)]
        with torch.inference_mode():
            expected = Deployed(net)(*map(torch.from_numpy, inputs)).numpy()
        (found,) = session.run(None, dict(zip(("frames", "trimap"), inputs, strict=True)))
        assert np.percentile(np.abs(found - expected), 99) <= 1e-3
        told = inputs[1]
        assert (found[told == 0] == 0).all()
        assert (found[told == 255] == 1).all()
        assert found[told == 128].std() > 1e-4
        seen = TrimapModel(session, path, "it", side).with_truth(photo[:side], alpha[:side])
        assert seen.shape == (side, width)
