"""Cameras of this machine, as streams."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import av

from engines.errors import Unavailable
from engines.video.config import Stream

# The mode requested of a camera; a camera without it gives another.
CAMERA_OPTIONS = {"video_size": "1280x720", "framerate": "30"}
MJPEG_OPTIONS = {"input_format": "mjpeg"}  # without it most do not reach 30 frames of that size
JOIN_GROUP = "run: sudo usermod -aG video $USER, then log in again"


@dataclass(frozen=True)
class Camera:
    """A camera: `url` is its name in FFmpeg, `name` the one for people.

    `fault` says why it cannot be used, and `remedy` is the command that changes that; both are
    empty for a camera that works.
    """

    url: str
    name: str
    fault: str = ""
    remedy: str = ""
    options: Mapping[str, str] = field(default_factory=dict)


def cameras(root: Path = Path("/")) -> list[Camera]:
    """List the cameras of this machine by number, virtual ones last.

    Args:
        root: where ``dev`` and ``sys`` are, on Linux.
    """
    if sys.platform == "linux":
        return _linux_cameras(root)
    prefix = "video=" if sys.platform == "win32" else ""
    found = []
    for device in av.enumerate_input_devices(_format()):
        if "video" in device.media_types:
            found.append(Camera(prefix + device.name, device.description or device.name))
    return found


def find_camera(which: str | None = None, root: Path = Path("/")) -> Stream:
    """Return the camera that ``--camera`` names by number or path; the first that works for None.

    Args:
        root: as in `cameras`.

    Raises:
        Unavailable: no such camera, or it cannot be used; the remedy says what to do.
    """
    found = cameras(root)
    if which is None:
        if not found:
            what, remedy = no_camera()
            raise Unavailable(f"--webcam: {what}", remedy)
        camera = next((c for c in found if not c.fault), found[0])
    elif which.isdecimal() and sys.platform != "linux":
        if int(which) >= len(found):
            raise Unavailable(f"--camera {which}: there are {len(found)}", "see: wsshm doctor")
        camera = found[int(which)]
    else:
        url = f"/dev/video{which}" if which.isdecimal() else which
        match = [c for c in found if url in (c.url, c.name) or os.path.realpath(url) == c.url]
        if not match:
            what, remedy = no_camera()
            if found:
                there = ", ".join(c.url for c in found)
                what, remedy = "no such camera", f"name one of those there are: {there}"
            raise Unavailable(f"--camera {which}: {what}", remedy)
        camera = match[0]
    if camera.fault:
        raise Unavailable(f"{camera.url}: {camera.fault}", camera.remedy)
    options = CAMERA_OPTIONS | (MJPEG_OPTIONS if sys.platform == "linux" else {})
    return Stream(
        camera.url, "webcam", paced=True, format=_format(), options=options, is_camera=True
    )


def no_camera() -> tuple[str, str]:
    """Return what to say, and what to do, where there is no camera."""
    remedy = "plug one in"
    if sys.platform == "linux":
        remedy += ", and see that its driver finds it: lsusb; sudo modprobe uvcvideo"
    return "no camera on this machine", remedy


def _format() -> str:
    formats = {"linux": "video4linux2", "darwin": "avfoundation", "win32": "dshow"}
    if sys.platform not in formats:
        raise Unavailable(f"--webcam: not known on {sys.platform}", "give its address as INPUT")
    return formats[sys.platform]


def _linux_cameras(root: Path) -> list[Camera]:
    virtual = root / "sys/devices/virtual/video4linux"

    def last(node: Path) -> tuple[bool, int]:  # virtual cameras, which programs write to, come last
        return (virtual / node.name).exists(), int(node.name.removeprefix("video"))

    found = []
    for node in sorted((root / "sys/class/video4linux").glob("video*"), key=last):
        if read_line(node / "index") not in ("", "0"):
            continue  # each camera has a second node, for its metadata
        device = root / "dev" / node.name
        fault = remedy = ""
        if not device.exists():
            fault, remedy = "the driver has it, but it is not in /dev", "run: sudo udevadm trigger"
        elif not os.access(device, os.R_OK | os.W_OK):
            fault, remedy = "no permission to read it", JOIN_GROUP
        found.append(
            Camera(f"/dev/{node.name}", read_line(node / "name") or node.name, fault, remedy)
        )
    return found


def read_line(path: Path) -> str:
    """Return the text of a small file without the white space around it; empty if unreadable."""
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
