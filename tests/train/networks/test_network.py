"""A network that declares no more than it must trains, with losses of its own, and exports."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from skimage import data
from torch import Tensor, nn

from engines.contract import ModelSpec
from engines.engine import open_engine
from train.config import Config, Stage
from train.export.export import export
from train.methods import METHODS
from train.methods.method import Batch
from train.networks.blocks import conv_bn_relu
from train.networks.network import Network, Prediction, Targets
from train.networks.transition import Trimap
from train.objective import step_losses


class Glance(Network):
    """Says where background, edge and person are, and the alpha of the edge; no boundary."""

    def __init__(self) -> None:
        super().__init__("glance", 8)
        self.encoder = nn.Sequential(conv_bn_relu(3, 16), nn.AvgPool2d(2), conv_bn_relu(16, 16))
        self.regions, self.edge = nn.Conv2d(16, 3, 1), nn.Conv2d(16, 1, 1)
        nn.init.normal_(self.edge.weight, std=1.5)  # an alpha outside [0, 1]

    def forward(self, frames: Tensor) -> Prediction:
        x = F.interpolate(self.encoder(self.normalised(frames)), scale_factor=2.0)
        regions = self.regions(x)
        share = regions.softmax(1)
        alpha = share[:, 1:2] * self.edge(x) + share[:, 2:]
        return Prediction(alpha, sides={"regions": regions}, is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        assert prediction.sides is not None
        trimap = Trimap.of(targets)
        difference = (prediction.alpha - targets.label).abs()
        return {
            "regions": trimap.cross_entropy(prediction.sides["regions"]),
            "edge": trimap.mean_inside(difference),
            "composite": (difference * frames).mean(),
        }


@pytest.fixture
def net() -> Network:
    torch.manual_seed(0)
    return Glance().eval()


@pytest.mark.parametrize("own", [True, False])
def test_it_learns_by_its_own_losses_or_the_recipes(net: Network, own: bool) -> None:
    """Without a boundary to judge, the recipe's loss of it is left out."""
    weights = {"l1": 1.0, "bce": 0.5, "boundary": 0.1}
    config = Config("pretrain", "glance", (Stage(1, 2, (32,)),), weights, 1e-3, own_losses=own)
    batch = Batch(torch.rand(2, 3, 32, 32), torch.rand(2, 1, 32, 32), torch.tensor([True, False]))
    losses = step_losses(net, net, METHODS["supervised"], None, batch, config)
    terms = ["regions", "edge", "composite"] if own else ["l1", "bce"]
    assert list(losses) == [*terms, "total"]
    torch.testing.assert_close(losses["total"], sum(losses[name] for name in terms))
    losses["total"].backward()
    assert all(p.grad is not None for p in net.parameters())


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_exports_without_taps(net: Network, tmp_path: Path, precision: str) -> None:
    photo = cv2.resize(data.astronaut(), (64, 64), interpolation=cv2.INTER_AREA)
    frames = [np.roll(photo, 4 * i, 1)[np.newaxis].copy() for i in range(15)]
    exported = export(
        net, tmp_path / "net.onnx", ModelSpec("glance", "glance", 8, 64, (64,), precision), frames
    )
    assert exported.floats in (None, 0)
    assert not exported.tap
    alpha = open_engine(tmp_path / "net.onnx")(frames[0])
    assert (alpha.min(), alpha.max()) == (0, 1)  # its own alpha exceeds both
