"""A full disk, on a real small one and under a limit of file size: what fits is kept and plays."""

from __future__ import annotations

import errno
import json
import os
import re
import resource
import shutil
import subprocess
import time
from pathlib import Path

import cv2
import pytest

from tests.conftest import one_error_line
from tests.faults.helpers import GOP, Running, command, decode, disk, parts

TOTAL = 1500  # frames of `moving`
FULL = {"disk": os.strerror(errno.ENOSPC), "limit": os.strerror(errno.EFBIG)}


def written(line: str, total: int = TOTAL) -> int:
    """N of the ``N of M frames written`` in an error line."""
    match = re.search(rf"\((\d+) of {total} frames written\)", line)
    assert match, line
    return int(match[1])


def run_limited(args: list[object], cwd: Path, limit: int) -> subprocess.CompletedProcess[str]:
    """Run wsshm where no file may grow over `limit` bytes."""

    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    return subprocess.run(
        command(*args), cwd=cwd, capture_output=True, text=True, timeout=50, preexec_fn=lower
    )


def run_filling(args: list[object], cwd: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run wsshm until `folder`'s disk is full, and see that it is over within 2 s of that."""
    with Running(args, cwd) as run:
        while os.statvfs(folder).f_bavail and run.process.poll() is None:
            time.sleep(0.001)
        ended = run.finish()
    assert ended.seconds <= 2.0
    return subprocess.CompletedProcess([], ended.returncode, ended.stdout, ended.stderr)


def check(
    result: subprocess.CompletedProcess[str], kept: Path, output: Path, words: str, room: int
) -> None:
    """Exit code, the one line, every frame that it names, and as many as went into `room` bytes.

    A GOP that did not fit any more is a twentieth of that or less.
    """
    assert result.returncode == 74, result.stderr
    frames = written(one_error_line(result, output, words))
    assert GOP < frames < TOTAL
    held = decode(kept)
    assert held.frames == frames
    assert held.samples > 0
    print(f"{frames} frames in {kept.stat().st_size} of {room} bytes")
    assert kept.stat().st_size >= 0.9 * room
    summary = json.loads(result.stdout)
    assert summary["frames"] == frames
    assert summary["exit_code"] == 74


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("kilobytes", [400, 500])
def test_full_disk(kilobytes: int, suffix: str, moving: Path, ones: Path, tmp_path: Path) -> None:
    """What fits is finished under its final name; the input is as it was."""
    before = moving.read_bytes()
    with disk(tmp_path / "disk", kilobytes) as folder:
        output = folder / f"out{suffix}"
        args: list[object] = ["run", moving, "--model", ones, "-o", output, "--json"]
        result = run_filling(args, tmp_path, folder)
        check(result, output, output, FULL["disk"], 1024 * kilobytes)
        assert not parts(folder)
    assert moving.read_bytes() == before


@pytest.mark.parametrize(("suffix", "kilobytes"), [(".mov", 4000), (".webm", 400), (".mkv", 400)])
def test_full_disk_with_alpha(
    suffix: str, kilobytes: int, moving: Path, ones: Path, tmp_path: Path
) -> None:
    """The same for transparent video, whose encoders keep nothing inside."""
    with disk(tmp_path / "disk", kilobytes) as folder:
        output = folder / f"out{suffix}"
        args: list[object] = ["run", moving, "--model", ones, "--save", "foreground", "--json"]
        result = run_filling([*args, "-o", output], tmp_path, folder)
        check(result, output, output, FULL["disk"], 1024 * kilobytes)
        assert not parts(folder)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_file_size_limit(suffix: str, moving: Path, ones: Path, tmp_path: Path) -> None:
    """The same for a file that may not grow on, which needs no privilege to try."""
    before = moving.read_bytes()
    output = tmp_path / f"out{suffix}"
    args: list[object] = ["run", moving, "--model", ones, "-o", output, "--json"]
    result = run_limited(args, tmp_path, 400_000)
    check(result, output, output, FULL["limit"], 400_000)
    assert not parts(tmp_path)
    assert moving.read_bytes() == before


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("how", ["disk", "limit"])
def test_earlier_output_survives(
    how: str, suffix: str, moving: Path, ones: Path, tmp_path: Path
) -> None:
    """With --overwrite, an earlier file is not touched; what fitted is beside it and named."""

    def run(folder: Path) -> None:
        output, part = folder / f"out{suffix}", folder / f"out.part{suffix}"
        shutil.copy(small, output)
        before = output.read_bytes()
        args: list[object] = ["run", moving, "--model", ones, "-o", output, "--overwrite", "--json"]
        if how == "disk":
            result, room = run_filling(args, tmp_path, folder), 500 * 1024 - len(before)
        else:
            result, room = run_limited(args, tmp_path, 400_000), 400_000
        check(result, part, output, FULL[how], room)
        assert output.read_bytes() == before
        assert parts(folder) == [part]
        warned = [x for x in result.stderr.splitlines() if x.startswith("wsshm: warning: ")]
        assert any(str(part) in x for x in warned), result.stderr
        assert json.loads(result.stdout)["left"] == [str(part)]
        assert json.loads(result.stdout)["outputs"] == []

    small = tmp_path / "small.bin"
    small.write_bytes(moving.read_bytes()[:50_000])
    if how == "disk":
        with disk(tmp_path / "disk", 500) as folder:
            run(folder)
    else:
        (tmp_path / "folder").mkdir()
        run(tmp_path / "folder")


def test_disk_without_any_room(moving: Path, ones: Path, tmp_path: Path) -> None:
    """Not one frame fits: no output, nothing left beside it."""
    with disk(tmp_path / "disk", 64) as folder:
        (folder / "filler").write_bytes(bytes(os.statvfs(folder).f_bavail * 4096))
        assert not os.statvfs(folder).f_bavail
        output = folder / "out.mp4"
        result = subprocess.run(
            command("run", moving, "--model", ones, "-o", output),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert result.returncode == 74, result.stderr
        one_error_line(result, output, FULL["disk"], "free some space")
        assert [p.name for p in folder.iterdir()] == ["filler"]


@pytest.mark.parametrize("kind", ["mkv", "y4m"])
def test_standard_output_is_full(kind: str, moving: Path, ones: Path, tmp_path: Path) -> None:
    """``-o - > /dev/full``: not a reader that has seen enough, but a fault."""
    with open("/dev/full", "wb") as full:
        result = subprocess.run(
            command("run", moving, "--model", ones, "-o", "-", "--format", kind),
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
        )
    assert result.returncode == 74, result.stderr
    one_error_line(result, "-:", FULL["disk"])


def test_images_on_a_full_disk(moving: Path, ones: Path, tmp_path: Path) -> None:
    """Of a folder of images, each one reported is there and whole, and no other."""
    with disk(tmp_path / "disk", 1000) as folder:
        output = folder / "images"
        args: list[object] = ["run", moving, "--model", ones, "--bg", "transparent", "-o", output]
        result = run_filling(args, tmp_path, folder)
        assert result.returncode == 74, result.stderr
        frames = written(one_error_line(result, output, FULL["disk"]))
        assert frames > 0
        assert [p.name for p in sorted(output.iterdir())] == [
            f"{i + 1:06d}.png" for i in range(frames)
        ]
        for path in output.iterdir():
            pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
            assert pixels is not None, path
            assert pixels.shape == (120, 160, 4)
