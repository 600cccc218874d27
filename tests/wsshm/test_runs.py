"""`wsshm.run`: files as the command line writes them, progress, and errors of their own types."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import wsshm as door
from tests.conftest import Wsshm
from tests.media import noise_clip, probe
from tests.wsshm.options import FAST, FAST_OPTIONS


def test_it_writes_what_the_command_writes(wsshm: Wsshm, portrait: Path, tmp_path: Path) -> None:
    told = []
    report = door.run(
        portrait,
        tmp_path / "ours.mkv",
        codec="ffv1",  # x264's threads do not always write the same
        background="#00b140",
        save=["composite", "alpha"],
        duration=0.3,
        progress=lambda done, total: told.append((done, total)),
        **FAST,
    )
    assert report.outputs == [tmp_path / "ours.mkv", tmp_path / "ours_alpha.mkv"]
    assert (report.frames, report.model, report.device) == (9, "fast", "cpu")
    assert [done for done, _ in told] == [*range(1, 10)]
    assert {total for _, total in told} == {report.total}
    save = "--save", "composite", "--save", "alpha"
    part = "--bg", "#00b140", "--duration", 0.3, "--codec", "ffv1", "-o", "theirs.mkv"
    assert wsshm("run", portrait, *FAST_OPTIONS, *save, *part).returncode == 0
    for suffix in (".mkv", "_alpha.mkv"):
        ours, theirs = probe(tmp_path / f"ours{suffix}"), probe(tmp_path / f"theirs{suffix}")
        assert (ours.hashes, ours.times, ours.audio) == (theirs.hashes, theirs.times, theirs.audio)


def test_options_reach_the_output(ones: Path, portrait: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "out.mkv")
    door.run(portrait, out, model=ones, codec="ffv1", bits=10, audio=False, start=1.8)
    after = probe(Path(out))
    assert (after.frames, after.audio) == (6, [])
    with pytest.raises(door.CannotCreate, match=r"out.mkv: exists already"):
        door.run(portrait, out, model=ones)
    door.run(portrait, out, model=ones, overwrite=True, start=1.9, background="transparent")
    assert probe(Path(out)).frames == 3
    images = tmp_path / "images"
    images.mkdir()
    for n in range(3):
        cv2.imwrite(str(images / f"{n}.png"), np.full((20, 20, 3), 50 * n, np.uint8))
    assert door.run(images, tmp_path / "v.mp4", model=ones, fps=12.5).frames == 3
    assert len(probe(tmp_path / "v.mp4").times) == 3
    report = door.run(images, f"{tmp_path}/png/", model=ones)
    assert report.outputs == [tmp_path / "png"]
    assert len([*(tmp_path / "png").iterdir()]) == 3


def test_warnings_are_in_the_report_and_the_log(
    zeros: Path, portrait: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    report = door.run(portrait, tmp_path / "out.mp4", model=zeros, duration=0.2)
    assert report.warnings == ["no person was found in any of 6 frames"]
    assert [r.getMessage() for r in caplog.records if r.name == "wsshm"] == report.warnings


def test_an_error_midway_has_the_report(ones: Path, tmp_path: Path) -> None:
    clip = noise_clip(tmp_path / "clip.avi", 60, codec="mpeg4")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    with pytest.raises(door.BadData, match="ends early") as caught:
        door.run(clip, tmp_path / "out.mp4", model=ones)
    assert caught.value.report.outputs == [tmp_path / "out.mp4"]
    assert 0 < caught.value.report.frames == probe(tmp_path / "out.mp4").frames


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        LookupError("enough"),
        ValueError("not enough memory"),
        caused(ValueError("the window is closed"), BrokenPipeError()),
        MemoryError(),
        door.CannotOpen("elsewhere"),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_an_error_of_the_callers_own_comes_back(
    error: BaseException, ones: Path, portrait: Path, tmp_path: Path
) -> None:
    """It is the very error; what was written until then is kept, as after Ctrl-C."""

    def leave(done: int, _: int | None) -> None:
        if done == 10:
            raise error

    with pytest.raises(type(error)) as caught:
        door.run(portrait, tmp_path / "out.mp4", model=ones, progress=leave)
    assert caught.value is error
    assert caught.traceback[-1].name == "leave"
    assert probe(tmp_path / "out.mp4").frames == 10
    if isinstance(error, door.WsshmError):
        assert error.report.frames == 10


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"save": "matte"}, door.UsageError, "save='matte'.*composite, alpha, foreground"),
        ({"save": []}, door.UsageError, "save"),
        ({"save": 1}, door.UsageError, "save.*composite, alpha, foreground"),
        ({"start": "0:00.5"}, door.UsageError, "start='0:00.5'.*an integer"),
        ({"duration": "1"}, door.UsageError, "duration='1'.*an integer"),
        ({"smooth": "0.5"}, door.UsageError, "smooth='0.5'.*an integer"),
        ({"crf": "20"}, door.UsageError, "crf='20'.*an integer"),
        ({"fps": "25"}, door.UsageError, "fps='25'.*an integer"),
        ({"codec": 5}, door.UsageError, "codec=5.*a string"),
        ({"device": 5}, door.UsageError, "device=5.*a string"),
        ({"precision": 5}, door.UsageError, "precision=5.*a string"),
        ({"save": None}, door.UsageError, "save=None.*composite, alpha, foreground"),
        ({"background": (0, 177, 64)}, door.UsageError, "background=.*a string or a path"),
        ({"output": b"out.mp4"}, door.UsageError, "output=.*a string or a path"),
        ({"save": "alpha", "background": "x.png"}, door.UsageError, "x.png: needs composite"),
        ({"bits": 12}, door.UsageError, "bits=12"),
        ({"fps": 0}, door.UsageError, "fps=0"),
        ({"fps": 25}, door.UsageError, "--fps"),
        ({"background": "beach.jpg"}, door.CannotOpen, "beach.jpg: no such file"),
        ({"output": "missing/out.mp4"}, door.CannotCreate, "missing"),
        ({"output": "a\0b.mp4"}, door.UsageError, "output=.*NUL"),
        ({"background": "a\0b.jpg"}, door.UsageError, "background=.*NUL"),
        ({"output": "out.gif"}, door.UsageError, "gif"),
        ({"codec": "vp6"}, door.WsshmError, "vp6"),
        ({"device": "cuda:x"}, door.UsageError, "cuda:x"),
    ],
)
def test_errors_have_types(
    options: dict[str, Any], error: type[Exception], says: str, ones: Path, portrait: Path
) -> None:
    with pytest.raises(error, match=says):
        door.run(portrait, **{"model": ones, **options})


LONG = """
import sys, wsshm
wsshm.run(sys.argv[1], "out.mp4", model=sys.argv[2], background="#000000",
          progress=lambda done, total: print(done, flush=True))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_keeps_what_was_written(ones: Path, tmp_path: Path) -> None:
    clip = noise_clip(tmp_path / "clip.mp4", 300, 160, 120)
    command = [sys.executable, "-c", LONG, str(clip), str(ones)]
    program = subprocess.Popen(
        command, cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert program.stdout.readline() == "1\n"
    os.kill(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert err.rstrip().endswith("KeyboardInterrupt")
    assert 0 < probe(tmp_path / "out.mp4").frames < 300


def test_every_public_name_is_there() -> None:
    """Every public name exists, says where it is from and what it does; others are an error."""
    for name in door.__all__:
        value: Callable[..., Any] = getattr(door, name)
        assert value.__module__ == "wsshm", name
        assert value.__doc__, name
    assert set(door.__all__) <= set(dir(door))
    with pytest.raises(AttributeError, match="has no attribute 'mattes'"):
        door.mattes  # noqa: B018


def test_it_is_imported_in_no_time() -> None:
    """Nothing heavy at import, PyTorch never, and no training."""
    text = "import sys, wsshm; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=True
    )
    heavy = {"numpy", "cv2", "av", "PIL", "onnxruntime", "torch", "train", "typer", "logging"}
    assert not heavy & set(result.stdout.split())


def test_its_types_are_known_to_others() -> None:
    """Type checkers read packages that say so; `wsshm` has types of `engines`."""
    for package in ("wsshm", "engines"):
        assert (files(package) / "py.typed").is_file()
