"""Rules for all files: which are images, their natural order, and how to replace one atomically."""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engines.errors import writing

# The suffixes of images that are read; fewer are written (`engines.video.write.pictures`).
IMAGE_SUFFIXES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
MAX_PIXELS = 8192 * 8192  # of an image or a frame: a small file may ask for any amount of memory


def is_image(path: Path) -> bool:
    """Return whether a file's name is that of a finished, visible image."""
    unfinished = ".part" in path.suffixes[-2:-1]
    return path.suffix.lower() in IMAGE_SUFFIXES and path.name[0] != "." and not unfinished


def natural_key(path: Path, ignore_case: bool = False) -> tuple[list[str | int], str]:
    """Return a sort key by which ``2.png`` comes before ``10.png``."""
    text = path.as_posix().lower() if ignore_case else path.as_posix()
    words = re.split(r"(\d+)", text)  # text and digits in turn
    return [int(w) if i % 2 else w for i, w in enumerate(words)], path.as_posix()


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def part_of(path: Path) -> Path:
    """Return the name under which `path` is written: ``name.part.png`` for ``name.png``."""
    return path.with_name(f"{path.stem}.part{path.suffix}")


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Open `part_of` a file to write, and move it to `path` on success.

    Args:
        private: readable for this user alone, and under a unique name, so that two processes
            may write at once.
        durable: flushed to the disk before it is moved, so that it outlives a power failure.

    Raises:
        CannotCreate: the folder is missing or not writable.
        WriteFailed: such as a full disk; `path` is unchanged and no temporary file is left.
    """
    with writing(path, begun=False):
        if private:
            descriptor, name = tempfile.mkstemp(".part", dir=path.parent)
            part, file = Path(name), os.fdopen(descriptor, "w+b")
        else:
            part = part_of(path)
            file = part.open("w+b")
    try:
        with writing(path, begun=True):
            with file:
                yield file
                file.flush()
                if durable:
                    os.fsync(file.fileno())
            part.replace(path)
            if durable:
                _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(folder: Path) -> None:
    """Make a rename in `folder` survive a power failure, where folders can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
