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
from train.networks import build, check_arch
from train.networks.bshm import light
from train.objective import check_terms
from train.process import joined
from train.run import RELEASED, Progress, Run, claim, unseen
from train.trainer import freeze, train

# What a kind of run begins with: the weights of a run of this kind, unless others are given.
BEFORE = {
    "teacher": "pretrain",
    "student": "pretrain",
    "context-aware": "pretrain",
    "qun": "mpn",
    "bshm": "qun",
}


def chain(
    run: Run, recipe: str, runs: Path, device: str, say: Say, progress: Progress = unseen
) -> int:
    """Train `run`, after those it begins with if it has no weights to start from.

    Args:
        run: of `train.trainer.train`; a student without a teacher gets the newest finished one
            under `runs`.
        recipe: of the runs before.
        runs: the folder of runs.
        device: of `train.process.joined`.

    Returns:
        The exit code of `train.trainer.train`.

    Raises:
        CannotOpen: a student needs a teacher, and there is no finished one.
        UsageError: no such method or architecture, or a loss that needs a teacher where there is
            none.
        WsshmError: of `train.trainer.train`.
    """
    method = methods.find(run.config.method)
    if run.config.kind == "student" and not method.needs_teacher:
        theirs = configs.load(recipe, "student").method
        if methods.find(theirs).needs_teacher:  # --labels took it away: as pre-training learns
            loss = configs.load(recipe, "pretrain").loss
            run = replace(run, config=replace(run.config, loss=loss))
    check_terms(run.config.loss, method.needs_teacher)
    config = run.config
    check_arch(config)
    if config.frozen:
        freeze(build(config.network), config.frozen)  # before anything is trained
    if config.frozen_norms and run.init is None:
        raise UsageError("frozen_norms: needs trained weights to start from", "give --init")
    with joined(device) as world:
        if not world.is_main:
            say, progress = silent, unseen
        if method.needs_teacher and run.teacher is None:
            run = replace(run, teacher=newest_teacher(runs))
            say(f"teacher: {run.teacher}")
        todo = [run]
        while todo[0].init is None and (kind := BEFORE.get(config.kind)):
            if kind == "pretrain" and not run.pretrain:
                break
            if kind == "pretrain" and not list_pairs(run.data, "seg", "train", required=False):
                say(f"{run.data}: no masks, so no pre-training")
                break
            before = earlier(todo[0], kind, recipe, runs)
            todo[0] = replace(todo[0], init=before.out / RELEASED)
            if finished(before):
                break
            todo.insert(0, before)
            config = before.config
        if len(todo) > 1:
            # Errors of the runs themselves are raised before the first one rather than after it.
            if claim(run, say) is None:  # it is finished, whatever became of those before
                todo = [run]
            for one in todo:
                listed(one.data, one.config)
            if run.teacher:
                load_teacher(run.teacher)
        for one in todo:
            if code := train(one, world, say, progress):
                return code
        return 0


def earlier(run: Run, kind: str, recipe: str, runs: Path) -> Run:
    """Return the run of this kind that makes the weights `run` starts from."""
    shared = ("arch", "seed", "masks", "precision", "own_losses")
    options = {name: getattr(run.config, name) for name in shared}
    if kind in configs.STAGES:
        options["arch"] = light(run.config.arch)
    config = configs.load(recipe, kind, **options)
    if config.composites:
        config = replace(config, mattes=run.config.mattes)
    return replace(run, config=config, out=runs / f"{kind}-{config.arch}", teacher=None)


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
        taken = f"--init {run.out / RELEASED} takes it as it is, "
        raise UsageError(
            f"{run.out}: was made with another {', '.join(other)}",
            f"{'' if run.config.kind == 'mpn' else taken}--runs keeps runs elsewhere",
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
