"""What images of results share: lines of text, and a file that is written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import U8
from engines.errors import CannotCreate, UsageError, writing

LABEL = 22  # pixels: height of a line of text
PAPER, INK = 32, (235, 235, 235)
ENDINGS = (".png", ".jpg", ".webp")


def check_path(option: str, path: Path, overwrite: bool) -> None:
    """See that an image can be saved at `path`, before any work is done; `option` asked for it.

    Raises:
        UsageError: its ending is none of `ENDINGS`.
        CannotCreate: it exists and may not be replaced, or its folder is missing or not writable.
    """
    if path.suffix.lower() not in ENDINGS:
        raise UsageError(f"{option} {path}: must end in {', '.join(ENDINGS)}")
    if not path.parent.is_dir():
        raise CannotCreate(f"{path}: {path.parent} is not there; make the folder first")
    if path.is_dir():
        raise CannotCreate(f"{path}: is a folder; name a file")
    if path.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists; add --overwrite or name another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CannotCreate(f"{path}: no permission to write in {path.parent}")


def save(path: Path, image: U8) -> None:
    """Save (H, W, 3) uint8 RGB; an existing file is replaced when all went well.

    Raises:
        CannotCreate, WriteFailed: it cannot be written.
    """
    _, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    part = path.with_name(f"{path.stem}.part{path.suffix}")
    with writing(path, begun=False):
        try:
            part.write_bytes(data.tobytes())
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)


def text(line: str, width: int) -> U8:
    """A line of text as (`LABEL`, `width`, 3) uint8 RGB."""
    strip = np.full((LABEL, width, 3), PAPER, np.uint8)
    where, font = (4, LABEL - 7), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, _ascii(line), where, font, 0.42, INK, 1, cv2.LINE_AA)
    return strip


def _ascii(line: str) -> str:
    """OpenCV's letters are ASCII."""
    for letter, plain in (("×", " x "), ("÷", " / "), ("²", "^2"), ("³", "^3")):
        line = line.replace(letter, plain)
    return line.encode("ascii", "replace").decode()
