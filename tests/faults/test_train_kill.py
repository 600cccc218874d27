"""SIGKILL at any moment of a training: it goes on from a checkpoint of the last interval."""

from __future__ import annotations

import random
import signal
import time
from functools import partial
from pathlib import Path

import pytest

from tests.train.processes import ENDLESS, Training, reached, recipe, saved
from train.checkpoint import checkpoint

KILLS, EVERY = 50, 3  # steps between checkpoints


def has_reached(out: Path, step: int) -> bool:
    return reached(out) >= step


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_kills_lose_an_interval_each_at_most(dataset: Path, tmp_path: Path) -> None:
    """Every newest checkpoint loads, none is older than the one before, no half one is taken.

    The rows of ``metrics.jsonl`` say how far a run came: a row is written at each step, just before
    that step's checkpoint.
    """
    rng, out = random.Random(1518), tmp_path / "out"
    path = recipe(tmp_path / "recipe.toml", pretrain=ENDLESS, log_every=1, save_every=EVERY)
    args = ["pretrain", "--recipe", path, "--data", dataset, "--out", out, "--workers", 1]
    step, halves = 0, 0
    for kill in range(KILLS):
        (out / "metrics.jsonl").unlink(missing_ok=True)  # so that it tells of this start alone
        with Training(tmp_path, *args, *(["--resume"] if kill else [])) as training:
            # Now and then while it starts, mostly around its first checkpoint.
            begun = step + EVERY if kill % 10 else 0
            training.until(partial(has_reached, out, begun))
            time.sleep(rng.uniform(0, 1 if begun else 5))
            training.signal(signal.SIGKILL)
            assert training.finish().returncode == -signal.SIGKILL
        halves += bool(list(out.glob("*.part.pt")))
        newest = checkpoint.newest(out)
        if newest is None:
            assert step == 0
            assert reached(out) <= EVERY
            continue
        before, step = step, int(saved(out)["step"])
        assert newest[0].suffix == ".pt"
        assert newest[0].name == f"step-{step:08d}.pt"
        assert step % EVERY == 0
        assert before <= step, f"kill {kill}: went back from {before} to {step}"
        assert reached(out) - step <= EVERY, f"kill {kill}: {reached(out)} steps, {step} kept"
        whole = [path for path in out.glob("step-*.pt") if ".part" not in path.name]
        assert len(whole) <= 3  # the third before it is deleted
    assert step > KILLS
    assert halves, "no kill came while a checkpoint was written"
