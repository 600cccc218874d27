"""The preview window, on a real X server without a screen, with real keys."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import pytest

from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import command, moving_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="X11 is of Linux")


class Screen:
    """An X server in memory. `press` sends a key to the window under the pointer."""

    def __init__(self, name: str):
        self.name = name
        self._x, self._test = ctypes.CDLL("libX11.so.6"), ctypes.CDLL("libXtst.so.6")
        self._x.XOpenDisplay.restype = ctypes.c_void_p
        self._display = ctypes.c_void_p(self._x.XOpenDisplay(name.encode()))
        assert self._display.value
        self._test.XTestFakeMotionEvent(self._display, -1, 60, 60, 0)
        self._x.XFlush(self._display)

    def press(self, key: str) -> None:
        code = self._x.XKeysymToKeycode(self._display, ord(key))
        for down in (1, 0):
            self._test.XTestFakeKeyEvent(self._display, code, down, 0)
            self._x.XFlush(self._display)
            time.sleep(0.05)

    def close(self) -> None:
        self._x.XCloseDisplay(self._display)


@pytest.fixture
def screen() -> Iterator[Screen]:
    if shutil.which("Xvfb") is None:
        pytest.skip("needs Xvfb: sudo apt install xvfb")
    try:
        ctypes.CDLL("libXtst.so.6")
    except OSError:
        pytest.skip("needs libXtst: sudo apt install libxtst6")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "800x600x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as told:
        name = f":{told.readline().strip()}"
    screen = Screen(name)
    yield screen
    screen.close()
    server.terminate()
    server.wait(20)


def test_keys(screen: Screen, tmp_path: Path, ones: Path, zeros: Path) -> None:
    """s writes what is shown, b brings the next background, q ends the run well."""
    clip = moving_clip(tmp_path / "in.mp4", 900, 320, 240)
    err = tmp_path / "err.txt"
    with err.open("w") as stderr:
        process = subprocess.Popen(
            command("run", clip, "--model", zeros, "--bg", "#ff0000", "--preview"),
            cwd=tmp_path,
            env=os.environ | {"DISPLAY": screen.name},
            stderr=stderr,
        )
    shots = [tmp_path / f"wsshm_snapshot_{n}.png" for n in (1, 2)]
    try:
        for key, told in (
            ("s", f"snapshot: {shots[0].name}"),
            ("b", "background: blur"),
            ("b", "background: #00b140"),
            ("s", f"snapshot: {shots[1].name}"),
        ):
            while told not in err.read_text():  # a key is lost while there is no window yet
                assert process.poll() is None, err.read_text()
                screen.press(key)
                patience = time.monotonic() + 2
                while told not in err.read_text() and time.monotonic() < patience:
                    time.sleep(0.02)
        screen.press("q")
        process.wait(30)
    finally:
        process.kill()
    assert process.returncode == 0, err.read_text()
    red, green = (cv2.imread(str(shot))[120, 160].astype(int) for shot in shots[:2])
    assert red[2] > 200 > 60 > red[0], red
    assert green[1] > 140 > 90 > green[2], green
    assert shots[0].stat().st_size
    assert [p for p in tmp_path.iterdir() if p.suffix == ".mp4"] == [clip]


def test_the_window_is_filled(screen: Screen, tmp_path: Path, ones: Path) -> None:
    """With -o, the file is written too, and the clip takes as long as it lasts."""
    clip = moving_clip(tmp_path / "in.mp4", 45)
    began = time.perf_counter()
    result = subprocess.run(
        command("run", clip, "--model", ones, "--preview", "-o", "out.mp4"),
        cwd=tmp_path,
        env=os.environ | {"DISPLAY": screen.name},
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
    assert "45 frames in " in result.stderr
    assert (tmp_path / "out.mp4").exists()
    assert time.perf_counter() - began > 44 / 30


@pytest.mark.parametrize("display", ["", ":77"])
def test_without_a_display(display: str, wsshm: Wsshm, tmp_path: Path, portrait: Path) -> None:
    """OpenCV would end the process; here it is one line and 69."""
    result = wsshm("run", portrait, "--preview", env=os.environ | {"DISPLAY": display})
    assert result.returncode == 69
    one_error_line(result, "--preview: could not connect to display", "ssh -X")
    assert not list(tmp_path.iterdir())


def test_transparent_cannot_be_shown(wsshm: Wsshm, portrait: Path, ones: Path) -> None:
    result = wsshm("run", portrait, "--preview", "--bg", "transparent", "--model", ones)
    assert result.returncode == 2
    one_error_line(result, "cannot be shown")
