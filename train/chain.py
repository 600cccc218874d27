"""From one command to its runs: the pre-training a run needs comes first, a teacher is found.

Runs lie in one folder, each in ``<kind>-<arch>``; a finished one holds ``model.safetensors``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from engines.datasets.layout import list_pairs
from engines.errors import CannotOpen, UsageError
from train import config as configs
from train.checkpoint import checkpoint
from train.data.samples import listed
from train.process import joined
from train.run import RELEASED, Run, claim
from train.trainer import train


def chain(run: Run, recipe: str, runs: Path, device: str, say: Callable[[str], None]) -> int:
    """Train `run`, after the pre-training of its architecture where it was not given a start.

    Args:
        run: as `train.trainer.train` takes it; a student without a teacher gets the newest
            finished one under `runs`.
        recipe: of the pre-training.
        runs: the folder of runs.
        device: see `train.process.joined`.

    Raises:
        CannotOpen: a student, and no finished teacher is there.
        As `train.trainer.train`.
    """
    config = run.config
    with joined(device) as world:
        if not world.first:
            say = silent
        if config.has_teacher and run.teacher is None:
            run = replace(run, teacher=newest_teacher(runs))
            say(f"teacher: {run.teacher}")
        needed = config.kind != "pretrain" and run.init is None
        if needed and not list_pairs(run.data, "seg", "train", required=False):
            say(f"{run.data}: no masks, so no pre-training")
        elif needed:
            # What would stop the run itself is better known before the pre-training than after.
            claim(run, say)
            listed(run.data, config)
            if run.teacher:
                checkpoint.weights(run.teacher)
            first = pretraining(run, recipe, runs)
            if not finished(first) and (code := train(first, world, say)):
                return code
            run = replace(run, init=first.out / RELEASED)
        return train(run, world, say)


def pretraining(run: Run, recipe: str, runs: Path) -> Run:
    """The run that makes the weights `run` starts from."""
    shared = ("arch", "seed", "masks", "precision")
    config = configs.load(recipe, "pretrain", **{k: getattr(run.config, k) for k in shared})
    if config.composites:
        config = replace(config, mattes=run.config.mattes)
    return replace(run, config=config, out=runs / f"pretrain-{config.arch}", teacher=None)


def finished(run: Run) -> bool:
    """Whether the run is there, complete, and was made as `run` says.

    Raises:
        UsageError: a complete run is there that was made in another way.
    """
    if not (run.out / RELEASED).exists():
        return False
    theirs, ours = configs.saved(run.out), run.config.plain()
    other = [k for k, v in ours.items() if theirs.get(k) != v]
    if theirs.get("run", {}).get("data") != str(run.data.absolute()):
        other.append("data")
    if other:
        raise UsageError(
            f"{run.out}: was made with another {', '.join(other)}; "
            f"--init {run.out / RELEASED} takes it as it is, --runs keeps runs elsewhere"
        )
    return True


def newest_teacher(runs: Path) -> Path:
    """The released weights of the teacher that was finished last.

    Raises:
        CannotOpen: there is none.
    """
    found = sorted(runs.glob(f"teacher-*/{RELEASED}"), key=lambda p: p.stat().st_mtime)
    if not found:
        raise CannotOpen(
            f"{runs}: no finished teacher in it; run wsshm train teacher first, "
            "or give one with --teacher"
        )
    return found[-1]


def silent(_: str) -> None:
    """What every process but the first says."""
