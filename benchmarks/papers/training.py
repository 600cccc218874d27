"""Trainings as data, and the commands that do them and measure their models."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.papers.scales import FOLDER, Scale
from engines.errors import UsageError
from engines.files import replacing

MODEL, RELEASED = "model.onnx", "model.safetensors"  # as in `train.run`, which imports torch
WSSHM = (sys.executable, "-m", "wsshm_cli")
Command = tuple[list[str], Path | None]  # and the file that takes what it prints


@dataclass(frozen=True)
class Training:
    """One training by `wsshm train`; its weights, labels and switches are its name.

    Attributes:
        kind: a step of `wsshm train`.
        masks, mattes: how many; None for what it does not use.
        switches: further options of the command.
        init: where its weights start; None for the encoder's published weights.
        teacher: of a student.
    """

    kind: str
    arch: str
    masks: int | None
    mattes: int | None
    switches: tuple[str, ...] = ()
    init: Training | None = None
    teacher: Training | None = None

    @property
    def name(self) -> str:
        """The name of its folder."""
        counts = [("m", self.masks), ("a", self.mattes)]
        labels = [f"{letter}{n or 'all'}" for letter, n in counts if n is not None]
        switches = "".join(self.switches).replace("--", "-")
        return "-".join([self.kind, self.arch, *labels]) + switches

    def chain(self) -> Iterator[Training]:
        """Yield the trainings that it needs, each before what needs it, and itself last."""
        for needed in (self.init, self.teacher):
            if needed is not None:
                yield from needed.chain()
        yield self


def pretrained(arch: str, masks: int) -> Training:
    """Return step 0: masks alone."""
    return Training("pretrain", arch, masks, None)


def fine_tuned(arch: str, masks: int | None, mattes: int, *switches: str) -> Training:
    """Return step 1: composites, after pre-training if there are masks."""
    init = None if masks is None else pretrained(arch, masks)
    if init is None:
        switches = ("--no-pretrain", *switches)
    return Training("teacher", arch, masks, mattes, switches, init)


def blended(
    arch: str, masks: int, mattes: int, teacher: str, loss: tuple[str, ...] = (), *switches: str
) -> Training:
    """Return step 2: Matte Label Blending.

    Args:
        teacher: its architecture.
        loss: switches of both the teacher and the student.
        switches: of the student.
    """
    return Training(
        "student",
        arch,
        masks,
        mattes,
        (*loss, *switches),
        pretrained(arch, masks),
        fine_tuned(teacher, masks, mattes, *loss),
    )


@dataclass(frozen=True)
class Place:
    """Where trainings of one scale are kept, and what their commands share.

    Attributes:
        out: folder of the scale.
        sets: the sets of `wsshm eval` that the data has.
        encoders: files of ImageNet weights by architecture.
        tf: architectures whose file expects RGB in [-1, 1].
    """

    out: Path
    data: Path
    name: str
    scale: Scale
    sets: tuple[str, ...]
    device: str
    encoders: dict[str, Path]
    tf: tuple[str, ...]
    workers: int | None = None

    def folder(self, training: Training, seed: int) -> Path:
        """Return the folder of a run."""
        return self.out / f"s{seed}" / training.name

    def model(self, training: Training, seed: int) -> Path:
        """Return the model file of a run."""
        return self.folder(training, seed) / MODEL

    @property
    def alphas(self) -> tuple[str, ...]:
        """The set with alphas that tables show first."""
        return tuple(s for s in ("mattes", "composites") if s in self.sets)[:1]

    def scores(self, training: Training, seed: int) -> Path:
        """Return the file of a run's scores, as `wsshm eval --json` prints them."""
        return self.out / f"s{seed}" / f"{training.name}.json"

    def train_command(self, training: Training, seed: int) -> list[str]:
        """Return the command that trains, or goes on with a training that was stopped."""
        options: dict[str, object] = {
            "--data": self.data,
            "--recipe": FOLDER / f"{self.name}.toml",
            "--arch": training.arch,
            "--seed": seed,
            "--device": self.device,
            "--out": self.folder(training, seed),
            "--masks": training.masks,
            "--mattes": training.mattes,
            "--workers": self.workers,
            "--init": self._weights(training.init, seed),
            "--teacher": self._weights(training.teacher, seed),
            "--encoder-weights": self.encoders.get(training.arch),
            # Where a rival keeps the networks that it trains first.
            "--runs": self.folder(training, seed) / "runs" if training.kind == "bshm" else None,
        }
        given = [str(x) for key, v in options.items() if v is not None for x in (key, v)]
        tf = ["--tf-encoder"] if training.arch in self.tf else []
        return [*WSSHM, "train", training.kind, *given, *tf, *training.switches, "--resume"]

    def eval_command(self, model: str | Path, sets: tuple[str, ...], *options: str) -> list[str]:
        """Return the command that measures a model, or an estimator without a file, on `sets`."""
        named = [x for name in sets for x in ("--set", name)]
        limit = [] if self.scale.limit is None else ["--limit", str(self.scale.limit)]
        shared = ["--data", str(self.data), *named, *limit, "--json"]
        return [*WSSHM, "eval", str(model), *shared, *options]

    def train_commands(self, training: Training, seed: int) -> Iterator[Command]:
        """Yield what is left to train."""
        for t in training.chain():
            if not all((self.folder(t, seed) / file).exists() for file in (MODEL, RELEASED)):
                yield self.train_command(t, seed), None

    def commands(self, training: Training, seed: int) -> Iterator[Command]:
        """Yield what is left to train and to measure."""
        yield from self.train_commands(training, seed)
        if not (scores := self.scores(training, seed)).exists():
            size = ["--size", str(self.scale.size)]
            yield self.eval_command(self.model(training, seed), self.sets, *size), scores

    def _weights(self, training: Training | None, seed: int) -> Path | None:
        return None if training is None else self.folder(training, seed) / RELEASED


def carry_out(command: list[str], out: Path | None) -> None:
    """Run a command; what it prints goes to `out`, which is only written when it succeeds.

    Raises:
        SystemExit: it failed or was stopped; it has said why.
        UsageError: a table needs an option or a command that this version has not.
    """
    print(f"$ {' '.join(command[2:])}", flush=True)
    done = subprocess.run(command, stdout=None if out is None else subprocess.PIPE, check=False)  # noqa: S603
    if done.returncode:
        raise SystemExit(done.returncode if done.returncode > 0 else 128 - done.returncode)
    if out is not None:
        if not done.stdout:
            raise UsageError(f"{' '.join(command[2:])}: printed nothing")
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as f:
            f.write(done.stdout)
