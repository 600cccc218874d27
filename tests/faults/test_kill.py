"""SIGKILL at any moment: what was written up to about a second before can be played."""

from __future__ import annotations

import os
import random
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, Wsshm
from tests.faults.helpers import GOP, Running, decode, moving_clip, parts

TOTAL, LATE = 900, 600
SOUNDS = ["sound", "sound that ends", "sound that starts late", "silent"]

# `wsshm run` without its words: the job itself in a process of its own, which notes in a file how
# many frames the encoder has been given. The page cache outlives the process, so that after the
# kill the note is exact. Given a number of frames, it kills itself at exactly that one.
JOB = """
import os, signal, struct, sys
from pathlib import Path
from engines.video.config import RunConfig
from engines.video.run import run
source, model, output, note, last = sys.argv[1:]
fd = os.open(note, os.O_CREAT | os.O_WRONLY, 0o600)


def on_frame(n):
    os.pwrite(fd, struct.pack("<q", n), 0)
    if n == int(last):
        os.kill(os.getpid(), signal.SIGKILL)


run(RunConfig(Path(source), Path(output), "#00b140", model=model), on_frame=on_frame)
"""


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """900 frames: with sound, with sound that ends early or starts late, and without."""
    folder = tmp_path_factory.mktemp("kill")
    return {
        "sound": moving_clip(folder / "sound.mp4", TOTAL),
        "sound that ends": moving_clip(folder / "ends.mp4", TOTAL, sounding=(0, 90)),
        "sound that starts late": moving_clip(folder / "late.mp4", TOTAL, sounding=(LATE, TOTAL)),
        "silent": moving_clip(folder / "silent.mp4", TOTAL, audio=False),
    }


def given(note: Path) -> int:
    """Frames that the encoder has been given."""
    data = note.read_bytes() if note.exists() else b""
    return int(struct.unpack("<q", data)[0]) if len(data) == 8 else 0


def kill_after(frames: int, clip: Path, model: Path, output: Path, exact: bool = False) -> int:
    """Run the job, SIGKILL it once `frames` frames are with the encoder; how many there were.

    Args:
        exact: at just that frame, not some time after it.
    """
    note, last = output.with_name("note"), str(frames if exact else 0)
    args = [sys.executable, "-c", JOB, str(clip), str(model), str(output), str(note), last]
    with subprocess.Popen(args, cwd=REPOSITORY) as process:
        while not exact and given(note) < frames:
            assert process.poll() is None, "the job ended before it could be killed"
            time.sleep(0.0005)
        if not exact:
            os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the job ended before it could be killed"
    return given(note)


def check(part: Path, frames: int, held_back: int) -> None:
    """The bound of this file, see `test_kill`."""
    held = decode(part, cut=True)
    least = frames - held_back - GOP - 1
    assert held.frames >= least, f"{held.frames} of {frames} frames kept, {least} promised"
    assert held.frames <= frames + 1  # the note is written just after the frame


def trial(
    frames: int,
    clip: Path,
    model: Path,
    folder: Path,
    suffix: str,
    held_back: int,
    exact: bool = False,
) -> Path:
    """One kill; returns what it left."""
    folder.mkdir()
    there = kill_after(frames, clip, model, folder / f"out{suffix}", exact)
    assert not (folder / f"out{suffix}").exists()
    (part,) = parts(folder)
    assert part.name == f"out.part{suffix}"
    check(part, there, held_back)
    return part


def moments(trials: int, held_back: int, sound: str, suffix: str) -> list[int]:
    """Seeded random frame numbers, from where something must have been kept.

    FFmpeg's mp4 muxer writes nothing before every stream has begun.
    """
    rng = random.Random(612)
    begun = LATE if "late" in sound and suffix != ".mkv" else 0
    first = begun + 2 * GOP + held_back + 1
    return [rng.randrange(first, TOTAL - 2 * GOP) for _ in range(trials)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_kill(
    sound: str, suffix: str, clips: dict[str, Path], ones: Path, held_back: int, tmp_path: Path
) -> None:
    """SIGKILL loses at most one GOP, one frame, and what the encoder holds.

    The bound: of the N frames given to the encoder before the kill, `held_back` may still be
    inside it (measured on these images with the product's own options: look-ahead and B-frames)
    and have never been packets. Of the N - `held_back` packets given to the muxer, one may wait to
    be interleaved with the sound, and those since the last key frame before it, at most GOP = one
    second of them, may not be on disk yet. All others decode,
    without one error. The kernel may end a write half-way when its process is killed: one packet
    that the end of the file cuts short is allowed, and not counted.
    """
    for i, frames in enumerate(moments(2, held_back, sound, suffix)):
        trial(frames, clips[sound], ones, tmp_path / f"{i}", suffix, held_back)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("sound", ["sound", "sound that ends"])
def test_kill_at_the_worst_frame(
    sound: str, suffix: str, clips: dict[str, Path], ones: Path, held_back: int, tmp_path: Path
) -> None:
    """The bound holds around the frame at which most is in memory.

    That is when the key frame that would send a whole GOP to the disk is about to be let through.
    """
    for after in (0, 1, 2, 4):
        frames = 8 * GOP + held_back + after
        folder = tmp_path / f"{after}"
        trial(frames, clips[sound], ones, folder, suffix, held_back, exact=True)


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("sound", SOUNDS)
def test_many_kills(
    sound: str, suffix: str, clips: dict[str, Path], ones: Path, held_back: int, tmp_path: Path
) -> None:
    """The same, 20 times for each."""
    for i, frames in enumerate(moments(20, held_back, sound, suffix)):
        trial(frames, clips[sound], ones, tmp_path / f"{i}", suffix, held_back)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_next_run_names_what_a_kill_left(
    suffix: str, clips: dict[str, Path], ones: Path, wsshm: Wsshm, tmp_path: Path
) -> None:
    """The command itself is killed; what it left plays, is named by the next run, and stays."""
    part, output = tmp_path / f"out.part{suffix}", tmp_path / f"out{suffix}"
    args = ["run", clips["sound"], "--model", ones, "-o", output.name]
    with Running(list(args), tmp_path) as run:
        while not part.exists() or part.stat().st_size < 100_000:
            assert run.process.poll() is None
            time.sleep(0.001)
        os.kill(run.process.pid, signal.SIGKILL)
        ended = run.finish()
    assert ended.returncode == -signal.SIGKILL
    left = part.read_bytes()
    assert decode(part, cut=True).frames >= GOP
    assert not output.exists()
    result = wsshm(*args)
    assert result.returncode == 0, result.stderr
    told = [x for x in result.stderr.splitlines() if x.startswith("wsshm: warning: ")]
    named = [x for x in told if part.name in x]
    assert len(named) == 1, result.stderr
    assert decode(output).frames == TOTAL
    assert parts(tmp_path) == [part]
    assert part.read_bytes() == left
