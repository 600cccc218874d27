from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.engine import open_engine
from tests.conftest import Wsshm, one_error_line
from train.checkpoint.checkpoint import save_weights
from train.networks import build

pytestmark = pytest.mark.timeout(150)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a finished run, ``tmp_path/mine``."""
    torch.manual_seed(0)
    folder = tmp_path / "mine"
    folder.mkdir()
    net = build("r18x0.25")
    save_weights(folder / "model.safetensors", net.arch, net.state_dict(), {})
    (folder / "config.toml").write_text(
        '[[stages]]\n"steps" = 1\n"batch" = 1\n"sizes" = [64, 96]\n', encoding="utf-8"
    )
    return folder


def test_a_runs_weights_become_a_model_file(wsshm: Wsshm, run: Path) -> None:
    """Without data too, and never in place of another file."""
    result = wsshm(
        "export", "mine/model.safetensors", "--metric", "iou=0.5", "--licence", "CC0", timeout=140
    )
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mine/model.onnx: fp32, ")
    assert lines[1].startswith("alpha differs from torch's by mean ")
    assert "synthetic frames only" in result.stderr
    spec = open_engine(run / "model.onnx").spec
    assert (spec.name, spec.arch, spec.precision) == ("mine", "r18x0.25", "fp32")
    assert (spec.size, spec.trained_sizes) == (96, (64, 96))
    assert (spec.metrics, spec.licence) == ({"iou": 0.5}, "CC0")
    before = (run / "model.onnx").read_bytes()
    again = wsshm("export", "mine/model.safetensors", timeout=140)
    assert again.returncode == 73
    one_error_line(again, "mine/model.onnx: exists already")
    assert (run / "model.onnx").read_bytes() == before


def test_a_model_file_becomes_one_for_gpus(wsshm: Wsshm, run: Path) -> None:
    """A file in fp32, in nothing else, and no checkpoint is needed; a shipped model likewise."""
    assert wsshm("export", "mine/model.safetensors", "--size", 64, timeout=140).returncode == 0
    (run / "model.safetensors").unlink()
    for args, needle in (
        (("mine/model.onnx",), "add --precision fp16 to convert a model file for GPUs"),
        (("default", "--precision", "int8"), "default: is no checkpoint"),
        (("fast-int8", "--precision", "fp16"), "fast-int8: is int8"),
        (("fast", "--precision", "fp16", "--size", 64), "--size is for a checkpoint"),
    ):
        result = wsshm("export", *args, timeout=140)
        assert result.returncode == 2, result.stderr
        one_error_line(result, needle)
    result = wsshm("export", "mine/model.onnx", "--precision", "fp16", timeout=140)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0].startswith("mine/model-fp16.onnx: fp16, ")
    assert lines[1].startswith("alpha differs from the file's by mean ")
    spec = open_engine(run / "model-fp16.onnx").spec
    assert (spec.name, spec.size, spec.precision) == ("mine", 64, "fp16")


def test_int8_is_calibrated_on_images(wsshm: Wsshm, run: Path, tmp_path: Path) -> None:
    from skimage import data, io

    (tmp_path / "images").mkdir()
    astronaut = data.astronaut()
    for i in range(12):
        io.imsave(tmp_path / f"images/{i}.png", astronaut[i * 20 : i * 20 + 200, :300])
    result = wsshm(
        "export",
        "mine/model.safetensors",
        "--precision",
        "int8",
        "--calibrate",
        "images",
        "--size",
        64,
        "--trained-size",
        128,
        "--name",
        "other",
        "--json",
        timeout=140,
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["file"] == "mine/model-int8.onnx"
    assert found["bytes"] == (run / "model-int8.onnx").stat().st_size
    assert found["parity"]["images"] == 3
    assert 0 < found["parity"]["mean"] <= 5e-3
    engine = open_engine(run / "model-int8.onnx")
    assert (engine.spec.name, engine.spec.precision) == ("other", "int8")
    assert (engine.spec.size, engine.spec.trained_sizes) == (64, (128,))
    assert engine(np.zeros((1, 64, 96, 3), np.uint8)).shape == (1, 64, 96)


@pytest.mark.parametrize(
    ("options", "code", "needle"),
    [
        (("--precision", "int8"), 2, "name a folder of them with --calibrate"),
        (("--calibrate", "nowhere"), 66, "nowhere: no such folder"),
        (("--metric", "good"), 2, "--metric good: write NAME=VALUE"),
        (("-o", "nowhere/x.onnx", "--to", "onnx"), 73, "nowhere/x.onnx: nowhere does not exist"),
    ],
)
def test_what_cannot_be_is_said_in_a_line(
    wsshm: Wsshm, run: Path, options: tuple[str, ...], code: int, needle: str
) -> None:
    result = wsshm("export", "mine/model.safetensors", *options, timeout=140)
    assert result.returncode == code, result.stderr
    one_error_line(result, needle)
    assert sorted(p.name for p in run.iterdir()) == ["config.toml", "model.safetensors"]


def test_a_file_that_is_no_checkpoint_is_refused(wsshm: Wsshm, tmp_path: Path) -> None:
    (tmp_path / "junk.pt").write_bytes(b"junk")
    result = wsshm("export", "junk.pt", timeout=140)
    assert result.returncode == 65
    one_error_line(result, "junk.pt: not a checkpoint of wsshm")
    assert [p.name for p in tmp_path.iterdir()] == ["junk.pt"]


@pytest.mark.parametrize(
    ("arguments", "code", "needle"),
    [
        (("default",), 69, "cuda: no NVIDIA driver on this machine; run: "),
        (("mine/model.safetensors",), 69, "cuda: no NVIDIA driver on this machine"),
        (("mine/model.safetensors", "--precision", "int8"), 2, "takes fp16 or fp32"),
        (("default", "-o", "x"), 2, "--output is for a checkpoint: default is a model file"),
        (("nothing",), 66, "nothing: no such file, and no shipped model"),
    ],
)
def test_a_plan_needs_a_gpu_and_nothing_of_a_checkpoints(
    wsshm: Wsshm, run: Path, arguments: tuple[str, ...], code: int, needle: str
) -> None:
    from engines.cuda import has_driver

    if code == 69 and has_driver():
        pytest.skip("this machine has a GPU")
    result = wsshm("export", *arguments, "--to", "tensorrt", timeout=140)
    assert result.returncode == code, result.stderr
    one_error_line(result, needle)
    assert sorted(p.name for p in run.iterdir()) == ["config.toml", "model.safetensors"]
