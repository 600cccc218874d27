"""Rules for all files: their natural order, and how to replace one atomically."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from engines.errors import CannotCreate, writing

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

MAX_NAME_BYTES = 255  # of a file, without its folder
MAX_PARTS = 999  # unfinished files of one name
MAX_NAMED = 5  # files that a message names
LOCKED_BYTE = 1 << 40  # on Windows nobody can write where a file is locked: far behind its end
MAX_PIXELS = 8192 * 8192  # of an image or a frame: a small file may ask for any amount of memory


def natural_key(path: Path, ignore_case: bool = False) -> tuple[list[str | int], str]:
    """Return a sort key by which ``2.png`` comes before ``10.png``."""
    text = path.as_posix().lower() if ignore_case else path.as_posix()
    words = re.split(r"(\d+)", text)  # text and digits in turn
    return [int(w) if i % 2 else w for i, w in enumerate(words)], path.as_posix()


def listed(paths: Sequence[Path]) -> str:
    """Return how many files and folders there are, and the names of some."""
    folders = [p.name + "/" for p in paths if p.is_dir()]
    files = [p.name for p in paths if not p.is_dir()]
    parts = [
        f"{counted(len(names), what)} ({some(names)})"
        for what, names in (("file", files), ("folder", folders))
        if names
    ]
    return " and ".join(parts)


def counted(count: int, noun: str) -> str:
    """Return a number of things in words, such as ``2 files``; the plural of `noun` ends in s."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def some(names: Sequence[str]) -> str:
    """Return the first of some names, for a message."""
    return ", ".join(names[:MAX_NAMED]) + " …" * (len(names) > MAX_NAMED)


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def destination(path: Path) -> Path:
    """Return the file that is written when `path` is: where it leads, if it is a symbolic link.

    Raises:
        OSError: the links lead in a circle, or the name is too long.
    """
    if not path.is_symlink() or is_special(path):
        return path
    real = Path(os.path.realpath(path))
    if real.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    return real


def check_free(path: Path, overwrite: bool, another: str = "name another with -o") -> None:
    """Check, before any work is done, that a file may be written; `another` is the remedy.

    Raises:
        CannotCreate: it exists and `overwrite` is false, or its folder does not exist.
    """
    if path.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists already", f"{another}, or add --overwrite")
    if not path.parent.is_dir():
        raise CannotCreate(f"{path}: {path.parent} does not exist", "make the folder first")


def is_special(path: Path) -> bool:
    """Return whether `path` is a pipe or a device: written into, and never replaced."""
    return path.exists() and not path.is_file() and not path.is_dir()


def part_of(path: Path, n: int = 1) -> Path:
    """Return a name to write `path` under: ``name.part.png``, ``name.part2.png`` and so on.

    Where that is too long for a file system, a hash takes the place of the name's end.
    """
    end = f".part{n if n > 1 else ''}{path.suffix}"
    longest = f".part{MAX_PARTS}{path.suffix}"
    stem, room = os.fsencode(path.stem), MAX_NAME_BYTES - len(os.fsencode(longest))
    if len(stem) <= room:
        return path.with_name(path.stem + end)
    mark = "~" + hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return path.with_name(stem[: room - len(mark)].decode(errors="ignore") + mark + end)


def parts_left(path: Path) -> list[Path]:
    """Return the unfinished files of `path` that earlier runs left, without empty ones.

    Args:
        path: a file, and no link to one.

    Raises:
        CannotCreate: another process is writing `path` at the moment.
    """
    begin, _, end = part_of(path).name.rpartition(".part")
    numbered = re.compile(re.escape(begin) + r"\.part\d*" + re.escape(end))
    left = []
    for part in sorted(path.parent.iterdir(), key=natural_key):
        if numbered.fullmatch(part.name) and part.is_file():
            if _is_being_written(part):
                raise _being_written(path)
            left += [part] * (part.stat().st_size > 0)
    return left


class Part:
    """An unfinished file beside its final name, which no other run writes at the same time.

    It is locked until the process ends, however that ends. Where a file system has no locks, two
    runs write parts with different numbers, and the second one to finish keeps its part's name.

    Args:
        path: the final name, and no link. An earlier part that is not empty is kept: it holds what
            a killed run had finished.

    Raises:
        CannotCreate: another process is writing it, or a file cannot be created there.
    """

    def __init__(self, path: Path):
        self._final = path
        for n in range(1, MAX_PARTS + 1):
            self.path = part_of(path, n)
            descriptor: int | None
            with writing(path, begun=False):
                try:
                    descriptor = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o666)
                    is_new = True
                except FileExistsError:
                    descriptor, is_new = _open_existing(self.path), False
                if descriptor is None:
                    continue
                self._file = os.fdopen(descriptor, "r+b")
            locked = _lock(descriptor)
            if locked is False:
                self._file.close()
                raise _being_written(path)
            is_empty = locked and not os.fstat(descriptor).st_size
            if is_new or (is_empty and _is_named(descriptor, self.path)):
                return
            self._file.close()
        raise CannotCreate(
            f"{path}: too many unfinished files beside it", f"remove {path.stem}.part*"
        )

    def finish(self) -> None:
        """Move it to its final name, in place of what is there."""
        if os.name == "nt":  # moves no file that is open
            self._file.close()
        self.path.replace(self._final)
        self._file.close()

    def keep(self) -> None:
        """Leave it under its own name."""
        self._file.close()

    def remove(self) -> None:
        """Remove it."""
        if os.name == "nt":
            self._file.close()
        self.path.unlink(missing_ok=True)
        self._file.close()


class LockedFolder:
    """A folder that no other run writes its images into at the same time.

    It is made if it is not there. It stays unlocked where folders cannot be locked.

    Args:
        path: the folder, or a link to where it is or will be.

    Raises:
        CannotCreate: another process is writing into it, or it cannot be made.
    """

    def __init__(self, path: Path):
        self._descriptor: int | None = None
        with writing(path, begun=False):
            self._path = destination(path)
            self._is_new = not self._path.exists()
            self._path.mkdir(exist_ok=True)
            if os.name == "posix":
                self._descriptor = os.open(self._path, os.O_RDONLY)
        if self._descriptor is not None and _lock(self._descriptor) is False:
            self._is_new = False
            self.release()
            raise _being_written(path)

    def release(self) -> None:
        """Unlock it, and remove it if it is new and still empty; safe to call twice."""
        if self._descriptor is not None:
            os.close(self._descriptor)
        self._descriptor = None
        if self._is_new and self._path.is_dir() and not any(self._path.iterdir()):
            self._path.rmdir()


def _open_existing(path: Path) -> int | None:
    """Open a file for its lock; return None where that is not allowed, or it is no file."""
    try:
        return os.open(path, os.O_RDWR | getattr(os, "O_NONBLOCK", 0))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        return None


def _is_being_written(path: Path) -> bool:
    """Return whether a process has locked a file."""
    descriptor = _open_existing(path)
    if descriptor is None:
        return False
    try:
        return _lock(descriptor) is False
    finally:
        os.close(descriptor)


def _is_named(descriptor: int, path: Path) -> bool:
    """Return whether `path` still is the name of an open file."""
    return path.exists() and os.path.samestat(os.fstat(descriptor), path.stat())


def _being_written(path: Path) -> CannotCreate:
    return CannotCreate(
        f"{path}: another run is writing it", "wait for its end, or name another with -o"
    )


def _lock(descriptor: int) -> bool | None:
    """Lock an open file until it is closed.

    Returns:
        False if another process has locked it, None if there are no locks here.
    """
    try:
        if sys.platform == "win32":
            os.lseek(descriptor, LOCKED_BYTE, os.SEEK_SET)
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        return False if e.errno in (errno.EACCES, errno.EAGAIN, errno.EDEADLK) else None
    return True


@contextmanager
def replacing(path: Path, *, private: bool = False, durable: bool = True) -> Iterator[BinaryIO]:
    """Open `part_of` a file to write, and move it to `path` on success.

    A link is followed. A pipe or a device is written into.

    Args:
        private: readable for this user alone, and under a unique name, so that two processes
            may write at once.
        durable: flushed to the disk before it is moved, so that it outlives a power failure.

    Raises:
        CannotCreate: the folder is missing or not writable.
        WriteFailed: such as a full disk; `path` is unchanged and no temporary file is left.
    """
    with writing(path, begun=False):
        path = destination(path)
        part: Path | None = None
        file: BinaryIO
        if is_special(path):
            file = path.open("wb")
        elif private:
            descriptor, name = tempfile.mkstemp(".part", dir=path.parent)
            part, file = Path(name), os.fdopen(descriptor, "w+b")
        else:
            part = part_of(path)
            file = part.open("w+b")
    if part is None:
        with writing(path, begun=True), file:
            yield file
        return
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
