"""Cameras: which there are, which is taken, and why one is not."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from engines.errors import Unavailable
from engines.video.config import Clip, Stream
from engines.video.frame import Frame
from engines.video.read.camera import Camera, cameras, find_camera
from engines.video.read.open import open_source
from engines.video.read.stream import parse_input
from tests.conftest import Wsshm, one_error_line

linux = pytest.mark.skipif(sys.platform != "linux", reason="cameras are files on Linux only")


def node(root: Path, number: int, name: str, index: int = 0, virtual: bool = False) -> None:
    """A camera as the kernel shows it."""
    path = root / f"sys/class/video4linux/video{number}"
    path.mkdir(parents=True)
    (path / "name").write_text(f"{name}\n")
    (path / "index").write_text(f"{index}\n")
    (root / "dev").mkdir(exist_ok=True)
    (root / f"dev/video{number}").touch()
    if virtual:
        (root / f"sys/devices/virtual/video4linux/video{number}").mkdir(parents=True)


@linux
def test_cameras_are_in_order(tmp_path: Path) -> None:
    """Not the nodes of their metadata; what programs write to comes last."""
    node(tmp_path, 0, "wsshm", virtual=True)
    node(tmp_path, 10, "Capture card")
    node(tmp_path, 2, "HD Webcam")
    node(tmp_path, 3, "HD Webcam", index=1)
    found = cameras(tmp_path)
    assert found == [
        Camera("/dev/video2", "HD Webcam"),
        Camera("/dev/video10", "Capture card"),
        Camera("/dev/video0", "wsshm"),
    ]


@linux
def test_a_camera_that_is_not_in_dev(tmp_path: Path) -> None:
    node(tmp_path, 0, "HD Webcam")
    (tmp_path / "dev/video0").unlink()
    (camera,) = cameras(tmp_path)
    assert "not in /dev" in camera.fault
    assert camera.remedy.startswith("run: ")
    with pytest.raises(Unavailable, match="not in /dev") as refused:
        find_camera(root=tmp_path)
    assert refused.value.remedy == camera.remedy


def test_without_a_camera(wsshm: Wsshm, tmp_path: Path) -> None:
    if cameras():
        pytest.skip("there is a camera here")
    with pytest.raises(Unavailable, match="no camera on this machine"):
        find_camera()
    for args in (["--webcam"], ["--webcam", "--camera", "0"], ["--webcam", "--camera", "/dev/x"]):
        result = wsshm("run", *args)
        assert result.returncode == 69
        one_error_line(result, "no camera on this machine", "plug one in")
    assert not list(tmp_path.iterdir())


@pytest.fixture
def screen() -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    """An X server in memory, which FFmpeg captures as it does a camera."""
    if shutil.which("Xvfb") is None or "x11grab" not in av.formats_available:
        pytest.skip("needs Xvfb, and an FFmpeg that captures from it")
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "320x240x24", "-noreset"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as told:
        name = f":{told.readline().strip()}"
    yield name, server
    server.terminate()
    server.wait(20)


def grabbed(name: str, **options: str) -> Stream:
    return Stream(name, "webcam", True, "x11grab", {"framerate": "20"} | options, is_camera=True)


@linux
def test_a_capture_device(screen: tuple[str, subprocess.Popen[bytes]]) -> None:
    """A real one of FFmpeg's; one that refuses what is only wished for gives what it has."""
    name, _ = screen
    for wish, size in (("160x120", (160, 120)), ("nonsense", (320, 240))):
        with open_source(grabbed(name, video_size=wish), Clip(0, 0.5)) as source:
            assert source.is_live
            frames = [item for item in source.items() if isinstance(item, Frame)]
            assert (source.format.width, source.format.height) == size
            assert source.fault is None
        assert 1 <= len(frames) <= 18
        assert frames[0].pts == 0
        assert all(f.arrived for f in frames)
        times = [f.pts for f in frames]
        assert times == sorted(set(times))


def test_a_camera_that_does_not_start() -> None:
    with pytest.raises(Unavailable, match=r":99: the camera does not start .*wsshm doctor"):
        open_source(grabbed(":99"), Clip())


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ([], "give INPUT"),
        (["in.mp4", "--webcam"], "not both"),
        (["in.mp4", "--camera", "1"], "--webcam"),
        (["--webcam", "--jobs", "2"], "--jobs 2: is for files"),
        (["-", "--start", "3"], "--start"),
        (["-", "--reconnect"], "--reconnect"),
        (["in.mp4", "--reconnect"], "not live"),
    ],
)
def test_options_that_contradict(args: list[str], says: str, wsshm: Wsshm, tmp_path: Path) -> None:
    result = wsshm("run", *args, input="")
    assert result.returncode == 2, result.stderr
    one_error_line(result, says)


@pytest.mark.parametrize(
    ("text", "shown", "stem", "paced"),
    [
        ("-", "-", "stdin", False),
        ("rtsp://me:secret@cam.local/front?x=1", "rtsp://cam.local/front?x=1", "front", True),
        ("udp://239.0.0.1:5000", "udp://239.0.0.1:5000", "239.0.0.1", True),
        ("https://example.org/a/clip.mp4", "https://example.org/a/clip.mp4", "clip", None),
    ],
)
def test_what_an_address_is_called(text: str, shown: str, stem: str, paced: bool | None) -> None:
    stream = parse_input(text)
    assert isinstance(stream, Stream)
    assert (str(stream), stream.stem, stream.paced) == (shown, stem, paced)


@pytest.mark.parametrize("text", ["clip.mp4", "a/b.mp4", "C:\\clips\\a.mp4", "1://x", "./-"])
def test_paths_stay_paths(text: str) -> None:
    assert parse_input(text) == Path(text)
