"""A clip by segments through kills, signals and awkward requests: it goes on, or says why not."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import Running, command, decode, disk, moving_clip
from tests.media import probe

FRAMES = 180
SEGMENTS = 4
HIDDEN = ".out.mkv.segments"
GIVEN = ["--bg", "#204060", "--smooth", "0", "--codec", "ffv1"]


@pytest.fixture(scope="session")
def lecture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six seconds with sound and a key frame every half second."""
    return moving_clip(tmp_path_factory.mktemp("lecture") / "lecture.mp4", FRAMES, gop=15)


@pytest.fixture(scope="session")
def whole(lecture: Path, ones: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What one run makes of it."""
    folder = tmp_path_factory.mktemp("whole")
    args = command("run", lecture, "-o", "out.mkv", *GIVEN, "--model", ones)
    subprocess.run(args, cwd=folder, check=True, capture_output=True)
    return probe(folder / "out.mkv")


def asked(clip: Path, model: Path, *more: object) -> list[object]:
    """By segments that begin with key frames, and are encoded without loss."""
    return ["run", clip, "-o", "out.mkv", *GIVEN, "--model", model, "--segments", "1.2", *more]


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def goes_on(args: list[object], folder: Path) -> dict[str, Any]:
    """The same command again ends well, and leaves nothing but the film."""
    result = subprocess.run(
        command(*args, "--json"), cwd=folder, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr
    assert names(folder) == ["out.mkv"], result.stderr
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def test_a_killed_run_goes_on(lecture: Path, ones: Path, whole: Any, tmp_path: Path) -> None:
    """With the segments that are missing; nothing has the film's name before."""
    args = asked(lecture, ones)
    with Running(args, tmp_path) as run:
        third = tmp_path / HIDDEN / "00003.mkv"
        while not third.exists():
            assert run.process.poll() is None, run.finish()
            time.sleep(0.002)
        run.process.kill()
        run.process.wait()
    assert not (tmp_path / "out.mkv").exists()
    made = {p: p.stat().st_mtime_ns for p in (tmp_path / HIDDEN).glob("0000[12].mkv")}
    assert len(made) == 2
    result = subprocess.run(
        command(*args, "--feather", "3"), cwd=tmp_path, capture_output=True, text=True
    )
    line = one_error_line(result, HIDDEN, "matte.feather was 0.0, is 3.0", "--overwrite")
    assert result.returncode == 73, line
    assert made == {p: p.stat().st_mtime_ns for p in made}
    result = subprocess.run(command(*args), cwd=tmp_path, capture_output=True, text=True)
    assert "finished by an earlier call" in result.stderr, result.stderr
    assert names(tmp_path) == ["out.mkv"]
    assert probe(tmp_path / "out.mkv") == whole


@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", range(4))
def test_kills_at_random_moments(
    lecture: Path, ones: Path, whole: Any, tmp_path: Path, seed: int
) -> None:
    """Again and again, each call a little longer, until one ends by itself."""
    rng = random.Random(seed)
    args = asked(lecture, ones, "--jobs", 1 + seed % 2)
    for call in range(40):
        with Running(args, tmp_path) as run:
            try:
                run.process.wait(rng.uniform(0.3, 2.0 + call / 2))
            except subprocess.TimeoutExpired:
                run.process.kill()
                run.process.wait()
                if (tmp_path / "out.mkv").exists():
                    assert probe(tmp_path / "out.mkv") == whole
                if names(tmp_path) == ["out.mkv"]:  # it was just about to end
                    break
                continue
            ended = run.finish()
        assert ended.returncode == 0, ended
        break
    assert names(tmp_path) == ["out.mkv"]
    assert probe(tmp_path / "out.mkv") == whole


@pytest.mark.long
def test_killed_as_it_joins(lecture: Path, ones: Path, whole: Any, tmp_path: Path) -> None:
    """What was written of the film is no film, and is removed by the next call."""
    args = asked(lecture, ones)
    with Running(args, tmp_path) as run:
        part = tmp_path / "out.part.mkv"
        while not part.exists() or not part.stat().st_size:
            assert run.process.poll() is None, run.finish()
        run.process.kill()
        run.process.wait()
    assert goes_on(args, tmp_path)["segments_left"] == 0
    assert probe(tmp_path / "out.mkv") == whole


@pytest.mark.long
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signal(lecture: Path, ones: Path, whole: Any, tmp_path: Path, signum: int) -> None:
    args = asked(lecture, ones)
    with Running(args, tmp_path) as run:
        while not (tmp_path / HIDDEN / "00002.mkv").exists():
            assert run.process.poll() is None, run.finish()
            time.sleep(0.002)
        run.process.send_signal(signum)
        ended = run.finish()
    assert ended.returncode == 128 + signum, ended
    assert ended.stderr.splitlines()[-1].endswith("the same command goes on from here")
    assert names(tmp_path) == [HIDDEN]
    assert goes_on(args, tmp_path)["segments"] == SEGMENTS
    assert probe(tmp_path / "out.mkv") == whole


def test_what_is_refused_before_a_file_is_looked_at(wsshm: Wsshm, lecture: Path) -> None:
    """In one line; the rest of what is refused is tested without processes of its own."""
    for given, needle in (
        ([lecture, lecture, "--segments", "1", "-o", "all/"], "is for one video"),
        (["-", "--segments", "1", "-o", "out.mp4"], "--segments 1: is for files"),
    ):
        result = wsshm("run", *given)
        assert result.returncode == 2, one_error_line(result, needle)


@pytest.mark.long
def test_the_source_changes(lecture: Path, ones: Path, tmp_path: Path) -> None:
    """Nothing is made of two versions of a clip."""
    clip = tmp_path / "in.mp4"
    shutil.copy(lecture, clip)
    args = asked(clip, ones)
    with Running(args, tmp_path) as run:
        while not (tmp_path / HIDDEN / "00001.mkv").exists():
            assert run.process.poll() is None, run.finish()
            time.sleep(0.002)
        os.utime(clip, (1, 1))
        ended = run.finish()
    assert ended.returncode == 66, ended
    assert "in.mp4: has changed since it was cut" in ended.stderr
    assert names(tmp_path) == [HIDDEN, "in.mp4"]
    assert len(list((tmp_path / HIDDEN).glob("0*.mkv"))) < SEGMENTS  # it was seen at once


@pytest.mark.long
@pytest.mark.parametrize("kilobytes", [300, 900, 1500])
def test_full_disk(lecture: Path, ones: Path, whole: Any, tmp_path: Path, kilobytes: int) -> None:
    """One line; no film; and it goes on where there is more space."""
    with disk(tmp_path / "small", kilobytes) as small:
        result = subprocess.run(
            command(*asked(lecture, ones)), cwd=small, capture_output=True, text=True
        )
        line = one_error_line(result, "No space left on device")
        assert result.returncode == 74, line
        assert not (small / "out.mkv").exists()
        shutil.copytree(small, tmp_path / "large", copy_function=shutil.copy2)
    goes_on(asked(lecture, ones), tmp_path / "large")
    assert probe(tmp_path / "large" / "out.mkv") == whole


@pytest.mark.long
def test_a_clip_that_ends_early(lecture: Path, ones: Path, tmp_path: Path) -> None:
    """What could be read is kept, as by one run."""
    clip = tmp_path / "in.mp4"
    moving_clip(clip, FRAMES, gop=15, muxing={"movflags": "faststart"})
    with clip.open("r+b") as file:
        file.truncate(clip.stat().st_size * 7 // 10)
    given = [*GIVEN, "--model", ones]
    one = subprocess.run(
        command("run", clip, "-o", "one.mkv", *given), cwd=tmp_path, capture_output=True, text=True
    )
    two = subprocess.run(command(*asked(clip, ones)), cwd=tmp_path, capture_output=True, text=True)
    assert one.returncode == two.returncode == 65, (one.stderr, two.stderr)
    assert "ends early" in one_error_line(two)
    assert names(tmp_path) == ["in.mp4", "one.mkv", "out.mkv"]
    assert decode(tmp_path / "out.mkv") == decode(tmp_path / "one.mkv")
    assert probe(tmp_path / "out.mkv").times == probe(tmp_path / "one.mkv").times
