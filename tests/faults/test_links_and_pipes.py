"""Outputs that are no ordinary files: links, named pipes, devices, open files; and long names."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import cv2
import pytest

from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import Running, command, decode, image, parts
from tests.media import noise_clip, portrait_frame


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return noise_clip(tmp_path / "in.mp4", 8)


def warned(stderr: str) -> list[str]:
    return [x for x in stderr.splitlines() if x.startswith("wsshm: warning: ")]


@pytest.mark.parametrize("save", ["composite", "alpha"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_link_is_written_where_it_points(
    suffix: str, save: str, clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """Through a chain, to another folder; first to nothing, then with ``--overwrite``."""
    there, link = tmp_path / "there", tmp_path / f"out{suffix}"
    there.mkdir()
    link.symlink_to(tmp_path / "next")
    (tmp_path / "next").symlink_to(there / f"film{suffix}")
    args: list[object] = ["run", clip, "--model", ones, "-o", link, "--save", save]
    result = wsshm(*args)
    assert result.returncode == 0, result.stderr
    one_error_line(wsshm(*args), link, "exists already")
    result = wsshm(*args, "--overwrite")
    assert result.returncode == 0, result.stderr
    assert link.is_symlink()
    assert [p.name for p in there.iterdir()] == [f"film{suffix}"]
    assert decode(there / f"film{suffix}").frames == 8
    assert not parts(tmp_path)


def test_link_to_another_file_system(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """The unfinished file lies where the film will be, so that it can be renamed."""
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system")
    film = memory / f"wsshm-{os.getpid()}.mp4"
    (tmp_path / "out.mp4").symlink_to(film)
    try:
        result = wsshm("run", clip, "--model", ones, "-o", "out.mp4")
        assert result.returncode == 0, result.stderr
        assert decode(film).frames == 8
    finally:
        film.unlink(missing_ok=True)


@pytest.mark.parametrize("name", ["out.mp4", "out.png", "out"])
def test_links_in_a_circle(name: str, clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """One line, before any work."""
    (tmp_path / name).symlink_to(tmp_path / "back")
    (tmp_path / "back").symlink_to(tmp_path / name)
    source = image(tmp_path / "in.png") if name == "out.png" else clip
    result = wsshm("run", source, "--model", ones, "-o", name)
    assert result.returncode == 73
    one_error_line(result, name, "symbolic links")


def test_link_without_a_folder(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    (tmp_path / "out.mp4").symlink_to(tmp_path / "none" / "film.mp4")
    result = wsshm("run", clip, "--model", ones, "-o", "out.mp4")
    assert result.returncode == 73
    one_error_line(result, "out.mp4", "does not exist")


def test_links_of_images(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """An image, and a folder of them that is not there yet."""
    source = image(tmp_path / "in.png")
    (tmp_path / "out.png").symlink_to(tmp_path / "real.png")
    (tmp_path / "frames").symlink_to(tmp_path / "real")
    result = wsshm("run", source, "--model", ones, "-o", "out.png")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.png").is_symlink()
    assert cv2.imread(str(tmp_path / "real.png")) is not None
    result = wsshm("run", clip, "--model", ones, "-o", "frames")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "frames").is_symlink()
    assert len(list((tmp_path / "real").iterdir())) == 8


def test_two_links_to_one_file(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    for name in ("o.mp4", "o_alpha.mp4"):
        (tmp_path / name).symlink_to(tmp_path / "film.mp4")
    args = ["--save", "composite", "--save", "alpha"]
    result = wsshm("run", clip, "--model", ones, "-o", "o.mp4", *args)
    assert result.returncode == 2
    one_error_line(result, "same output twice")


def test_null_device(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """A test of speed: Matroska unless told otherwise; other outputs lie beside the input."""
    before = os.stat("/dev/null")
    result = wsshm("run", clip, "--model", ones, "-o", "/dev/null")
    assert result.returncode == 0, result.stderr
    assert warned(result.stderr) == ["wsshm: warning: /dev/null: written as .mkv"]
    assert "8 frames" in result.stderr
    args = ["--format", "y4m", "--save", "composite", "--save", "alpha", "--overwrite"]
    result = wsshm("run", clip, "--model", ones, "-o", "/dev/null", *args)
    assert result.returncode == 0, result.stderr
    assert decode(tmp_path / "in_alpha.mp4").frames == 8
    result = wsshm("run", image(tmp_path / "me.png"), "--model", ones, "-o", "/dev/null")
    assert result.returncode == 0, result.stderr
    after = os.stat("/dev/null")
    assert (before.st_ino, before.st_mode) == (after.st_ino, after.st_mode)
    result = wsshm("run", clip, "--model", ones, "-o", "/dev/full")
    assert result.returncode == 74, result.stderr
    one_error_line(result, "/dev/full", "No space left")


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("name", ["pipe", "pipe.webm", "pipe.y4m"])
def test_named_pipe(name: str, overwrite: bool, clip: Path, ones: Path, tmp_path: Path) -> None:
    """It is written into, waits for its reader, and its reader gets the film and its end."""
    os.mkfifo(tmp_path / name)
    args = ["run", clip, "--model", ones, "-o", name, *["--overwrite"] * overwrite]
    with (
        Running(list(args), tmp_path) as run,
        subprocess.Popen(["cat", str(tmp_path / name)], stdout=subprocess.PIPE) as reader,
    ):
        data = reader.communicate(timeout=40)[0]
        ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / name).is_fifo()
    (tmp_path / "read").write_bytes(data)
    assert decode(tmp_path / "read").frames == 8


def test_signal_while_nobody_reads(clip: Path, ones: Path, tmp_path: Path) -> None:
    """The wait for a reader is said, and ends with Ctrl-C."""
    os.mkfifo(tmp_path / "pipe")
    process = subprocess.Popen(
        command("run", clip, "--model", ones, "-o", "pipe"),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    while "waiting for a program that reads it" not in process.stderr.readline():
        assert process.poll() is None
    process.send_signal(2)
    process.communicate(timeout=20)
    assert process.returncode == 130


def test_reader_of_a_run_that_fails(clip: Path, ones: Path, tmp_path: Path) -> None:
    """A model that is not there: the reader sees the end, and does not wait for ever."""
    os.mkfifo(tmp_path / "pipe")
    with subprocess.Popen(["cat", str(tmp_path / "pipe")], stdout=subprocess.PIPE) as reader:
        args = command("run", clip, "--model", tmp_path / "none.onnx", "-o", "pipe")
        done = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True, timeout=40)
        assert done.returncode != 0
        assert reader.communicate(timeout=10)[0] == b""


def test_pipe_that_needs_a_file(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    result = wsshm("run", clip, "--model", ones, "-o", "pipe.mp4", "--overwrite")
    assert result.returncode == 2
    one_error_line(result, "pipe.mp4", ".mp4 cannot be written into a pipe; add --format mkv")
    assert (tmp_path / "pipe.mp4").is_fifo()


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_names_of_standard_output(name: str, clip: Path, ones: Path, tmp_path: Path) -> None:
    """They are what ``-o -`` is, be it a pipe or a file."""
    args = command("run", clip, "--model", ones, "-o", name)
    done = subprocess.run(args, cwd=tmp_path, capture_output=True, timeout=40)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "file.mkv").open("wb") as file:
        assert subprocess.run(args, cwd=tmp_path, stdout=file, timeout=40).returncode == 0
    (tmp_path / "read.mkv").write_bytes(done.stdout)
    for film in ("read.mkv", "file.mkv"):
        assert decode(tmp_path / film).frames == 8
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file.mkv", "in.mp4", "read.mkv"]


def test_another_open_file(clip: Path, ones: Path, tmp_path: Path) -> None:
    read, write = os.pipe()
    args = command("run", clip, "--model", ones, "-o", f"/dev/fd/{write}")
    with subprocess.Popen(args, cwd=tmp_path, pass_fds=[write], stderr=subprocess.PIPE) as process:
        os.close(write)
        with os.fdopen(read, "rb") as file:
            (tmp_path / "read.mkv").write_bytes(file.read())
        assert process.wait(20) == 0
    assert decode(tmp_path / "read.mkv").frames == 8


def test_second_run_on_one_name(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """73 in one line, before any work, as long as the first one runs; and not afterwards."""
    first = ["run", "-", "--model", ones, "-o", "out.mp4"]
    with subprocess.Popen(
        command(*first), cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(noise_clip(tmp_path / "in.ts", 60, codec="mpeg2video").read_bytes())
        process.stdin.flush()
        while not (tmp_path / "out.part.mp4").exists():
            assert process.poll() is None
            time.sleep(0.01)
        for name in ("out.mp4", "./out.mp4"):
            began = time.perf_counter()
            second = wsshm("run", clip, "--model", tmp_path / "none.onnx", "-o", name)
            assert second.returncode == 73
            one_error_line(second, "out.mp4: another run is writing it")
            assert warned(second.stderr) == []
            assert time.perf_counter() - began < 10
        process.kill()
    left = (tmp_path / "out.part.mp4").stat().st_size
    result = wsshm("run", clip, "--model", ones, "-o", "out.mp4")
    assert result.returncode == 0, result.stderr
    assert bool(warned(result.stderr)) == bool(left)
    assert decode(tmp_path / "out.mp4").frames == 8


def test_second_run_into_one_folder(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """Likewise for images, although ``--overwrite`` would let it add to them."""
    clip = noise_clip(tmp_path / "in.mp4", 8)
    first = command("run", "-", "--model", ones, "-o", "out/")
    with subprocess.Popen(
        first, cwd=tmp_path, stdin=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        process.stdin.write(noise_clip(tmp_path / "in.ts", 60, codec="mpeg2video").read_bytes())
        process.stdin.flush()
        while not (tmp_path / "out").exists():
            assert process.poll() is None
            time.sleep(0.01)
        second = wsshm("run", clip, "--model", ones, "-o", "out/", "--overwrite")
        assert second.returncode == 73
        one_error_line(second, "out: another run is writing it")
        process.kill()
    result = wsshm("run", clip, "--model", ones, "-o", "out/", "--overwrite")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "out").glob("*.png"))) >= 8


def test_run_that_does_not_begin_leaves_nothing(clip: Path, wsshm: Wsshm, tmp_path: Path) -> None:
    """The empty unfinished file, which keeps others away, goes with it."""
    for name in ("out.mp4", "out/"):
        result = wsshm("run", clip, "--model", tmp_path / "none.onnx", "-o", name)
        assert result.returncode != 0
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("stem", "suffix"), [("x" * 251, ".mp4"), ("人" * 83, ".mkv"), ("é" * 125, ".png")]
)
def test_longest_names(
    stem: str, suffix: str, clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """250 to 255 bytes, more than which no file system takes with ``.part`` in it."""
    source = clip
    if suffix == ".png":
        source = tmp_path / "in.png"
        cv2.imwrite(str(source), portrait_frame(0.5, 64, 48))
    result = wsshm("run", source, "--model", ones, "-o", stem + suffix)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / (stem + suffix)).is_file()
    assert not parts(tmp_path)


def test_name_that_gets_too_long(clip: Path, wsshm: Wsshm, tmp_path: Path) -> None:
    """``NAME_wsshm.mp4`` of a long name: refused before the network is loaded."""
    named = clip.rename(tmp_path / ("x" * 250 + ".mp4"))
    result = wsshm("run", named, "--model", tmp_path / "none.onnx")
    assert result.returncode == 73
    one_error_line(result, "File name too long")
