"""SIGINT and SIGTERM at any moment of `wsshm run`: what was written is finished and kept."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.helpers import Ended, Running, decode, parts

SIGNALS = (signal.SIGINT, signal.SIGTERM)
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
    assert re.match(rf"{frames} frames in ", last), last
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
        assert ended.returncode in (-signum, 128 + signum), told
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
    if frames == total and (ended.returncode == 0 or not ours):
        assert ended.returncode in (0, -signum), told
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
    """Seeded random moments, one in each of `trials` equal parts of a run, both signals in turn."""
    rng = random.Random(20240624)
    return [
        ((i + rng.random()) / trials * length * 1.02, SIGNALS[(i + i // 2) % 2])
        for i in range(trials)
    ]


def run_trials(trials: int, to: str, whole: Whole, moving: Path, model: Path, folder: Path) -> None:
    seen = []
    for i, (moment, signum) in enumerate(moments(trials, whole.seconds)):
        case = trial(moment, signum, moving, model, folder / f"{i}", to)
        seen.append(f"{signal.Signals(signum).name} after {moment:.2f} s: {case}")
        shutil.rmtree(folder / f"{i}")
    landed = [x for x in seen if x.endswith("stopped")]
    assert len(landed) >= trials // 4, "too few signals landed inside: " + "; ".join(seen)


def test_signals_at_random_moments(whole: Whole, moving: Path, ones: Path, tmp_path: Path):
    """From Python's start to the end of the run, every exit is quick, clean and loses nothing."""
    run_trials(4, ".mp4", whole, moving, ones, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("to", [".mp4", ".mkv"])
def test_signals_at_many_moments(to: str, whole: Whole, moving: Path, ones: Path, tmp_path: Path):
    """The same, 40 times for each container."""
    run_trials(40, to, whole, moving, ones, tmp_path)


@pytest.mark.parametrize("signum", SIGNALS)
def test_signal_before_the_first_frame(signum: int, moving: Path, ones: Path, tmp_path: Path):
    """As soon as wsshm has taken the signal over, which is before its imports and the engine."""
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], tmp_path) as run:
        while not run.handles_signals():
            assert run.process.poll() is None
        os.kill(run.process.pid, signum)
        ended = run.finish()
    case = check(ended, True, signum, tmp_path, tmp_path / "out.mp4", 1500)
    assert case in ("wsshm starts", "no frame yet"), case


@pytest.mark.parametrize("signum", SIGNALS)
def test_signal_while_the_engine_loads(signum: int, moving: Path, ones: Path, tmp_path: Path):
    """When ONNX Runtime's library is in memory and no output has been begun."""
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], tmp_path) as run:
        maps = Path(f"/proc/{run.process.pid}/maps")
        while "onnxruntime" not in maps.read_text():
            assert run.process.poll() is None
        begun = (tmp_path / "out.part.mp4").exists()
        os.kill(run.process.pid, signum)
        ended = run.finish()
    assert not begun
    assert ended.returncode == 128 + signum, ended.stderr
    check(ended, True, signum, tmp_path, tmp_path / "out.mp4", 1500)


@pytest.mark.parametrize("signum", SIGNALS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_signal_when_a_share_is_written(
    share: float, signum: int, whole: Whole, moving: Path, ones: Path, tmp_path: Path
):
    """When the file is begun, on the way and near the end, by how far the file has grown."""
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], tmp_path) as run:
        part = tmp_path / "out.part.mp4"
        while not part.exists() or part.stat().st_size < share * whole.size:
            assert run.process.poll() is None
            time.sleep(0.001)
        os.kill(run.process.pid, signum)
        ended = run.finish()
    assert ended.returncode == 128 + signum, ended.stderr
    case = check(ended, True, signum, tmp_path, tmp_path / "out.mp4", 1500)
    assert case in ("no frame yet", "stopped"), case


def test_third_signal_exits_at_once(moving: Path, ones: Path, tmp_path: Path):
    """The third leaves without finishing: no summary, at once, and the unfinished file stays."""
    with Running(["run", moving, "--model", ones, "-o", "out.mp4", "--json"], tmp_path) as run:
        while not (tmp_path / "out.part.mp4").exists():
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
def test_earlier_output_survives(signum: int, moving: Path, ones: Path, tmp_path: Path):
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
