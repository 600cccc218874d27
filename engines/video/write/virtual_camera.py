"""A virtual camera as an output: other programs see what `wsshm` makes as a camera.

On Linux that takes the kernel module v4l2loopback; on Windows and macOS, OBS. Each thing that can
be missing is found and named before pyvirtualcam is asked, with the command that mends it.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from engines.errors import Unavailable, WriteFailed
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.frame import FrameFormat
from engines.video.read.camera import JOIN_GROUP, read_line
from engines.video.write.sink import FrameSink

PACKAGE = "pip install 'wsshm[camera]'"
# exclusive_caps: Chrome and what is built on it list only devices that do nothing but capture.
OPTIONS = "devices=1 exclusive_caps=1 video_nr=10 card_label=wsshm max_buffers=2"
LOAD = f"sudo modprobe v4l2loopback {OPTIONS}"
RELOAD = f"sudo modprobe -r v4l2loopback && {LOAD}"
INSTALL = "sudo apt install v4l2loopback-dkms"
SIGN = (
    "sudo mokutil --import /var/lib/shim-signed/mok/MOK.der, restart and choose Enroll MOK "
    "(or switch Secure Boot off)"
)
OBS = "install OBS Studio 28 or newer (obsproject.com), and click Start Virtual Camera in it once"
EITHER_BT601 = 5, fr.BT601  # the two names of that matrix in ISO/IEC 23091-2
RATE = Fraction(30)  # of a source that does not say


@dataclass(frozen=True)
class Loopback:
    """A device of v4l2loopback. `fault` says why it cannot be written to, `remedy` what mends it.

    `warning` is about a device that works, but not in every program.
    """

    url: str
    name: str
    fault: str = ""
    remedy: str = ""
    warning: str = ""


def loopbacks(root: Path = Path("/")) -> list[Loopback]:
    """The devices of v4l2loopback, in the order of their numbers.

    Args:
        root: where ``dev`` and ``sys`` are.
    """
    caps = read_line(root / "sys/module/v4l2loopback/parameters/exclusive_caps").split(",")
    found: list[Loopback] = []
    nodes = (root / "sys/devices/virtual/video4linux").glob("video*")
    for node in sorted(nodes, key=lambda p: int(p.name.removeprefix("video"))):
        device = root / "dev" / node.name
        fault = remedy = ""
        if not device.exists():
            fault, remedy = "the module has it, but it is not in /dev", "sudo udevadm trigger"
        elif not os.access(device, os.R_OK | os.W_OK):
            fault, remedy = "no permission to write to it", JOIN_GROUP
        n = len(found)
        listed = caps[n] if n < len(caps) else "N"
        warning = "" if listed in ("Y", "1") else f"Chrome does not see it; mend it with: {RELOAD}"
        name = read_line(node / "name") or node.name
        found.append(Loopback(f"/dev/{node.name}", name, fault, remedy, warning))
    return found


def why_no_loopback(root: Path = Path("/"), release: str | None = None) -> tuple[str, str]:
    """Why there is no device of v4l2loopback, and the command that mends it.

    Args:
        release: of the kernel; the running one when None.
    """
    if (root / "sys/module/v4l2loopback").is_dir():
        return "v4l2loopback is loaded, but has no device", RELOAD
    release = release or os.uname().release
    if not any((root / "lib/modules" / release).rglob("v4l2loopback.ko*")):
        return f"the kernel module v4l2loopback is not there for {release}", f"{INSTALL} && {LOAD}"
    if has_secure_boot(root):
        return "v4l2loopback is not loaded; Secure Boot refuses it unless it is signed", SIGN
    return "the kernel module v4l2loopback is not loaded", LOAD


def has_secure_boot(root: Path = Path("/")) -> bool:
    """Whether the firmware lets the kernel load signed modules only."""
    for variable in (root / "sys/firmware/efi/efivars").glob("SecureBoot-*"):
        try:
            return variable.read_bytes()[4:5] == b"\x01"  # after four bytes of attributes
        except OSError:
            return False
    return False


def find_loopback(device: str | None, root: Path = Path("/")) -> Loopback:
    """The device of that path, or the first that can be written to.

    Raises:
        Unavailable: what is missing, and the command that mends it.
    """
    found = loopbacks(root)
    if not found:
        what, remedy = why_no_loopback(root)
        raise Unavailable(f"--virtual-cam: {what}; mend it with: {remedy}")
    if device is None:
        chosen = next((x for x in found if not x.fault), found[0])
    else:
        match = [x for x in found if x.url == device]
        if not match:
            there = ", ".join(x.url for x in found)
            raise Unavailable(f"--virtual-device {device}: not of v4l2loopback; there are: {there}")
        chosen = match[0]
    if chosen.fault:
        raise Unavailable(f"{chosen.url}: {chosen.fault}; mend it with: {chosen.remedy}")
    return chosen


def open_virtual_camera(
    device: str | None, fmt: FrameFormat, rate: Fraction | None
) -> VirtualCameraSink:
    """The virtual camera of that path or, on Windows, that name; the first there is for None.

    Args:
        rate: frames a second that programs are told; None for `RATE`.

    Raises:
        Unavailable: what is missing, and the command that mends it.
    """
    warning = ""
    if sys.platform == "linux":
        loopback = find_loopback(device)
        device, warning = loopback.url, loopback.warning
    try:
        from pyvirtualcam import Camera, PixelFormat
    except ImportError as e:
        raise Unavailable(f"--virtual-cam: {e}; mend it with: {PACKAGE}") from e
    shown = even(fmt)
    fps = float(rate or RATE)
    try:
        camera = Camera(shown.width, shown.height, fps, fmt=PixelFormat.I420, device=device)
    except RuntimeError as e:
        raise Unavailable(f"--virtual-cam: {mended(str(e))}") from e
    sink = VirtualCameraSink(camera, shown)
    if warning:
        sink.warnings.append(f"{device}: {warning}")
    return sink


def even(fmt: FrameFormat) -> FrameFormat:
    """What a virtual camera shows of `fmt`: its size, even, as I420, BT.601, limited range."""
    return FrameFormat(max(2, fmt.width & ~1), max(2, fmt.height & ~1))


class VirtualCameraSink(FrameSink):
    """Frames as other programs see them.

    Args:
        camera: a `pyvirtualcam.Camera` that takes I420 of the size of `shown`.
    """

    def __init__(self, camera: Any, shown: FrameFormat):
        self.path, self.warnings = Path(camera.device), []
        self._camera, self._format = camera, shown
        self._reformatter = VideoReformatter()
        self._to_rgb: fr.RgbScaler | None = None

    def write(self, item: Composited) -> None:
        assert item.image is not None
        image = self._converted(item.image, item.frame.format)
        planes = fr.planes(image)
        try:
            self._camera.send(np.concatenate([p.reshape(-1) for p in planes]))
        except RuntimeError as e:
            raise WriteFailed(f"{self.path}: the virtual camera takes no more ({e})") from e
        if sys.platform == "linux" and not os.path.exists(self.path):
            # pyvirtualcam raises nothing when a write fails.
            raise WriteFailed(f"{self.path}: the virtual camera is gone; mend it with: {LOAD}")
        self.frames += 1

    def _converted(self, image: av.VideoFrame, source: FrameFormat) -> av.VideoFrame:
        width, height = self._format.width, self._format.height
        # libswscale changes the matrix on the way to RGB only.
        if source.matrix not in EITHER_BT601:
            if self._to_rgb is None or self._to_rgb.format != source:
                self._to_rgb = fr.RgbScaler(source)
            return fr.from_rgb(self._to_rgb(image, width, height), self._format)
        return self._reformatter.reformat(
            image,
            width,
            height,
            self._format.pix_fmt,
            src_colorspace=fr.BT601,
            dst_colorspace=fr.BT601,
            src_color_range=source.range,
            dst_color_range=fr.LIMITED,
            interpolation=Interpolation.BILINEAR,
        )

    def close(self, whole: bool) -> None:
        if self._camera is not None:
            self._camera.close()
            self._camera = None


def mended(text: str) -> str:
    """What pyvirtualcam says, in one line, with the command that mends it."""
    text = " ".join(text.split())
    low = text.lower()
    if "busy" in low or "in use" in low:
        remedy = "close the program that writes to it: fuser -v /dev/video*"
    elif "permission" in low:
        remedy = JOIN_GROUP
    elif sys.platform == "linux":
        remedy = RELOAD
    else:
        remedy = OBS
    return f"{text}; mend it with: {remedy}"
