"""A run and its folder: describe it, claim it, and find the state to resume."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from engines.errors import BadData, Say, UsageError, writing
from engines.files import replacing, sha256
from train import config as configs
from train.checkpoint import checkpoint
from train.config import Config
from train.process import World

RELEASED, MODEL = "model.safetensors", "model.onnx"  # the files of a finished run
# Shows progress: the steps done, their total, and a note.
Progress = Callable[[int, int, str], None]
STATE_KEYS = {
    "config",
    "step",
    "net",
    "ema",
    "optimiser",
    "scaler",
    "rng",
    "sums",
    "counted",
    "teacher_sha",
    "files",
}


@dataclass(frozen=True)
class Run:
    """A `Config` and the files it works on.

    Attributes:
        data: the folder of training data.
        out: the run's folder.
        init: weights of the whole network to start from.
        pretrain: without `init`, `train.chain.chain` learns the masks first.
        teacher: weights of the network that labels the student's images.
        encoder, tf_range: of `train.networks.encoders.imagenet.start_encoder`, used without `init`.
        resume: go on with the run in `out`.
        workers: number of loading processes; None chooses by the machine.
        cache_mb: of decoded images kept in memory, at most; None for half of what is free.
    """

    config: Config
    data: Path
    out: Path
    init: Path | None = None
    pretrain: bool = True
    teacher: Path | None = None
    encoder: str = "auto"
    tf_range: bool = False
    resume: bool = False
    workers: int | None = None
    cache_mb: int | None = None


def unseen(done: int, total: int, note: str) -> None:
    """Ignore a report of progress."""


def claim(run: Run, say: Say) -> dict[str, Any] | None:
    """Return the state to resume, {} for a fresh start, or None if the run is finished.

    Writes nothing.

    Raises:
        UsageError: the folder holds another run, or this one without `resume`.
        BadData, CannotOpen: its checkpoints, or the teacher's file.
    """
    out, config = run.out, run.config
    newest = checkpoint.newest(out) if out.exists() else None
    finished = (out / RELEASED).exists() and (out / MODEL).exists()
    if not run.resume and (newest or finished):
        raise UsageError(
            f"{out}: holds a {'finished' if finished else 'begun'} run",
            "go on with --resume, or keep this one elsewhere with --out or --runs",
        )
    if newest is None:
        return None if finished else {}
    path, state, skipped = newest
    for line in skipped:
        say(line)
    if missing := STATE_KEYS - set(state):
        raise BadData(f"{path}: not a checkpoint of a run (no {', '.join(sorted(missing))} in it)")
    if other := configs.differing(state["config"], config):
        raise UsageError(
            f"{path}: was begun with another {', '.join(other)}", "use the same, or --out"
        )
    if state["teacher_sha"] != (sha256(run.teacher) if run.teacher else ""):
        began = configs.saved(out).get("run", {}).get("teacher")
        raise UsageError(
            f"{path}: was begun with another teacher", f"give it with --teacher {began}"
        )
    return None if finished else state


def describe(run: Run, world: World) -> None:
    """Write ``config.toml``: the run's config and what it was begun with."""
    with writing(run.out, begun=False):
        run.out.mkdir(parents=True, exist_ok=True)
        text = run.config.to_toml(
            version=version(),
            torch=torch.__version__,
            data=str(run.data.absolute()),
            init=str(run.init or ""),
            encoder="" if run.init else run.encoder,
            encoder_range="[-1, 1]" if run.tf_range else "",
            teacher=str(run.teacher or ""),
            device=str(world.device),
            processes=str(world.size),
        )
        with replacing(run.out / "config.toml") as f:
            f.write(text.encode())


def version() -> str:
    """Return the installed version of wsshm."""
    try:
        return metadata.version("wsshm")
    except metadata.PackageNotFoundError:
        return "not installed"
