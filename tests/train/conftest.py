"""Runs that several tests of training look at."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.train.processes import STEPS, Chain, recipe, run
from wsshm_cli.app import app


@pytest.fixture(scope="session")
def chain(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Chain:
    """A teacher and then a student that learns for `STEPS` steps without interruption."""
    folder = tmp_path_factory.mktemp("chain")
    data = shutil.copytree(dataset, folder / "data")
    (data / "val.txt").write_text("seg/a/images/10.jpg\n")
    path = recipe(folder / "recipe.toml", steps=STEPS, save_every=17, evaluate_every=10)
    args = ["--recipe", path, "--data", data, "--runs", "runs", "--workers"]
    said = run(folder, "teacher", *args, 0) + run(folder, "student", *args, 2)
    return Chain(data, path, folder / "runs", said)


Refused = Callable[..., "tuple[int, str]"]


@pytest.fixture
def student(chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Refused:
    """Run ``wsshm train student …`` on the chain's runs in this process; return code and stderr."""

    def call(*args: object) -> tuple[int, str]:
        options = ["--recipe", chain.recipe, "--data", chain.data, "--runs", chain.runs, *args]
        result = CliRunner().invoke(app, ["train", "student", *map(str, options)])
        assert "Traceback" not in result.stderr, result.stderr
        return result.exit_code, result.stderr

    monkeypatch.chdir(tmp_path)
    return call
