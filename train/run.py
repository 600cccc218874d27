"""A run and its folder: what lies in it, whose it is, where it can go on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from engines.errors import BadData, UsageError, writing
from engines.files import sha256
from train import config as configs
from train.checkpoint import checkpoint
from train.config import Config
from train.process import World

RELEASED, MODEL = "model.safetensors", "model.onnx"  # what a finished run leaves
STATE = {
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
    """A `Config` and where it takes place.

    `out` is the run's folder. `init` are weights the whole network starts from; without them
    `encoder` says where its encoder starts (see `train.networks.encoders.imagenet.start_encoder`).
    `teacher` labels the student's images.
    """

    config: Config
    data: Path
    out: Path
    init: Path | None = None
    teacher: Path | None = None
    encoder: str = "auto"
    tf_range: bool = False
    resume: bool = False
    workers: int | None = None


def claim(run: Run, say: Callable[[str], None]) -> dict[str, Any] | None:
    """The state to resume, {} for a fresh start, None if the run is finished; writes nothing.

    Raises:
        UsageError: the folder holds another run, or this one without `resume`.
        BadData, CannotOpen: its checkpoints, or the teacher's file.
    """
    out, config = run.out, run.config
    newest = checkpoint.newest(out) if out.exists() else None
    finished = (out / RELEASED).exists() and (out / MODEL).exists()
    if not run.resume and (newest or finished):
        raise UsageError(
            f"{out}: holds a {'finished' if finished else 'begun'} run; go on with --resume, "
            "or keep this one elsewhere with --out or --runs"
        )
    if newest is None:
        return None if finished else {}
    path, state, skipped = newest
    for line in skipped:
        say(line)
    if missing := STATE - set(state):
        raise BadData(f"{path}: not a checkpoint of a run (no {', '.join(sorted(missing))} in it)")
    if (theirs := state["config"]) != config.plain():
        other = [k for k, v in config.plain().items() if theirs.get(k) != v]
        raise UsageError(
            f"{path}: was begun with another {', '.join(other)}; use the same, or --out"
        )
    if state["teacher_sha"] != (sha256(run.teacher) if run.teacher else ""):
        began = configs.saved(out).get("run", {}).get("teacher")
        raise UsageError(f"{path}: was begun with another teacher; give it with --teacher {began}")
    return None if finished else state


def describe(run: Run, world: World) -> None:
    """Write down what a run was begun with."""
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
        (run.out / "config.toml").write_text(text, encoding="utf-8")


def version() -> str:
    try:
        return metadata.version("wsshm")
    except metadata.PackageNotFoundError:
        return "not installed"
