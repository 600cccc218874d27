"""The networks of other papers are as large as published, over-fit, and export at any size."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from engines.contract import ModelSpec
from engines.engine import open_engine
from tests.train.networks.costs import multiplications, parameters
from tests.train.overfit import overfits
from train.config import Config, Stage
from train.export.export import export
from train.export.graph import Deployed
from train.methods import METHODS
from train.methods.method import Batch
from train.networks import build
from train.networks.network import Network, Targets
from train.objective import step_losses

pytestmark = pytest.mark.timeout(600)

# Parameters, and multiply-adds in thousands of millions at 512×512, with all outputs of training.
COSTS = {
    "modnet": (6_487_075, 18.12),
    "indexnet": (5_953_227, 28.89),
    "shm": (3_115_603, 14.57),  # 147,712 less: a convolution that nothing reads
    "shm-psp": (72_269_700, 331.9),
    "gfm": (54_773_316, 53.99),  # 513,000 less: the classifier of the ResNet
    "lfm": (35_656_733, 95.87),
    "p3mnet": (38_965_060, 58.65),  # 513,000 less: the classifier of the ResNet
    "gca": (25_162_801, 47.36),
}
# By the recipe's losses of the final alpha alone, what chooses among mattes learns nothing.
CHOOSING = ("gfm", "p3mnet")
OVERFIT_STEPS = 400


@pytest.mark.parametrize("arch", COSTS)
def test_it_costs_what_is_published(arch: str) -> None:
    count, billions = COSTS[arch]
    with torch.device("meta"):
        assert parameters(build(arch)) == count
    assert multiplications(arch) / 1e9 == pytest.approx(billions, rel=0.01)


def batch(side: int) -> Batch:
    """Return two crops of a photograph with a soft-edged alpha each."""
    photo = cv2.resize(data.astronaut(), (2 * side, side), interpolation=cv2.INTER_AREA)
    label = np.zeros((side, 2 * side), np.float32)
    cv2.ellipse(label, (side // 2, side // 2), (side // 4, side // 3), 0, 0, 360, 1.0, -1)
    label[side // 3 :, side + side // 4 :] = 1
    label = cv2.GaussianBlur(label, (0, 0), side / 40)
    image = torch.from_numpy(photo).permute(2, 0, 1).float() / 255
    halves = [torch.stack(x.split(side, -1)) for x in (image, torch.from_numpy(label)[None])]
    return Batch(halves[0], halves[1], torch.tensor([True, True]))


@pytest.mark.long
@pytest.mark.parametrize(
    ("arch", "own"),
    [(arch, own) for arch in COSTS for own in (True, False) if own or arch not in CHOOSING],
)
def test_it_overfits_a_batch(arch: str, own: bool) -> None:
    torch.manual_seed(0)
    net, given = build(arch).train(), batch(64)
    loss = {"l1": 1.0, "gradient": 1.0, "laplacian": 1.0, "boundary": 0.01}
    config = Config("teacher", arch, (Stage(1, 2, (64,)),), loss, 1e-3, own_losses=own)

    def total() -> torch.Tensor:
        return step_losses(net, net, METHODS["supervised"], None, given, config)["total"]

    overfits(net, total, 2e-3, OVERFIT_STEPS)


@pytest.mark.parametrize(("arch", "name"), [("modnet", "detail"), ("gfm", "focus")])
def test_losses_inside_the_unknown_leave_masks_out(arch: str, name: str) -> None:
    torch.manual_seed(0)
    net, given = build(arch).eval(), batch(64)
    config = Config("pretrain", arch, (Stage(1, 2, (64,)),), {"l1": 1.0}, 1e-3)
    with torch.inference_mode():
        losses = [
            step_losses(
                net,
                net,
                METHODS["supervised"],
                None,
                given._replace(has_alpha=torch.tensor([known, known])),
                config,
            )
            for known in (True, False)
        ]
    assert losses[0][name] > 0
    assert losses[1][name] == 0
    assert losses[1]["total"] > 0


@pytest.mark.parametrize("arch", [arch for arch in COSTS if arch != "shm-psp"])  # as shm
def test_pixels_without_weight_teach_nothing(arch: str) -> None:
    """Labels are spoilt where there is no weight, but for the reach of a trimap's widening."""
    torch.manual_seed(0)
    net, given = build(arch).eval(), batch(64)
    frames, label = given.image, given.label
    weight = torch.ones_like(label)
    weight[..., 30:] = 0
    spoilt = torch.cat([label[..., :40], 1 - label[..., 40:]], -1)
    with torch.inference_mode():
        prediction = net(frames)

        def losses(label: torch.Tensor, weight: torch.Tensor | None) -> dict[str, torch.Tensor]:
            targets = Targets(label, torch.zeros_like(label), given.has_alpha, weight)
            return net.own_losses(frames, prediction, targets)

        plain = losses(label, None)
        torch.testing.assert_close(losses(label, torch.ones_like(label)), plain)
        assert all(value == 0 for value in losses(label, torch.zeros_like(label)).values())
        known = losses(label, weight)
        torch.testing.assert_close(losses(spoilt, weight), known, rtol=0, atol=0)
        for name, value in losses(spoilt, None).items():
            assert value != plain[name]


def settled(arch: str) -> Network:
    """Return a network whose batch norms have seen an image, so that alpha varies over it."""
    torch.manual_seed(0)
    net = build(arch).train()
    with torch.no_grad():
        for _ in range(3):
            net(batch(64).image)
    return net.eval()


@pytest.mark.long
@pytest.mark.parametrize("arch", COSTS)
def test_its_file_agrees_with_torch_at_any_size(arch: str, tmp_path: Path) -> None:
    net, path = settled(arch), tmp_path / "net.onnx"
    frames = [image(width, height) for width, height in ((64, 64), (160, 96))]
    export(net, path, ModelSpec("test", arch, net.stride, 64, (64,)), frames)
    engine = open_engine(path)
    for frame in (*frames, image(96, 224), image(320, 64)):
        with torch.inference_mode():
            expected = Deployed(net)(torch.from_numpy(frame)).numpy()
        found = engine(frame)
        assert found.min() >= 0
        assert found.max() <= 1
        assert np.percentile(np.abs(found - expected), 99) <= 1e-3


@pytest.mark.long
@pytest.mark.parametrize("arch", ["modnet", "shm", "lfm", "gca"])
def test_its_int8_file_is_within_tolerance(arch: str, tmp_path: Path) -> None:
    """Of those whose alpha varies before they are trained, and does not jump."""
    net, path, whole = settled(arch), tmp_path / "net.onnx", data.astronaut()
    corners = np.random.default_rng(0).integers(0, 320, (15, 2))
    frames = [np.ascontiguousarray(whole[None, y : y + 192, x : x + 192]) for y, x in corners]
    spec = ModelSpec("test", arch, net.stride, 192, (192,), precision="int8")
    parity = export(net, path, spec, frames).parity
    assert parity.max > 0  # something was rounded
    assert open_engine(path)(frames[0]).std() > 1e-3


def image(width: int, height: int) -> np.ndarray:
    """Return a photograph (1, H, W, 3) uint8 RGB."""
    return cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)[np.newaxis]
