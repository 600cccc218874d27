"""Every network of the table trains a step, exports, and agrees with its file."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from skimage import data

from engines.contract import ModelSpec
from engines.engine import open_engine
from train.config import Config, Stage
from train.export.export import export
from train.export.graph import Deployed, trace, upstream
from train.export.parity import TOLERANCES
from train.methods import METHODS
from train.methods.method import Batch
from train.networks import NETWORKS, build
from train.networks.network import Network
from train.objective import step_losses

pytestmark = pytest.mark.timeout(300)

SIDE = 64
# Those that take a second or two; whatever else is in the table runs with the long tests.
SMALL = ("r18x0.25", "r18x0.5", "mbv2", "lite0", "lite0-half", "modnet", "shm")


@pytest.fixture(
    params=[
        a if a in SMALL else pytest.param(a, marks=pytest.mark.long)
        for a, entry in NETWORKS.items()
        if not entry.takes_trimap
    ]
)
def net(request: pytest.FixtureRequest) -> Network:
    torch.manual_seed(0)
    return build(request.param)


def crops(net: Network) -> np.ndarray:
    """Return two crops of a photograph, (2, H, W, 3) uint8 RGB."""
    side = max(SIDE, 2 * net.stride)
    photo = cv2.resize(data.astronaut(), (2 * side, side), interpolation=cv2.INTER_AREA)
    return np.stack([photo[:, :side], photo[:, side:]])


def batch(net: Network) -> Batch:
    """Return a batch of a coarse mask and an alpha."""
    image = torch.from_numpy(crops(net)).permute(0, 3, 1, 2).float() / 255
    label = torch.zeros(2, 1, *image.shape[2:])
    label[:, :, 16:, 8:40] = 1
    label[1, :, 16:20] = 0.5
    return Batch(image, label, torch.tensor([False, True]))


def test_it_trains_a_step_and_exports(net: Network, tmp_path: Path) -> None:
    """A step lowers the loss; every parameter learns, at the rate of one group or the other."""
    loss = {"l1": 1.0, "bce": 0.5, "gradient": 1.0, "laplacian": 1.0}
    given = batch(net)
    if net(given.image).boundary is not None:
        loss["boundary"] = 0.1
    side = given.image.shape[2]
    config = Config("pretrain", net.arch, (Stage(1, 2, (side,)),), loss, 1e-3)

    def total() -> torch.Tensor:
        return step_losses(net, net, METHODS["supervised"], None, given, config)["total"]

    net.train()
    encoder = {id(p) for p in net.encoder_parameters()}
    assert encoder < {id(p) for p in net.parameters()}
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    before = total()
    before.backward()
    assert [n for n, p in net.named_parameters() if p.grad is None] == []
    torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
    optimiser.step()
    assert before.isfinite()
    assert total() < before

    net.eval()
    frames, path = crops(net), tmp_path / "net.onnx"
    export(net, path, ModelSpec("test", net.arch, net.stride, side, (side,)), [frames])
    with torch.inference_mode():
        expected = Deployed(net)(torch.from_numpy(frames)).numpy()
    difference = np.abs(open_engine(path)(frames) - expected)
    assert difference.max() <= TOLERANCES["fp32"]["max"]
    assert np.percentile(difference, 99) <= TOLERANCES["fp32"]["p99"]


def test_it_is_what_it_declares(net: Network) -> None:
    given = batch(net).image
    net.eval()
    with torch.inference_mode():
        prediction = net(given)
        deployed = net.deployed()(given)
    assert net.arch in NETWORKS
    assert prediction.matte.shape == (2, 1, *given.shape[2:])
    features = 0 if prediction.features is None else prediction.features.shape[1]
    assert features == net.feature_channels
    names = [name for name, _ in net.named_parameters()]
    assert all(any(n.startswith(f"{e}.") for n in names) for e in net.exact_weights)
    torch.testing.assert_close(deployed.matte, prediction.matte, rtol=1e-4, atol=1e-4)
    assert not net.deployed().training


def test_its_taps_are_tensors_of_its_graph_from_shallow_to_deep(net: Network) -> None:
    net.eval()
    side = max(SIDE, 2 * net.stride)
    model = trace(net, ModelSpec("test", net.arch, net.stride, side, (side,)))
    before = [upstream(model, tensor) for tensor in net.taps(model).values()]
    assert all(before)
    assert all(a < b for a, b in pairwise(before))
