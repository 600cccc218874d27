"""The rivals of the method, as commands: what they refuse, and what they leave."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.conftest import Wsshm
from tests.media import probe, write_clip
from tests.train.processes import Chain, recipe, rows, run
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
