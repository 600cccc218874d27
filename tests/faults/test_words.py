"""What a run says can be lost, but never costs its work: stderr closed, full, or unread."""

from __future__ import annotations

import os
import pty
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.helpers import command, decode, disk, parts

TOTAL = 60  # frames of the clip


def run(args: list[object], cwd: Path, **how: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command("run", *args), cwd=cwd, stdin=subprocess.DEVNULL, **how)


def closed() -> None:
    os.close(2)


def all_closed() -> None:
    for descriptor in (0, 1, 2):
        os.close(descriptor)


def whole(folder: Path) -> None:
    """The clip is there, whole, and nothing else."""
    assert decode(folder / "out.mp4").frames == TOTAL
    assert sorted(p.name for p in folder.iterdir()) == ["out.mp4"]


@pytest.mark.parametrize("close", [closed, all_closed])
def test_closed(close: Callable[[], None], portrait: Path, ones: Path, tmp_path: Path) -> None:
    """Also where libraries would print into whatever file took the stream's place."""
    args = [portrait, "--model", ones, "-o", "out.mp4"]
    with run(args, tmp_path, preexec_fn=close) as process:
        assert process.wait(50) == 0
    whole(tmp_path)


def test_full(portrait: Path, ones: Path, tmp_path: Path) -> None:
    args = [portrait, "--model", ones, "-o", "out.mp4"]
    with Path("/dev/full").open("wb") as full, run(args, tmp_path, stderr=full) as process:
        assert process.wait(50) == 0
    whole(tmp_path)


def test_full_disk_of_the_log(portrait: Path, ones: Path, tmp_path: Path) -> None:
    """The log begins on a disk that is full soon; the clip is on another one."""
    folder = tmp_path / "clip"
    folder.mkdir()
    with disk(tmp_path / "disk", 64) as small:
        (small / "filler").write_bytes(b"\0" * 56_000)
        with (small / "log").open("wb") as log:
            args = [portrait, "--model", ones, "-o", "out.mp4"]
            with run(args, folder, stdout=log, stderr=log) as process:
                assert process.wait(50) == 0
    whole(folder)


@pytest.mark.parametrize("after", [0, 1, 100])
def test_reader_that_leaves(after: int, portrait: Path, ones: Path, tmp_path: Path) -> None:
    """As with ``2>&1 | head -1``: stdout and stderr go to a pipe that nobody reads on."""
    args = [portrait, "--model", ones, "-o", "out.mp4"]
    with run(args, tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.read(after)
        process.stdout.close()
        assert process.wait(50) == 0
    whole(tmp_path)


def test_pipe_that_never_waits(portrait: Path, ones: Path, tmp_path: Path) -> None:
    """A full pipe in non-blocking mode, as some parents hand down, refuses what is said."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    try:
        while True:
            os.write(writer, b"." * 4096)
    except BlockingIOError:
        pass
    args = [portrait, "--model", ones, "-o", "out.mp4"]
    with run(args, tmp_path, stderr=writer) as process:
        assert process.wait(50) == 0
    os.close(reader)
    os.close(writer)
    whole(tmp_path)


def test_terminal_that_is_closed(moving: Path, ones: Path, tmp_path: Path) -> None:
    """SIGHUP finishes the clip as Ctrl-C does, with nowhere left to say so."""
    ours, theirs = pty.openpty()
    args = [moving, "--model", ones, "-o", "out.mp4"]
    with subprocess.Popen(
        ["setsid", "--ctty", "--wait", *command("run", *args)],
        cwd=tmp_path,
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        part = tmp_path / "out.part.mp4"
        while not part.exists() or part.stat().st_size < 20_000:
            assert process.poll() is None
            time.sleep(0.001)
        os.close(ours)  # the terminal's window
        process.wait(20)
    deadline = time.monotonic() + 10
    while parts(tmp_path) and time.monotonic() < deadline:  # setsid may leave before
        time.sleep(0.01)
    assert 0 < decode(tmp_path / "out.mp4").frames < 1500
    assert not parts(tmp_path)


@pytest.mark.parametrize("args", [["--help"], ["run", "--help"], ["--version"], ["models", "list"]])
def test_full_stdout(args: list[str], tmp_path: Path) -> None:
    """A result that cannot be printed is an error, of one line."""
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command(*args), stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.stderr == (
        "wsshm: error: stdout: writing failed (No space left on device); "
        "free some space and run again\n"
    )
    assert done.returncode == 74


def test_json_on_a_full_stdout(portrait: Path, ones: Path, tmp_path: Path) -> None:
    """The clip is kept all the same."""
    args = [portrait, "--model", ones, "-o", "out.mp4", "--json"]
    with (
        Path("/dev/full").open("wb") as full,
        run(args, tmp_path, stdout=full, stderr=subprocess.PIPE) as process,
    ):
        _, said = process.communicate(timeout=50)
    assert process.returncode == 74
    assert b"Traceback" not in said
    assert said.splitlines()[-1].startswith(b"wsshm: error: stdout: writing failed")
    whole(tmp_path)
