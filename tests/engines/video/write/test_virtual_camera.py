"""The virtual camera: what is missing is named with its remedy, and what programs see is right.

There is no device of v4l2loopback where these run: the trees of ``/sys`` and ``/dev`` are made, and
pyvirtualcam writes into a file, through a backend registered as its documentation says.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.errors import Unavailable, WriteFailed
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.frame import Frame, FrameFormat
from engines.video.write import virtual_camera as vc
from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import without_root

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="v4l2loopback is of Linux")


def tree(root: Path, numbers: list[int], caps: str = "Y", missing: tuple[int, ...] = ()) -> Path:
    """``/sys`` and ``/dev`` with the module loaded and these devices."""
    parameters = root / "sys/module/v4l2loopback/parameters"
    parameters.mkdir(parents=True)
    (parameters / "exclusive_caps").write_text(",".join([caps] * len(numbers) + ["N"]) + "\n")
    (root / "dev").mkdir()
    for n in numbers:
        node = root / f"sys/devices/virtual/video4linux/video{n}"
        node.mkdir(parents=True)
        (node / "name").write_text("wsshm\n")
        if n not in missing:
            (root / f"dev/video{n}").touch()
    return root


def test_a_device_that_works(tmp_path: Path) -> None:
    root = tree(tmp_path, [9, 10])
    assert [x.url for x in vc.loopbacks(root)] == ["/dev/video9", "/dev/video10"]
    found = vc.find_loopback(None, root)
    assert (found.url, found.name, found.fault, found.warning) == ("/dev/video9", "wsshm", "", "")
    assert vc.find_loopback("/dev/video10", root).url == "/dev/video10"


def test_a_device_that_chrome_does_not_see(tmp_path: Path) -> None:
    found = vc.find_loopback(None, tree(tmp_path, [10], caps="N"))
    assert "Chrome" in found.warning
    assert "exclusive_caps=1" in found.warning


def test_a_device_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(
        Unavailable, match=r"/dev/video0: is not a device of v4l2loopback; use /dev/video10"
    ):
        vc.find_loopback("/dev/video0", tree(tmp_path, [10]))


def test_a_device_that_is_not_in_dev(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"not in /dev; run: sudo udevadm"):
        vc.find_loopback(None, tree(tmp_path, [10], missing=(10,)))


def test_a_device_without_permission(tmp_path: Path) -> None:
    """In another process, for which permissions hold."""
    root = tree(tmp_path, [10])
    (root / "dev/video10").chmod(0)
    tmp_path.chmod(0o755)
    code = (
        "from engines.video.write.virtual_camera import *; "
        f"find_loopback(None, Path({str(root)!r}))"
    )
    command = [*without_root(), sys.executable, "-c", code]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert "no permission" in result.stderr
    assert "sudo usermod -aG video" in result.stderr


def test_without_the_module(tmp_path: Path) -> None:
    """Each reason there can be, and its remedy."""
    modules = tmp_path / "lib/modules/6.1/updates/dkms"
    assert vc.why_no_loopback(tmp_path, "6.1")[1].startswith(
        "run: sudo apt install v4l2loopback-dkms"
    )
    modules.mkdir(parents=True)
    (modules / "v4l2loopback.ko.xz").touch()
    assert vc.why_no_loopback(tmp_path, "6.1") == (
        "the kernel module v4l2loopback is not loaded",
        "run: sudo modprobe v4l2loopback devices=1 exclusive_caps=1 video_nr=10 card_label=wsshm "
        "max_buffers=2",
    )
    firmware = tmp_path / "sys/firmware/efi/efivars"
    firmware.mkdir(parents=True)
    variable = firmware / "SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c"
    variable.write_bytes(b"\6\0\0\0\1")
    assert "mokutil" in vc.why_no_loopback(tmp_path, "6.1")[1]
    variable.write_bytes(b"\6\0\0\0\0")
    assert "modprobe" in vc.why_no_loopback(tmp_path, "6.1")[1]
    tree(tmp_path, [])
    assert "has no device" in vc.why_no_loopback(tmp_path, "6.1")[0]


@pytest.mark.parametrize(
    ("says", "remedy"),
    [
        ("Virtual camera device /dev/video3 could not be opened: Device or resource busy", "fuser"),
        (
            "could not be opened due to missing permissions. Did you add your user to the 'video' "
            "group?",
            "usermod",
        ),
        ("/dev/video0 is not a video output device.", "modprobe"),
    ],
)
def test_what_pyvirtualcam_says_gets_its_remedy(says: str, remedy: str) -> None:
    found = vc.find_remedy(f"'v4l2loopback' backend: {says}")
    assert remedy in found
    assert "\n" not in found


def test_here(wsshm: Wsshm, portrait: Path, ones: Path, tmp_path: Path) -> None:
    """The command as it ends on a machine without the module: one line, 69, and no file."""
    if vc.loopbacks():
        pytest.skip("there is a virtual camera here")
    result = wsshm("run", portrait, "--model", ones, "--virtual-cam")
    assert result.returncode == 69
    one_error_line(result, "v4l2loopback", "run: sudo ")
    assert not list(tmp_path.iterdir())
    result = wsshm("run", portrait, "--virtual-device", "/dev/video10")
    assert result.returncode == 2


# What programs see


@pytest.fixture
def camera(tmp_path: Path) -> Iterator[Any]:
    """Makes a pyvirtualcam camera that writes into ``tmp_path/device``."""
    pyvirtualcam = pytest.importorskip("pyvirtualcam", reason="needs wsshm[camera]")
    device = tmp_path / "device"
    device.touch()

    class Recorder:
        def __init__(self, **how: Any):
            self._file = device.open("wb", buffering=0)

        def close(self) -> None:
            self._file.close()

        def send(self, frame: np.ndarray) -> None:
            self._file.write(frame.tobytes())

        def device(self) -> str:
            return str(device)

        def native_fourcc(self) -> None:
            return None

    from pyvirtualcam.camera import BACKENDS, register_backend

    register_backend("recorder", Recorder)
    made = []

    def make(width: int, height: int) -> Any:
        i420 = pyvirtualcam.PixelFormat.I420
        made.append(pyvirtualcam.Camera(width, height, 30, fmt=i420, backend="recorder"))
        return made[-1]

    yield make
    del BACKENDS["recorder"]


def composited(fmt: FrameFormat, colour: tuple[int, int, int]) -> Composited:
    rgb = np.empty((fmt.height, fmt.width, 3), np.uint8)
    rgb[:] = colour
    image = fr.from_rgb(rgb, fmt)
    frame = Frame(image, fmt, 0, Fraction(1, 30))
    alpha = np.full((fmt.height, fmt.width), 255, np.uint8)
    return Composited(frame, alpha, image, image)


@pytest.mark.parametrize(
    "fmt",
    [
        FrameFormat(64, 48),
        FrameFormat(65, 49),
        FrameFormat(64, 48, "yuv444p", fr.BT709, fr.FULL),
        FrameFormat(33, 17, "gbrp", 0, fr.FULL),
        FrameFormat(64, 48, "yuv420p10le"),
        FrameFormat(64, 48, "yuv422p10le", fr.BT709, fr.FULL),
    ],
)
def test_colours_arrive(fmt: FrameFormat, camera: Any, tmp_path: Path) -> None:
    """BT.601 levels of pure red, for any matrix, range and size of the video; the size is even."""
    shown = vc.even(fmt)
    assert (shown.width, shown.height) == (fmt.width // 2 * 2, fmt.height // 2 * 2)
    sink = vc.VirtualCameraSink(camera(shown.width, shown.height), shown)
    for _ in range(3):
        sink.write(composited(fmt, (255, 0, 0)))
    sink.close(whole=True)
    sink.close(whole=True)
    assert sink.frames == 3
    levels = np.fromfile(tmp_path / "device", np.uint8).reshape(3, -1)
    pixels = shown.width * shown.height
    assert levels.shape[1] == pixels * 3 // 2
    luma, blue, red = np.split(levels[1], [pixels, pixels * 5 // 4])
    for plane, level in ((luma, 81), (blue, 90), (red, 240)):
        assert np.abs(plane.astype(int) - level).max() <= 2, (fmt, level, plane[:4])


def test_a_camera_that_goes_away(camera: Any, tmp_path: Path) -> None:
    """As when the module is unloaded: pyvirtualcam would go on without a word."""
    fmt = FrameFormat(64, 48)
    sink = vc.VirtualCameraSink(camera(64, 48), fmt)
    sink.write(composited(fmt, (0, 0, 255)))
    (tmp_path / "device").unlink()
    with pytest.raises(WriteFailed, match=r"is gone.*modprobe"):
        sink.write(composited(fmt, (0, 0, 255)))
    sink.close(whole=False)
