"""Real training processes: recipes for small ones, and what is done to them while they run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from train.checkpoint import checkpoint

KINDS = ("pretrain", "teacher", "student")
ENDLESS = 1_000_000  # steps
STEPS = 40  # of the teacher and the student of a `Chain`


def torchrun(processes: int = 2) -> list[object]:
    """Return the arguments before a module's name that run it in several processes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--nproc-per-node", processes, "--master-addr", "127.0.0.1", "--master-port", port]
    return ["torch.distributed.run", *options, "-m"]


def recipe(path: Path, *, pretrain: int = 4, steps: int = 4, size: int = 64, **keys: Any) -> Path:
    """Write a recipe: four small crops a step, in fp32; `keys` are fields of `Config`."""
    fields = {
        "arch": "r18x0.25",
        "precision": "fp32",
        "lr": 1e-3,
        "warmup": 4,
        "ema_decay": 0.9,
        "teacher_ema": 0.9,
        "log_every": 4,
        "evaluate_every": 0,
        "composites": 0.4,
        "empty": 0.1,
    } | keys
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    for kind in KINDS:
        n = pretrain if kind == "pretrain" else steps
        lines += [f"[{kind}]", f"stages = [{{ steps = {n}, batch = 4, sizes = [{size}] }}]"]
    path.write_text("\n".join(lines))
    return path


def rows(out: Path) -> list[dict[str, float]]:
    """Read the complete rows of a run's ``metrics.jsonl``."""
    path = out / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines() if line.endswith("}")]


def board(out: Path) -> EventAccumulator:
    """Read the TensorBoard files of a run."""
    events = EventAccumulator(str(out), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def reached(out: Path) -> int:
    """Return the last step that has a row."""
    return int(max((row["step"] for row in rows(out)), default=0))


def saved(out: Path) -> dict[str, Any]:
    """Load a run's newest checkpoint; fail if any is damaged."""
    newest = checkpoint.newest(out)
    assert newest is not None, f"{out}: no checkpoint"
    _, state, skipped = newest
    assert not skipped, skipped
    return state


@dataclass(frozen=True)
class Chain:
    """Three finished runs, in the folders ``pretrain-…``, ``teacher-…`` and ``student-…``."""

    data: Path
    recipe: Path
    runs: Path
    said: str  # by both commands

    def out(self, kind: str) -> Path:
        return self.runs / f"{kind}-r18x0.25"


class Training:
    """``wsshm train …`` in a new process group, as a shell starts it; downloads nothing."""

    def __init__(self, folder: Path, *args: object, launcher: Iterable[object] = ()):
        self.stderr = folder / f"stderr{len(list(folder.glob('stderr*')))}.txt"
        options = ("--encoder-weights", "none") if args[0] in KINDS else ()
        command = [sys.executable, "-m", *launcher, "wsshm_cli", "train", *args, *options]
        with self.stderr.open("w") as stderr:
            self.process = subprocess.Popen(
                [str(x) for x in command],
                cwd=folder,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
            )

    def __enter__(self) -> Training:
        return self

    def __exit__(self, *_: object) -> None:
        for pid in [*descendants(self.process.pid), self.process.pid]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()

    def until(self, reached: Callable[[], bool], timeout: float = 200) -> None:
        """Wait until `reached` returns True; fail if the process ends before."""
        end = time.monotonic() + timeout
        while not reached():
            assert self.process.poll() is None, f"ended too early:\n{self.stderr.read_text()}"
            assert time.monotonic() < end, f"too slow:\n{self.stderr.read_text()}"
            time.sleep(0.002)

    def loaders(self) -> list[int]:
        """Return the processes that load its data, which are its forks."""
        own = Path(f"/proc/{self.process.pid}/cmdline").read_bytes()
        return [pid for pid in descendants(self.process.pid) if _cmdline(pid) == own]

    def signal(self, signum: int) -> None:
        """Send a signal to the process group, as a terminal does."""
        os.killpg(self.process.pid, signum)

    def finish(self, timeout: float = 200) -> subprocess.CompletedProcess[str]:
        """Wait for the process to end."""
        self.process.wait(timeout)
        return subprocess.CompletedProcess([], self.process.returncode, "", self.stderr.read_text())


def run(folder: Path, *args: object, launcher: Iterable[object] = (), timeout: float = 200) -> str:
    """Run ``wsshm train …`` successfully; return what it printed."""
    with Training(folder, *args, launcher=launcher) as training:
        result = training.finish(timeout)
    assert result.returncode == 0, result.stderr
    return result.stderr


def gone(pids: Iterable[int], timeout: float) -> bool:
    """Return whether all processes end within `timeout` seconds."""
    end = time.monotonic() + timeout
    while left := [pid for pid in pids if _cmdline(pid)]:
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return not left


def descendants(pid: int) -> list[int]:
    """Return children, their children and so on, the youngest last."""
    try:
        children = [int(x) for x in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [below for child in children for below in descendants(child)]


def _cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()  # empty for a zombie
    except OSError:
        return b""
