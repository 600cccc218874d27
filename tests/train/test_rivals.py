"""The rivals of the method, as commands: what they refuse, and what they leave."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from tests.conftest import Wsshm, one_error_line
from tests.media import probe, write_clip
from tests.train.processes import Chain, Training, recipe, rows, run
from train.checkpoint import checkpoint
from wsshm_cli.app import app

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine

Refused = Callable[..., "tuple[int, str]"]


@pytest.fixture
def refused(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run ``wsshm train …`` in this process; return its code and its one line of error."""

    def call(*args: object, data: Path = dataset) -> tuple[int, str]:
        path = recipe(tmp_path / "recipe.toml")
        options = ["--recipe", path, "--data", data, "--runs", tmp_path / "runs"]
        result = CliRunner().invoke(app, ["train", *map(str, [*args, *options])])
        *_, line = result.stderr.splitlines()
        assert line.startswith("wsshm: error: "), result.stderr
        return result.exit_code, line

    monkeypatch.chdir(tmp_path)
    return call


@pytest.fixture
def own(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to take something from."""
    return shutil.copytree(dataset, tmp_path / "own")


def test_context_aware_needs_mattes(refused: Refused, own: Path) -> None:
    shutil.rmtree(own / "matte" / "b")
    (own / "matte" / "b" / "rgba").mkdir(parents=True)
    code, line = refused("context-aware", data=own)
    assert code == 65
    assert "no cut-outs for composites" in line


def test_context_aware_names_the_architectures(refused: Refused) -> None:
    code, line = refused("context-aware", "--arch", "r19")
    assert code == 2
    assert "unknown architecture 'r19'; use one of r101" in line


def test_context_aware_is_not_a_teachers_run(chain: Chain, refused: Refused) -> None:
    code, line = refused("context-aware", "--resume", "--out", chain.out("teacher"))
    assert code == 2
    assert "was begun with another kind" in line


@pytest.mark.parametrize("missing", ["matte/b/rgba", "seg/a"])
def test_bshm_needs_mattes_and_masks(refused: Refused, own: Path, missing: str) -> None:
    """Before its first network learns, not after."""
    shutil.rmtree(own / missing)
    code, line = refused("bshm", "--masks", 2, data=own)
    assert code in (65, 66)
    assert str(own) in line
    assert not (own.parent / "runs").exists()


def test_bshm_is_made_of_unets(refused: Refused) -> None:
    code, line = refused("bshm", "--arch", "modnet")
    assert code == 2
    assert "--arch modnet: bshm is made of U-Nets; use r101, r50" in line


@pytest.mark.parametrize("arch", ["bshm-r18x0.25", "qun-mbv2"])
def test_no_other_command_trains_its_networks(refused: Refused, arch: str) -> None:
    code, line = refused("teacher", "--arch", arch)
    assert code == 2
    assert f"unknown architecture {arch!r}" in line


def test_bshm_begins_with_its_second_network_alone(chain: Chain, refused: Refused) -> None:
    code, line = refused("bshm", "--init", chain.out("teacher") / "model.safetensors")
    assert code == 2
    assert "is a r18x0.25, not a bshm-r18x0.25" in line


def model_runs(wsshm: Wsshm, model: Path, folder: Path) -> None:
    """Run a clip through a model, as a user does."""
    clip = folder / "clip.mp4"
    frames = write_clip(clip, 0.2, width=192, height=128)
    result = wsshm("run", clip, "--model", model, "--bg", "#00b140", "-o", folder / "out.mp4")
    assert result.returncode == 0, result.stderr
    assert probe(folder / "out.mp4").frames == frames


@pytest.mark.long
def test_context_aware_trains_after_pretraining_and_runs(
    dataset: Path, tmp_path: Path, wsshm: Wsshm
) -> None:
    path = recipe(tmp_path / "recipe.toml")
    args = ["--recipe", path, "--data", dataset, "--encoder-weights", "none", "--workers", 0]
    said = run(tmp_path, "context-aware", *args)
    out = tmp_path / "runs" / "context-aware-r18x0.25"
    assert "context-aware r18x0.25: 4 steps" in said
    assert (tmp_path / "runs" / "pretrain-r18x0.25" / "model.onnx").exists()
    assert checkpoint.weights(out / "model.safetensors")[0] == "r18x0.25"
    assert rows(out)[0]["step"] == 4
    model_runs(wsshm, out / "model.onnx", tmp_path)


@pytest.mark.long
def test_bshm_trains_three_networks_in_turn_and_runs(
    dataset: Path, tmp_path: Path, wsshm: Wsshm
) -> None:
    """Stopped in the second, it goes on there; what is finished is not trained again."""
    path, runs = recipe(tmp_path / "recipe.toml", steps=40, save_every=5), tmp_path / "runs"
    args = ["bshm", "--recipe", path, "--data", dataset, "--encoder-weights", "none"]
    first, second, last = (runs / f"{name}-r18x0.25" for name in ("mpn", "qun", "bshm"))
    with Training(tmp_path, *args, "--workers", 0) as training:
        training.until((second / "step-00000005.pt").exists)
        training.signal(signal.SIGTERM)
        assert training.finish().returncode == 143
    written = (first / "model.safetensors").stat().st_mtime_ns
    assert not last.exists()
    said = run(tmp_path, *args, "--resume", "--workers", 0)
    assert (first / "model.safetensors").stat().st_mtime_ns == written
    assert "mpn r18x0.25" not in said
    assert "resumed at step" in said
    assert f"frozen parts: from {second.relative_to(tmp_path)}/model.safetensors" in said
    arch, whole = checkpoint.weights(last / "model.safetensors")
    assert arch == "bshm-r18x0.25"
    for name, value in checkpoint.weights(second / "model.safetensors")[1].items():
        assert torch.equal(whole[name], value), name
    model_runs(wsshm, last / "model.onnx", tmp_path)
    again = run(tmp_path, *args, "--resume", "--workers", 0)
    assert f"{last.relative_to(tmp_path)}: finished already" in again
    result = wsshm("train", *args, "--seed", 5, "--out", tmp_path / "other")
    assert result.returncode == 2
    taken = f"--init {second.relative_to(tmp_path)}/model.safetensors takes it as it is"
    one_error_line(result, "qun-r18x0.25: was made with another seed", taken)
    shutil.rmtree(last)
    shutil.rmtree(first)
    assert "mpn r18" not in run(tmp_path, *args, "--workers", 0), "what it made is in the second"
