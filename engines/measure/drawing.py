"""Draw and save images of results: lines of text, and an atomic write."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import U8
from engines.errors import CannotCreate, UsageError
from engines.files import replacing

LINE_HEIGHT = 22  # pixels of a line of text
GAP_WIDTH = 12  # pixels between blocks
PAPER_GREY, INK_RGB = 32, (235, 235, 235)
SUFFIXES = (".png", ".jpg", ".webp")


def check_path(option: str, path: Path, overwrite: bool) -> None:
    """Check that an image can be saved at `path`, before any work is done.

    Args:
        option: the option that `path` was given to, for the error message.
        overwrite: an existing file may be replaced.

    Raises:
        UsageError: its suffix is none of `SUFFIXES`.
        CannotCreate: it exists and may not be replaced, or its folder is missing or not writable.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{option} {path}: must end in {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise CannotCreate(f"{path}: no folder {path.parent}", "make the folder first")
    if path.is_dir():
        raise CannotCreate(f"{path}: is a folder", "name a file")
    if path.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists", "add --overwrite or name another")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise CannotCreate(f"{path}: no permission to write in {path.parent}")


def save(path: Path, image: U8) -> None:
    """Save an image (H, W, 3), uint8 RGB; an existing file is replaced at the end.

    Raises:
        CannotCreate, WriteFailed: the file cannot be written; an earlier one is unchanged.
    """
    _, data = cv2.imencode(path.suffix.lower(), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    with replacing(path, durable=False) as file:
        file.write(data.tobytes())


def text(line: str, width: int) -> U8:
    """Draw a line of text as (`LINE_HEIGHT`, `width`, 3) uint8 RGB."""
    strip = np.full((LINE_HEIGHT, width, 3), PAPER_GREY, np.uint8)
    where, font = (4, LINE_HEIGHT - 7), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(strip, _ascii(line), where, font, 0.42, INK_RGB, 1, cv2.LINE_AA)
    return strip


def fitted(image: U8, side: int) -> U8:
    """Resize an image (H, W) or (H, W, 3) so that its longer edge has `side` pixels."""
    height, width = image.shape[:2]
    scale = side / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    small: U8 = cv2.resize(image, size, interpolation=how)
    return small


def panel(image: U8, side: int) -> U8:
    """Return a square (side, side, 3) RGB with an image, as of `fitted`, in its middle."""
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    square = np.full((side, side, 3), PAPER_GREY, np.uint8)
    height, width = image.shape[:2]
    y, x = (side - height) // 2, (side - width) // 2
    square[y : y + height, x : x + width] = image
    return square


def stacked(strips: list[str | list[U8]]) -> U8:
    """Stack headings and rows of blocks, one below the other; there is at least one row.

    Args:
        strips: a heading, or blocks of one size, as many in each row.
    """
    row = next(s for s in strips if not isinstance(s, str))
    height, width = row[0].shape[:2]
    gap = np.full((height, GAP_WIDTH, 3), PAPER_GREY, np.uint8)
    whole = (width + GAP_WIDTH) * len(row) - GAP_WIDTH
    return np.vstack(
        [
            text(s, whole)
            if isinstance(s, str)
            else np.hstack([x for block in s for x in (gap, block)][1:])
            for s in strips
        ]
    )


def _ascii(line: str) -> str:
    """Replace characters other than ASCII: OpenCV cannot draw them."""
    for letter, plain in (("×", " x "), ("÷", " / "), ("²", "^2"), ("³", "^3")):
        line = line.replace(letter, plain)
    return line.encode("ascii", "replace").decode()
