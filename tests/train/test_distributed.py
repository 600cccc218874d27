"""Two processes that torchrun starts do together what one does."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from engines.errors import UsageError
from tests.conftest import REPOSITORY
from tests.train.gradients import KINDS, config, gradients, share
from tests.train.processes import (
    Training,
    descendants,
    gone,
    reached,
    recipe,
    rows,
    run,
    saved,
    torchrun,
)
from train.config import Stage
from train.data.samples import Batches
from train.networks import build
from train.process import World
from train.trainer import distribute

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine

ALONE = World(0, 1, torch.device("cpu"))


@pytest.mark.parametrize("processes", [1, 2, 4])
def test_processes_share_every_batch_without_overlap(processes: int) -> None:
    stages = (Stage(3, 8, (64, 96)), Stage(2, 4, (32,)))
    several = replace(config("pretrain"), stages=stages)
    for start in (0, 2):
        whole = list(Batches(several, start))
        shares = [list(Batches(several, start, rank, processes)) for rank in range(processes)]
        assert len(whole) == len(shares[0]) == 5 - start
        for batch, parts in zip(whole, zip(*shares, strict=True), strict=True):
            assert sorted(key for part in parts for key in part) == batch
            assert {len(part) for part in parts} == {len(batch) // processes}


def test_a_batch_that_cannot_be_shared_evenly_is_refused() -> None:
    net = build("r18x0.25")
    with pytest.raises(UsageError, match="a batch of 8 cannot be shared evenly by 3 processes"):
        distribute(net, config("pretrain"), World(0, 3, torch.device("cpu")))


@pytest.mark.long
def test_gradients_are_those_of_one_process(dataset: Path, tmp_path: Path) -> None:
    """Processes have different numbers of alphas, which alone some losses judge."""
    command = [sys.executable, "-m", *torchrun(), "tests.train.gradients", dataset, tmp_path]
    result = subprocess.run(
        [str(x) for x in command],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=200,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert result.returncode == 0, result.stderr
    whole, *halves = (share("pretrain", dataset, *ranks) for ranks in ((0, 1), (0, 2), (1, 2)))
    composites = [" " in name for name in whole["name"]]
    has_alpha = whole["has_alpha"].tolist()
    assert any(composites)
    assert not all(has_alpha)
    assert sum(has_alpha) > sum(composites), "no empty one"
    assert halves[0]["has_alpha"].sum() != halves[1]["has_alpha"].sum()
    for kind in KINDS:
        ours, theirs = gradients(kind, dataset, ALONE), torch.load(tmp_path / f"{kind}.pt")
        assert set(ours) == set(theirs)
        assert max(g.abs().max() for g in ours.values()) > 0.1
        for name, gradient in ours.items():
            torch.testing.assert_close(theirs[name], gradient, rtol=1e-5, atol=1e-5, msg=name)


@pytest.mark.long
def test_two_processes_train_stop_and_go_on_as_one_run(dataset: Path, tmp_path: Path) -> None:
    """Ctrl-C ends both after one checkpoint; what both leave is one set of files."""
    path = recipe(tmp_path / "recipe.toml", steps=60, log_every=1, save_every=1000)
    args = ["teacher", "--recipe", path, "--data", dataset, "--runs", "runs", "--workers", 1]
    out = tmp_path / "runs/teacher-r18x0.25"
    with Training(tmp_path, *args, launcher=torchrun()) as training:
        training.until(lambda: reached(out) > 2)
        everyone = descendants(training.process.pid)
        assert len(everyone) >= 4, "two processes with one that loads for each"
        training.signal(signal.SIGINT)
        result = training.finish(60)
        assert gone(everyone, 10)
    (step,) = re.findall(r"stopped at step (\d+) of", result.stderr)
    assert saved(out)["step"] == int(step) == reached(out)
    assert (tmp_path / "runs/pretrain-r18x0.25/model.safetensors").exists()

    said = run(tmp_path, *args, "--resume", launcher=torchrun())
    assert said.count(f"resumed at step {step} of 60") == 1
    assert [row["step"] for row in rows(out)] == list(range(1, 61))
    names = sorted(re.sub("tfevents.*", "tfevents", p.name) for p in out.iterdir())
    assert names == [
        "config.toml",
        "events.out.tfevents",
        "events.out.tfevents",
        "grid.png",
        "metrics.jsonl",
        "model.onnx",
        "model.safetensors",
        f"step-{int(step):08d}.pt",
        "step-00000060.pt",
    ]
