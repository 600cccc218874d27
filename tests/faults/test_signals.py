"""SIGINT, SIGTERM, SIGHUP at any moment of `wsshm run`: what was written is finished and kept."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.helpers import Ended, Running, decode, parts

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
LIMIT = 2.0  # seconds a run may take to finish what it has


@dataclass(frozen=True)
class Whole:
    """An uninterrupted run on this machine, now: seconds from start to exit, bytes written."""

    seconds: float
    size: int


@pytest.fixture(scope="session")
def whole(moving: Path, ones: Path, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = tmp_path_factory.mktemp("whole")
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], folder) as run:
        ended = run.finish()
        assert ended.returncode == 0, ended.stderr
        return Whole(run.age, (folder / "out.mp4").stat().st_size)


def reported(ended: Ended) -> int:
    """Frames that the run says it wrote; JSON and the last line must agree."""
    assert ended.summary is not None
    frames = ended.summary["frames"]
    last = ended.stderr.splitlines()[-1]
    assert re.match(rf"{frames} frames? in ", last), last
    return int(frames)


def check(ended: Ended, ours: bool, signum: int, folder: Path, output: Path, total: int) -> str:
    """What must hold after a signal; returns which of the cases it was.

    `ours`: whether wsshm had its signal handlers in place just before the signal. Where it had
    not, Python's own start or end was running and the default action is no fault of wsshm's, but
    nothing, or everything, must be on disk.
    """
    told = f"rc {ended.returncode}, stdout {ended.stdout!r}, stderr {ended.stderr!r}"
    assert ended.seconds <= LIMIT, f"{ended.seconds:.2f} s to exit; {told}"
    assert not parts(folder), f"{parts(folder)}; {told}"
    if not ours and ended.summary is None:
        # 1: Python interrupted while it looks for the module to run
        assert ended.returncode in (-signum, 128 + signum, 1), told
        assert not output.exists(), told
        return "python starts"
    assert "Traceback" not in ended.stderr, told
    if ended.summary is None:
        assert ended.returncode == 128 + signum, told
        assert not output.exists(), told
        return "wsshm starts"
    frames = reported(ended)
    if frames == 0:
        assert not output.exists(), told
        assert ended.returncode == 128 + signum, told
        return "no frame yet"
    held = decode(output)
    assert held.frames == frames, f"{held.frames} frames in the file, {frames} reported; {told}"
    assert held.samples > 0, told
    if frames == total and ended.returncode in (0, -signum):  # Python's end has no handlers
        return "finished"
    assert ended.returncode == 128 + signum, told
    assert ended.summary["exit_code"] == 128 + signum, told
    return "stopped"


def trial(moment: float, signum: int, moving: Path, model: Path, folder: Path, to: str) -> str:
    """One run with one signal after `moment` seconds."""
    folder.mkdir()
    with Running(["run", moving, "--model", model, "-o", f"out{to}", "--json"], folder) as run:
        time.sleep(max(0.0, moment - run.age))
        ours = run.handles_signals()
        os.kill(run.process.pid, signum)
        ended = run.finish()
    return check(ended, ours, signum, folder, folder / f"out{to}", 1500)


def moments(trials: int, length: float) -> list[tuple[float, int]]:
    """Seeded random moments, one in each of `trials` equal parts of a run, the signals in turn."""
    rng = random.Random(20240624)
    return [((i + rng.random()) / trials * length * 1.02, SIGNALS[i % 3]) for i in range(trials)]


def run_trials(trials: int, to: str, whole: Whole, moving: Path, model: Path, folder: Path) -> None:
    seen = []
    for i, (moment, signum) in enumerate(moments(trials, whole.seconds)):
        case = trial(moment, signum, moving, model, folder / f"{i}", to)
        seen.append(f"{signal.Signals(signum).name} after {moment:.2f} s: {case}")
        shutil.rmtree(folder / f"{i}")
    landed = [x for x in seen if x.endswith("stopped")]
    assert len(landed) >= trials // 4, "too few signals landed inside: " + "; ".join(seen)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("to", [".mp4", ".mkv"])
def test_signals_at_many_moments(
    to: str, whole: Whole, moving: Path, ones: Path, tmp_path: Path
) -> None:
    """From Python's start to the end of the run, every exit is quick, clean and loses nothing."""
    run_trials(50, to, whole, moving, ones, tmp_path)


def starts(run: Running, part: Path, size: int) -> None:
    """Wait until wsshm has taken signals over, which is before its imports and the engine."""
    while not run.handles_signals():
        assert run.process.poll() is None


def loads(run: Running, part: Path, size: int) -> None:
    """Wait until ONNX Runtime's library is in memory; the output is still empty."""
    maps = Path(f"/proc/{run.process.pid}/maps")
    while "onnxruntime" not in maps.read_text():
        assert run.process.poll() is None
    assert not part.exists() or not part.stat().st_size


def grows(share: float) -> Callable[[Running, Path, int], None]:
    """Wait until the output has this share of its size."""

    def wait(run: Running, part: Path, size: int) -> None:
        while not part.exists() or part.stat().st_size < share * size:
            assert run.process.poll() is None
            time.sleep(0.001)

    return wait


def flushes(run: Running, part: Path, size: int) -> None:
    """Wait until the stages' threads have ended: the encoder is emptied, the file finished."""
    grows(0.5)(run, part, size)
    threads = Path(f"/proc/{run.process.pid}/task")
    most = 0
    while (now := len(list(threads.iterdir()))) > most - 4:  # decode, scale twice, finish
        assert run.process.poll() is None
        most = max(most, now)


# How to wait for each part of a run, and how it may then end.
PHASES: dict[str, tuple[Callable[[Running, Path, int], None], set[str]]] = {
    "start": (starts, {"wsshm starts", "no frame yet"}),
    "load": (loads, {"wsshm starts", "no frame yet"}),
    "first frame": (grows(1e-6), {"no frame yet", "stopped"}),
    "middle": (grows(0.3), {"stopped"}),
    "flush": (flushes, {"stopped", "finished"}),
}


def signal_in(
    phase: str, signum: int, whole: Whole, moving: Path, model: Path, folder: Path
) -> None:
    wait, cases = PHASES[phase]
    with Running(["run", moving, "--model", model, "-o", "out.mp4", "--json"], folder) as run:
        wait(run, folder / "out.part.mp4", whole.size)
        os.kill(run.process.pid, signum)
        ended = run.finish()
    assert check(ended, True, signum, folder, folder / "out.mp4", 1500) in cases, ended


@pytest.mark.parametrize(
    ("phase", "signum"), [(phase, SIGNALS[i % 3]) for i, phase in enumerate(PHASES)]
)
def test_signal_in_every_phase(
    phase: str, signum: int, whole: Whole, moving: Path, ones: Path, tmp_path: Path
) -> None:
    signal_in(phase, signum, whole, moving, ones, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("phase", ["load", "first frame", "middle", "flush"])
def test_many_signals_in_every_phase(
    phase: str, whole: Whole, moving: Path, ones: Path, tmp_path: Path
) -> None:
    """25 fresh processes for each, which makes a hundred."""
    for i in range(25):
        (tmp_path / f"{i}").mkdir()
        signal_in(phase, SIGNALS[i % 3], whole, moving, ones, tmp_path / f"{i}")
        shutil.rmtree(tmp_path / f"{i}")


def test_third_signal_exits_at_once(moving: Path, ones: Path, tmp_path: Path) -> None:
    """The third leaves without finishing: no summary, at once, and the unfinished file stays."""
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], tmp_path) as run:
        part = tmp_path / "out.part.mp4"
        while not part.exists() or not part.stat().st_size:
            assert run.process.poll() is None
            time.sleep(0.001)
        # Stopped, so that all three are seen in one go, whatever the run would have managed
        # between them. Of each signal one can be pending: hence two kinds and a pause.
        os.kill(run.process.pid, signal.SIGSTOP)
        os.kill(run.process.pid, signal.SIGINT)
        os.kill(run.process.pid, signal.SIGTERM)
        os.kill(run.process.pid, signal.SIGCONT)
        time.sleep(0.002)
        os.kill(run.process.pid, signal.SIGINT)
        ended = run.finish()
    assert ended.seconds <= 0.5
    assert "Traceback" not in ended.stderr
    assert ended.returncode == 128 + signal.SIGINT, ended


@pytest.mark.parametrize("signum", SIGNALS)
def test_earlier_output_survives(signum: int, moving: Path, ones: Path, tmp_path: Path) -> None:
    """An interrupted --overwrite leaves the earlier file alone and names what it has."""
    output = tmp_path / "out.mp4"
    shutil.copy(moving, output)
    before = output.read_bytes()
    args = ["run", moving, "--model", ones, "-o", "out.mp4", "--overwrite", "--json"]
    with Running(args, tmp_path) as run:
        part = tmp_path / "out.part.mp4"
        while not part.exists() or part.stat().st_size < 20_000:
            assert run.process.poll() is None
            time.sleep(0.001)
        os.kill(run.process.pid, signum)
        ended = run.finish()
    assert ended.seconds <= LIMIT
    assert ended.returncode == 128 + signum, ended.stderr
    assert output.read_bytes() == before
    assert parts(tmp_path) == [part]
    warned = [x for x in ended.stderr.splitlines() if x.startswith("wsshm: warning: ")]
    assert any("out.part.mp4" in x for x in warned), ended.stderr
    assert ended.summary is not None
    assert ended.summary["left"] == ["out.part.mp4"]
    assert ended.summary["outputs"] == []
    assert decode(part).frames == reported(ended) > 0
