"""A ResNet of a fraction of the width has features of the full-width one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from skimage import data
from torch import Tensor

from tests.train.networks.encoders.weights import LAYER4, folded, photographs, state_of
from train.networks import build
from train.networks.encoders.imagenet import start_encoder
from train.networks.encoders.narrow import narrow
from train.networks.network import Network


def crops(count: int, seed: int) -> Tensor:
    """(N, 3, 64, 64) of photographs, float in [0, 1]."""
    rng = np.random.default_rng(seed)
    photos, made = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()], []
    for i in range(count):
        photo = photos[i % len(photos)]
        y, x = (int(rng.integers(0, n - 64)) for n in photo.shape[:2])
        made.append(photo[y : y + 64, x : x + 64])
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


def features(net: Network, images: Tensor, tap: int) -> Tensor:
    """(C, values) of f1 … f5."""
    net.eval()
    with torch.inference_mode():
        taps = net.encoder((images - net.mean) / net.std)
    return taps[tap - 1].transpose(0, 1).flatten(1)


@pytest.mark.parametrize(("arch", "stages"), [("r18", 2), ("r50", 1)])
def test_nothing_is_lost_where_nothing_is_cut(arch: str, stages: int) -> None:
    """Fitted at its whole width, a network is the same function on other images too."""
    torch.manual_seed(0)
    whole, own = build(arch), build(arch)
    narrow(whole.encoder, own.encoder, whole.normalised(crops(32, seed=0)), stages)
    unseen = crops(8, seed=1)
    for tap in range(1, stages + 2):
        theirs, mine = features(whole, unseen, tap), features(own, unseen, tap)
        assert (mine - theirs).square().mean() < 0.01 * theirs.var()


def test_a_narrower_network_has_features_of_the_whole_one(tmp_path: Path) -> None:
    torch.manual_seed(0)
    whole, own = build("r18"), build("r18x0.5")
    torch.save(whole.encoder.state_dict(), tmp_path / "full.pth")
    line = start_encoder(own, str(tmp_path / "full.pth"), False, lambda: crops(48, seed=0))
    assert line == "encoder: from full.pth, narrowed"
    unseen = crops(8, seed=1)
    for tap in (1, 2, 3):
        theirs, mine = features(whole, unseen, tap), features(own, unseen, tap)
        for channel in mine:
            nearest = (theirs - channel).square().mean(1) / theirs.var(1)
            assert nearest.min() < 0.2, f"f{tap}"


def test_stages_without_weights_are_not_narrowed(tmp_path: Path) -> None:
    state, own = folded(build("r18")), build("r18x0.25")
    for name in LAYER4:
        del state[f"{name}.weight"]
    torch.save(state, tmp_path / "part.pth")
    before = state_of(own)
    line = start_encoder(own, str(tmp_path / "part.pth"), False, photographs)
    assert line == "encoder: from part.pth, narrowed, all but layer4"
    for name, value in own.encoder.state_dict().items():
        if name.endswith("weight"):
            assert torch.equal(value, before[name]) == name.startswith("layer4."), name
