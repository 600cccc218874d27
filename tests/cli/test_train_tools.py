"""`wsshm train average` and `pseudo`."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest
import torch
from skimage import data

from tests.conftest import Wsshm, one_error_line
from train.checkpoint import checkpoint
from train.networks import build
from train.tools.average import average

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two sets of weights of one architecture."""
    paths = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        net = build("r18x0.25")
        paths.append(tmp_path / f"{seed}.safetensors")
        checkpoint.save_weights(paths[-1], net.arch, net.state_dict(), {})
    return paths


def test_the_mean_can_be_loaded(wsshm: Wsshm, files: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "mean.safetensors"
    result = wsshm("train", "average", out, f"{files[0]}=0.5", files[1], timeout=140)
    assert result.returncode == 0, result.stderr
    assert "0.safetensors 0.5" in result.stdout
    arch, state = checkpoint.weights(out)
    checkpoint.match(build(arch), state, out)
    torch.testing.assert_close(state, average([(files[0], 1.0), (files[1], 2.0)])[1])


def test_a_weight_of_nothing_is_refused(wsshm: Wsshm, files: list[Path], tmp_path: Path) -> None:
    result = wsshm("train", "average", tmp_path / "mean", f"{files[0]}=0")
    assert result.returncode == 2
    one_error_line(result, "weight over 0")
    assert result.stderr.count("\n") == 1


def test_masks_are_made_for_boxes(wsshm: Wsshm, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    cv2.imwrite(str(tmp_path / "images/a.png"), data.astronaut()[..., ::-1])
    (tmp_path / "boxes.csv").write_text("name,cx,cy,w,h\na,0.5,0.5,1,1\n")
    result = wsshm("train", "pseudo", "fast", "images", "boxes.csv", "seg/new", timeout=140)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("seg/new: 1 of 1 images")
    assert (tmp_path / "seg/new/masks/a.png").is_file()
    refused = wsshm("train", "pseudo", "fast", ".", "boxes.csv", "seg/new", timeout=140)
    assert refused.returncode == 65
    one_error_line(refused, "no image that")
    assert refused.stderr.count("\n") == 1
