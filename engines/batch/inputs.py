"""The files that several inputs stand for, and the place of each below the output folder.

- A file is one input.
- A folder stands for the videos and images in it, with `recursive` also for those in its
  sub-folders. Each keeps its place: ``shoot/day1/a.mov`` of ``shoot`` is ``day1/a.mov``.
- A pattern stands for what it fits, with the same places below its part without ``*?[``; ``**``
  stands for any number of folders.
- A single folder or pattern of images alone is no set of files but one input, as one folder.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from engines.batch.manifest import NAME
from engines.errors import BadData, CannotOpen, reading
from engines.files import listed, natural_key
from engines.image_files import is_hidden, is_image

# The suffixes of videos in folders; of a file that is named, its content alone counts.
VIDEO_SUFFIXES = {
    *(".mp4", ".m4v", ".mov", ".qt", ".mkv", ".webm", ".avi", ".wmv", ".asf", ".flv", ".f4v"),
    *(".ts", ".m2ts", ".mts", ".m2t", ".mpg", ".mpeg", ".m2v", ".vob", ".mxf", ".dv", ".gxf"),
    *(".3gp", ".3g2", ".ogv", ".ogm", ".rm", ".rmvb", ".y4m", ".nut", ".mjpg", ".mjpeg"),
    *(".h264", ".264", ".avc", ".h265", ".265", ".hevc"),  # without a container
}


@dataclass(frozen=True)
class Found:
    """A file to do, and its path relative to the folder that it was found through."""

    path: Path
    place: Path


def is_video(path: Path) -> bool:
    """Return whether a file is a visible video, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES and not is_hidden(path)


def are_many(texts: Sequence[str], recursive: bool) -> bool:
    """Return whether inputs stand for a set of files, each with an output of its own.

    One file does not, nor does one folder or pattern of images alone. Where there is nothing, they
    do: `find` says so.

    Raises:
        CannotOpen: a folder cannot be listed.
    """
    if len(texts) != 1:
        return len(texts) > 1
    path = Path(texts[0])
    with reading(path):
        if path.is_dir():
            files = [p for p in path.iterdir() if p.is_file()]
            return recursive or any(map(is_video, files)) or not any(map(is_image, files))
        if not _is_pattern(texts[0]):
            return False
    if glob.has_magic(str(path.parent)):
        return True
    fitting = list(_fitting(texts[0]))
    return not fitting or not all(is_image(p) for p in fitting if p.is_file())


def find(
    texts: Sequence[str], recursive: bool, output: Path | None = None
) -> tuple[list[Found], list[str]]:
    """Return the files that inputs stand for, in their order, and a line for what was left out.

    Args:
        output: the folder of the outputs, in which nothing is looked for.

    Raises:
        CannotOpen: a folder cannot be listed, or nothing fits a pattern.
        BadData: there is nothing in a folder.
    """
    found: dict[tuple[str, Path], Found] = {}
    notes: list[str] = []
    for text in texts:
        path = Path(text)
        with reading(path):
            if path.is_dir():
                here = list(_in_folder(path, recursive, output, notes))
            elif _is_pattern(text):
                base = fixed_part(path)
                here = [
                    Found(p, p.relative_to(base))
                    for p in _fitting(text)
                    if p.is_file() and (is_image(p) or is_video(p))
                ]
            else:
                here = [Found(path, Path(path.name))]
        if not here:
            if _is_pattern(text):
                raise CannotOpen(f"{path}: fits no video or image")
            more = "" if recursive else "add --recursive for sub-folders"
            raise BadData(f"{path}: no videos or images in it", more)
        for f in here:  # one that is named twice is done once
            found.setdefault((os.path.realpath(f.path), f.place), f)
    return list(found.values()), notes


def _is_pattern(text: str) -> bool:
    return glob.has_magic(text) and not os.path.lexists(text)


def fixed_part(pattern: Path) -> Path:
    """Return the folder in front of the first part of a path that has ``*?[`` in it."""
    parts = pattern.parts[:-1]
    magic = next((i for i, part in enumerate(parts) if glob.has_magic(part)), len(parts))
    return Path(*parts[:magic])


def _fitting(pattern: str) -> Iterator[Path]:
    """Yield the visible files and folders that a pattern fits, in natural order."""
    found = (Path(p) for p in glob.iglob(pattern, recursive=True))
    yield from sorted((p for p in found if not is_hidden(p)), key=_order)


def _in_folder(
    folder: Path, recursive: bool, output: Path | None, notes: list[str]
) -> Iterator[Found]:
    """Yield the videos and images of a folder in natural order; note what else there is."""
    left_out: list[Path] = []

    def refuse(error: OSError) -> None:
        with reading(error.filename):
            raise error

    for name, folders, files in os.walk(folder, onerror=refuse):
        at = Path(name)
        inner = [at / f for f in folders if f[0] != "." and not _is_same(at / f, output)]
        folders[:] = [p.name for p in sorted(inner, key=_order)] if recursive else []
        left_out += [p for p in inner if p.is_symlink() or not recursive]
        for path in sorted((at / f for f in files), key=_order):
            if path.is_file() and (is_video(path) or is_image(path)):
                yield Found(path, path.relative_to(folder))
            elif not is_hidden(path) and path.name != NAME:
                left_out.append(path)
    if left_out:
        more = "" if recursive or not any(map(Path.is_dir, left_out)) else "; see --recursive"
        notes.append(f"{folder}: left out {listed(left_out)}{more}")


def _is_same(folder: Path, other: Path | None) -> bool:
    return other is not None and os.path.exists(other) and folder.samefile(other)


_order = partial(natural_key, ignore_case=True)
