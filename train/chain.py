"""Train a run and what it needs: train its pre-training first, and find its teacher.

Runs are kept in one folder, each in ``<kind>-<arch>``; a finished one holds ``model.safetensors``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from engines.datasets.layout import list_pairs
from engines.errors import CannotOpen, Say, UsageError, silent
from train import config as configs
from train import methods
from train.checkpoint import checkpoint
from train.data.samples import listed
from train.methods.teacher import load_teacher
from train.networks import build
from train.objective import check_terms
from train.process import joined
from train.run import RELEASED, Progress, Run, claim, unseen
from train.trainer import train


def chain(
    run: Run, recipe: str, runs: Path, device: str, say: Say, progress: Progress = unseen
) -> int:
    """Train `run`, after the pre-training of its architecture if it has no weights to start from.

    Args:
        run: of `train.trainer.train`; a student without a teacher gets the newest finished one
            under `runs`.
        recipe: of the pre-training.
        runs: the folder of runs.
        device: of `train.process.joined`.

    Returns:
        The exit code of `train.trainer.train`.

    Raises:
        CannotOpen: a student needs a teacher, and there is no finished one.
        UsageError: no such method, or a loss that needs a teacher where there is none.
        WsshmError: of `train.trainer.train`.
    """
    method = methods.find(run.config.method)
    if run.config.kind == "student" and not method.needs_teacher:  # the loss of pre-training
        run = replace(run, config=replace(run.config, loss=configs.load(recipe, "pretrain").loss))
    check_terms(run.config.loss, method.needs_teacher)
    config = run.config
    with joined(device) as world:
        if not world.is_main:
            say, progress = silent, unseen
        if method.needs_teacher and run.teacher is None:
            run = replace(run, teacher=newest_teacher(runs))
            say(f"teacher: {run.teacher}")
        needed = config.kind != "pretrain" and run.init is None and run.pretrain
        if needed and not list_pairs(run.data, "seg", "train", required=False):
            say(f"{run.data}: no masks, so no pre-training")
        elif needed:
            # Errors of the run itself are raised before the pre-training rather than after it.
            claim(run, say)
            listed(run.data, config)
            if run.teacher:
                load_teacher(run.teacher)
            first = pretraining(run, recipe, runs)
            if not finished(first) and (code := train(first, world, say, progress)):
                return code
            run = replace(run, init=first.out / RELEASED)
        return train(run, world, say, progress)


def pretraining(run: Run, recipe: str, runs: Path) -> Run:
    """Return the run that makes the weights `run` starts from."""
    shared = ("arch", "seed", "masks", "precision", "own_losses")
    config = configs.load(recipe, "pretrain", **{k: getattr(run.config, k) for k in shared})
    if config.composites:
        config = replace(config, mattes=run.config.mattes)
    return replace(run, config=config, out=runs / f"pretrain-{config.arch}", teacher=None)


def finished(run: Run) -> bool:
    """Return whether the folder holds this run, complete.

    Raises:
        UsageError: it holds a complete run of another config or other data.
    """
    if not (run.out / RELEASED).exists():
        return False
    theirs = configs.saved(run.out)
    other = configs.differing(theirs, run.config)
    if theirs.get("run", {}).get("data") != str(run.data.absolute()):
        other.append("data")
    if other:
        raise UsageError(
            f"{run.out}: was made with another {', '.join(other)}",
            f"--init {run.out / RELEASED} takes it as it is, --runs keeps runs elsewhere",
        )
    return True


def newest_teacher(runs: Path) -> Path:
    """Return the released weights of the teacher that was finished last and predicts boundaries.

    Raises:
        CannotOpen: no such teacher is finished.
        BadData: one of them cannot be read.
    """
    found = sorted(runs.glob(f"teacher-*/{RELEASED}"), key=lambda p: p.stat().st_mtime)
    for path in reversed(found):
        if build(checkpoint.weights(path)[0]).predicts_boundary:
            return path
    raise CannotOpen(
        f"{runs}: no finished teacher in it{' that predicts a boundary' if found else ''}",
        "run wsshm train teacher first, or give one with --teacher",
    )
