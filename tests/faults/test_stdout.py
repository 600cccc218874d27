"""``-o -``: video on standard output and nothing else, and a reader that leaves early."""

from __future__ import annotations

import io
import os
import pty
import subprocess
import time
from pathlib import Path

import av
import pytest

from engines.video import frame as fr
from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import command, decode
from tests.media import noise_clip, probe


def piped(args: list[object], cwd: Path) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(command(*args), cwd=cwd, capture_output=True, timeout=50)


def packets(path: Path) -> list[tuple[int, int | None, int | None, bytes]]:
    """Stream, pts, dts and bytes of all packets of a file."""
    with av.open(str(path)) as container:
        return [(p.stream_index, p.pts, p.dts, bytes(p)) for p in container.demux()]


@pytest.mark.parametrize("save", ["composite", "alpha", "foreground"])
@pytest.mark.parametrize("kind", ["mkv", "webm"])
def test_stdout_holds_what_a_file_would(
    kind: str, save: str, portrait: Path, ones: Path, tmp_path: Path
) -> None:
    """Every packet is that of ``-o FILE``, to the byte; and every byte belongs to the container."""
    args: list[object] = ["run", portrait, "--model", ones, "--save", save]
    result = piped([*args, "-o", "-", "--format", kind], tmp_path)
    assert result.returncode == 0, result.stderr
    stream, file = tmp_path / "stream", tmp_path / f"file.{kind}"
    stream.write_bytes(result.stdout)
    assert result.stdout.startswith(b"\x1a\x45\xdf\xa3")  # EBML
    done = piped([*args, "-o", file], tmp_path)
    assert done.returncode == 0, done.stderr
    assert packets(stream) == packets(file)
    held = decode(stream)
    assert held.frames == 60
    assert bool(held.samples) == (save != "alpha")
    assert not (tmp_path / "-").exists()


def test_matroska_is_the_default(portrait: Path, ones: Path, tmp_path: Path) -> None:
    """Other tools read it from a pipe, without going back."""
    result = piped(["run", portrait, "--model", ones, "-o", "-", "--duration", 0.5], tmp_path)

    class Pipe(io.RawIOBase):
        def __init__(self, data: bytes):
            self._data = io.BytesIO(data)

        def readable(self) -> bool:
            return True

        def read(self, size: int = -1) -> bytes:
            return self._data.read(size)

    with av.open(Pipe(result.stdout), "r") as container:
        assert "matroska" in container.format.name
        assert sum(1 for _ in container.decode(video=0)) == 15


def test_raw_images(ones: Path, tmp_path: Path) -> None:
    """y4m: a header, then each image's planes, to the last byte; a file is the same."""
    clip = noise_clip(tmp_path / "in.mkv", 5, 66, 50, codec="ffv1")
    piped(["run", clip, "--model", ones, "-o", tmp_path / "out.y4m"], tmp_path)
    result = piped(["run", clip, "--model", ones, "-o", "-", "--format", "y4m"], tmp_path)
    assert result.returncode == 0, result.stderr
    header, _, rest = result.stdout.partition(b"\n")
    assert header.startswith(b"YUV4MPEG2 W66 H50 F30:1 ")
    expected = b""
    with av.open(str(clip)) as container:
        for frame in container.decode(video=0):
            expected += b"FRAME\n" + b"".join(p.tobytes() for p in fr.planes(frame))
    assert rest == expected
    assert result.stdout == (tmp_path / "out.y4m").read_bytes()


def test_second_output_is_a_file_beside_the_input(ones: Path, tmp_path: Path) -> None:
    """The first goes to standard output, the matte where it goes by default."""
    clip = noise_clip(tmp_path / "in.mp4", 8)
    result = piped(
        ["run", clip, "--model", ones, "-o", "-", "--save", "composite", "--save", "alpha"],
        tmp_path,
    )
    assert result.returncode == 0, result.stderr
    (tmp_path / "out.mkv").write_bytes(result.stdout)
    assert probe(tmp_path / "out.mkv").frames == probe(tmp_path / "in_alpha.mp4").frames == 8


@pytest.mark.parametrize("kind", ["mkv", "webm", "y4m"])
@pytest.mark.parametrize("size", [0, 1, 100, 100_000])
def test_reader_that_leaves(size: int, kind: str, moving: Path, ones: Path, tmp_path: Path) -> None:
    """The run ends at once, with 0 and without a word of error; the input is as it was."""
    before = moving.read_bytes()
    args = command("run", moving, "--model", ones, "-o", "-", "--format", kind)
    with subprocess.Popen(
        args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(size)) == size
        process.stdout.close()
        errors = process.stderr.read().decode()
        code = process.wait(timeout=30)
    assert code == 0, errors
    assert "rror" not in errors
    assert "Traceback" not in errors
    assert "ignored" not in errors
    assert moving.read_bytes() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_head_leaves_twenty_times(moving: Path, ones: Path, tmp_path: Path) -> None:
    """``wsshm run … -o - | head -c N`` ends with 0 within a second of head."""
    seconds = []
    for i in range(20):
        kind, size = (("y4m", "1000000"), ("mkv", "100000"))[i % 2]
        args = command("run", moving, "--model", ones, "-o", "-", "--format", kind)
        with (
            subprocess.Popen(
                args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            ) as run,
            subprocess.Popen(
                ["head", "-c", size], stdin=run.stdout, stdout=subprocess.PIPE
            ) as head,
        ):
            assert run.stdout is not None
            assert run.stderr is not None
            run.stdout.close()  # head's alone now
            seen = head.communicate(timeout=30)[0]
            began = time.perf_counter()
            errors = run.stderr.read().decode()
            code = run.wait(timeout=30)
        seconds.append(time.perf_counter() - began)
        assert len(seen) == int(size)
        assert code == 0, errors
        assert not any(word in errors for word in ("rror", "Traceback", "ignored")), errors
    print(f"{max(seconds):.2f} s from the reader's end to ours at most")
    assert max(seconds) <= 1.0
    assert list(tmp_path.iterdir()) == []


def test_reader_that_leaves_while_a_file_is_written(
    moving: Path, ones: Path, tmp_path: Path
) -> None:
    """What the other output has is finished, and that it ends there is said."""
    clip = tmp_path / "in.mp4"
    clip.symlink_to(moving)
    args = command(
        "run",
        clip,
        "--model",
        ones,
        "-o",
        "-",
        "--format",
        "y4m",
        "--save",
        "composite",
        "--save",
        "alpha",
    )
    with subprocess.Popen(
        args, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.read(2_000_000)
        process.stdout.close()
        errors = process.stderr.read().decode()
        code = process.wait(timeout=30)
    assert code == 0, errors
    assert "warning: -: is not read any more" in errors
    assert 60 <= decode(tmp_path / "in_alpha.mp4").frames < 1500


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["-o", "-", "--json"], "--json"),
        (["-o", "out.mkv", "--format", "mkv"], "--format mkv"),
        (["-o", "-", "--format", "y4m", "--bg", "transparent"], ".y4m cannot hold"),
    ],
)
def test_what_does_not_go_together(
    options: list[str], words: str, portrait: Path, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """2, one line, and not a byte on standard output."""
    result = wsshm("run", portrait, "--model", ones, *options)
    assert result.returncode == 2
    one_error_line(result, words)
    assert result.stdout == ""
    assert list(tmp_path.iterdir()) == []


def test_image_to_stdout_is_refused(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """It is for video."""
    from tests.faults.helpers import image

    result = wsshm("run", image(tmp_path / "in.png"), "--model", ones, "-o", "-")
    assert result.returncode == 2
    one_error_line(result, "-o -", "video")


def test_terminal_gets_no_video(portrait: Path, ones: Path, tmp_path: Path) -> None:
    """Bytes on a terminal are of no use to anybody."""
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run(
            command("run", portrait, "--model", ones, "-o", "-"),
            cwd=tmp_path,
            stdout=theirs,
            stderr=subprocess.PIPE,
            text=True,
            timeout=50,
        )
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 2
    assert "stdout is a terminal" in done.stderr
