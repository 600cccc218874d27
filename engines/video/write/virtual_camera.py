"""A virtual camera as an output: other programs see the result as a camera.

It needs the kernel module v4l2loopback on Linux, and OBS on Windows and macOS. Anything missing
is found before pyvirtualcam is called, and reported with its remedy.
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

# exclusive_caps: programs built on Chrome list only devices that do nothing but capture.
_LOAD = (
    "sudo modprobe v4l2loopback "
    "devices=1 exclusive_caps=1 video_nr=10 card_label=wsshm max_buffers=2"
)
# Remedies, in the imperative.
INSTALL_PACKAGE = "run: pip install 'wsshm[camera]'"
INSTALL_MODULE = f"run: sudo apt install v4l2loopback-dkms && {_LOAD}"
LOAD_MODULE = f"run: {_LOAD}"
RELOAD_MODULE = f"run: sudo modprobe -r v4l2loopback && {_LOAD}"
SIGN_MODULE = (
    "run: sudo mokutil --import /var/lib/shim-signed/mok/MOK.der, restart and choose Enroll MOK "
    "(or switch Secure Boot off)"
)
FIND_NODE = "run: sudo udevadm trigger"
FIND_PROGRAM = "close the program that writes to it, which this finds: fuser -v /dev/video*"
INSTALL_OBS = (
    "install OBS Studio 28 or newer (obsproject.com), and click Start Virtual Camera in it once"
)
BT601_MATRICES = 5, fr.BT601  # the two code points of that matrix in ISO/IEC 23091-2
DEFAULT_RATE = Fraction(30)  # frames a second, where the source has none


@dataclass(frozen=True)
class Loopback:
    """A device of v4l2loopback.

    Attributes:
        url: its path.
        name: as other programs show it.
        fault: why it cannot be written to; empty if it can.
        remedy: what to do about `fault`.
        warning: what to know of a device that works, but not in every program.
    """

    url: str
    name: str
    fault: str = ""
    remedy: str = ""
    warning: str = ""


def loopbacks(root: Path = Path("/")) -> list[Loopback]:
    """Return the devices of v4l2loopback, in the order of their numbers.

    Args:
        root: the folder that has ``dev`` and ``sys``.
    """
    caps = read_line(root / "sys/module/v4l2loopback/parameters/exclusive_caps").split(",")
    found: list[Loopback] = []
    nodes = (root / "sys/devices/virtual/video4linux").glob("video*")
    for node in sorted(nodes, key=lambda p: int(p.name.removeprefix("video"))):
        device = root / "dev" / node.name
        fault = remedy = ""
        if not device.exists():
            fault, remedy = "the module has it, but it is not in /dev", FIND_NODE
        elif not os.access(device, os.R_OK | os.W_OK):
            fault, remedy = "no permission to write to it", JOIN_GROUP
        n = len(found)
        listed = caps[n] if n < len(caps) else "N"
        warning = "" if listed in ("Y", "1") else f"Chrome does not see it; {RELOAD_MODULE}"
        name = read_line(node / "name") or node.name
        found.append(Loopback(f"/dev/{node.name}", name, fault, remedy, warning))
    return found


def why_no_loopback(root: Path = Path("/"), release: str | None = None) -> tuple[str, str]:
    """Return why there is no device of v4l2loopback, and the remedy.

    Args:
        root: the folder that has ``dev``, ``lib`` and ``sys``.
        release: of the kernel; the running one when None.
    """
    if (root / "sys/module/v4l2loopback").is_dir():
        return "v4l2loopback is loaded, but has no device", RELOAD_MODULE
    release = release or os.uname().release
    if not any((root / "lib/modules" / release).rglob("v4l2loopback.ko*")):
        return f"the kernel module v4l2loopback is not there for {release}", INSTALL_MODULE
    if has_secure_boot(root):
        return "v4l2loopback is not loaded; Secure Boot refuses it unless it is signed", SIGN_MODULE
    return "the kernel module v4l2loopback is not loaded", LOAD_MODULE


def has_secure_boot(root: Path = Path("/")) -> bool:
    """Return whether the firmware lets the kernel load signed modules only."""
    for variable in (root / "sys/firmware/efi/efivars").glob("SecureBoot-*"):
        try:
            return variable.read_bytes()[4:5] == b"\x01"  # after four bytes of attributes
        except OSError:
            return False
    return False


def find_loopback(device: str | None, root: Path = Path("/")) -> Loopback:
    """Return the device with this path, or the first that can be written to for None.

    Raises:
        Unavailable: no such device, or it cannot be written to.
    """
    found = loopbacks(root)
    if not found:
        reason, remedy = why_no_loopback(root)
        raise Unavailable(f"--virtual-cam: {reason}", f"{remedy}; see docs/live.md")
    if device is None:
        chosen = next((x for x in found if not x.fault), found[0])
    else:
        match = [x for x in found if x.url == device]
        if not match:
            devices = ", ".join(x.url for x in found)
            raise Unavailable(
                f"--virtual-device {device}: is not a device of v4l2loopback", f"use {devices}"
            )
        chosen = match[0]
    if chosen.fault:
        raise Unavailable(f"{chosen.url}: {chosen.fault}", chosen.remedy)
    return chosen


def open_virtual_camera(
    device: str | None, fmt: FrameFormat, rate: Fraction | None
) -> VirtualCameraSink:
    """Open a virtual camera for frames of `fmt`.

    Args:
        device: its path or, on Windows, its name; the first one when None.
        rate: frames a second that programs are told; `DEFAULT_RATE` when None.

    Raises:
        Unavailable: something that it needs is missing.
    """
    warning = ""
    if sys.platform == "linux":
        loopback = find_loopback(device)
        device, warning = loopback.url, loopback.warning
    try:
        from pyvirtualcam import Camera, PixelFormat
    except ImportError as e:
        raise Unavailable(f"--virtual-cam: {e}", INSTALL_PACKAGE) from e
    shown = even(fmt)
    fps = float(rate or DEFAULT_RATE)
    try:
        camera = Camera(shown.width, shown.height, fps, fmt=PixelFormat.I420, device=device)
    except RuntimeError as e:
        message = " ".join(str(e).split())
        raise Unavailable(f"--virtual-cam: {message}", find_remedy(message)) from e
    sink = VirtualCameraSink(camera, shown)
    if warning:
        sink.warnings.append(f"{device}: {warning}")
    return sink


def even(fmt: FrameFormat) -> FrameFormat:
    """Return the format in which frames of `fmt` are sent: even size, I420, BT.601, limited."""
    return FrameFormat(max(2, fmt.width & ~1), max(2, fmt.height & ~1))


class VirtualCameraSink(FrameSink):
    """A camera that other programs can open.

    Args:
        camera: a `pyvirtualcam.Camera` that takes I420 of the size of `shown`.
        shown: the format in which frames are sent.
    """

    def __init__(self, camera: Any, shown: FrameFormat):
        self.path, self.warnings = Path(camera.device), []
        self._camera, self._format = camera, shown
        self._reformatter = VideoReformatter()
        self._to_rgb: fr.RgbScaler | None = None

    def write(self, item: Composited) -> None:
        assert item.composite is not None
        image = self._converted(item.composite, item.frame.format)
        planes = fr.planes(image)
        try:
            self._camera.send(np.concatenate([p.reshape(-1) for p in planes]))
        except RuntimeError as e:
            raise WriteFailed(f"{self.path}: the virtual camera takes no more ({e})") from e
        if sys.platform == "linux" and not os.path.exists(self.path):
            # pyvirtualcam raises nothing when a write fails.
            raise WriteFailed(f"{self.path}: the virtual camera is gone", LOAD_MODULE)
        self.frames += 1

    def _converted(self, image: av.VideoFrame, source: FrameFormat) -> av.VideoFrame:
        """Return an image of `source` in the format that is sent."""
        width, height = self._format.width, self._format.height
        # libswscale changes the matrix on the way to RGB only.
        if source.matrix not in BT601_MATRICES:
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


def find_remedy(message: str) -> str:
    """Return what to do about an error of pyvirtualcam."""
    message = message.lower()
    if "busy" in message or "in use" in message:
        return FIND_PROGRAM
    if "permission" in message:
        return JOIN_GROUP
    return RELOAD_MODULE if sys.platform == "linux" else INSTALL_OBS
