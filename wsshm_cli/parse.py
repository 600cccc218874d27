"""Values of options that are written in more than one way; each raises UsageError."""

from __future__ import annotations

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import UsageError
from engines.video.config import MAX_SECONDS, MAX_SIZE, MIN_SIZE

if TYPE_CHECKING:
    from engines.video.config import Stream

SIZES = f"{MIN_SIZE} to {MAX_SIZE}"


def seconds(option: str, text: str) -> Fraction:
    """Return ``90``, ``1:30`` or ``0:01:30.5`` in seconds."""
    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?|\.\d+", text):
        raise UsageError(
            f"{option} {text}: not a time", "write seconds (90.5) or [h:]mm:ss (1:30.5)"
        )
    total = Fraction(0)
    for part in text.split(":"):
        total = total * 60 + Fraction(part)
    if total > MAX_SECONDS:
        raise UsageError(f"{option} {text}: no video is that long")
    return total


def rate(text: str) -> Fraction:
    """Return ``25``, ``29.97`` or ``30000/1001`` of ``--fps`` in frames per second."""
    if re.fullmatch(r"\d{1,5}(\.\d{1,3}|/[1-9]\d{0,4})?", text) and 0.01 < Fraction(text) <= 1000:
        return Fraction(text)
    raise UsageError(
        f"--fps {text}: not a frame rate", "write frames per second, at most 1000: 25 or 30000/1001"
    )


def size(text: str | None) -> int | None:
    """Return the ``--size`` in pixels; None without one, and for ``auto``."""
    if text is None or text == "auto":
        return None
    if not re.fullmatch(r"\d{1,4}", text) or not MIN_SIZE <= int(text) <= MAX_SIZE:
        raise UsageError(f"--size {text}: not a size", f"write pixels, {SIZES}, or auto")
    return int(text)


def paths_of_urls(texts: Sequence[str]) -> list[str]:
    """Return INPUTs with a path in the place of each ``file://`` address.

    Raises:
        UsageError: one names a file of another machine.
    """
    from engines.video.read.stream import parse_input

    return [str(parse_input(text)) if text.startswith("file://") else text for text in texts]


def source(texts: Sequence[str], webcam: bool, camera: str | None) -> Path | Stream:
    """Return what the first INPUT or ``--webcam`` names.

    Raises:
        UsageError: there is none, an empty one, or both.
        Unavailable: there is no camera.
    """
    from engines.video.read.camera import find_camera
    from engines.video.read.stream import parse_input

    if camera is not None and not webcam:
        raise UsageError(f"--camera {camera}: is only for a webcam", "add --webcam")
    if webcam and texts:
        raise UsageError(
            f"{texts[0]}: --webcam is an input too", "give INPUT or --webcam, not both"
        )
    if webcam:
        return find_camera(camera)
    if not texts:
        raise UsageError("no input", "give INPUT, as in: wsshm run clip.mp4, or --webcam")
    if "" in texts:
        raise UsageError("an INPUT is empty", "is a variable of the shell not set?")
    return parse_input(texts[0])
