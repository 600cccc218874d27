"""Means of weights: what they are, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from engines.errors import BadData
from train.checkpoint import checkpoint
from train.networks import build
from train.tools.average import average


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two sets of weights of one architecture."""
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = build("r18x0.25")
        net(torch.rand(2, 3, 32, 32))  # so that batch norm has seen something
        paths.append(tmp_path / f"{seed}.safetensors")
        checkpoint.save_weights(paths[-1], net.arch, net.state_dict(), {})
    return paths


def test_it_is_the_weighted_mean_of_every_tensor(files: list[Path]) -> None:
    arch, mean = average([(files[0], 3.0), (files[1], 1.0)])
    (_, a), (_, b) = (checkpoint.weights(f) for f in files)
    assert arch == "r18x0.25"
    assert list(mean) == list(a)
    for key, value in mean.items():
        assert value.dtype == a[key].dtype
        expected = 0.75 * a[key] + 0.25 * b[key] if value.is_floating_point() else a[key]
        torch.testing.assert_close(value, expected)


def test_other_networks_are_refused(files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other.safetensors"
    net = build("r18x0.5")
    checkpoint.save_weights(other, net.arch, net.state_dict(), {})
    with pytest.raises(BadData, match=r"other.safetensors: is another network \(r18x0.5\)"):
        average([(files[0], 1.0), (other, 1.0)])
