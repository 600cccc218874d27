"""Pipes and devices as outputs: written into as they are, and never replaced."""

from __future__ import annotations

import errno
import os
import re
import stat
import time
from pathlib import Path
from typing import BinaryIO

from engines.errors import CannotCreate, Say, UsageError, writing
from engines.files import is_special
from engines.video.config import STDOUT
from engines.video.pipeline import TICK, Stop

# Names of files that this process has open already.
DESCRIPTOR = re.compile(r"/(?:dev|proc/self)/fd/(\d+)", re.ASCII)
STANDARD = {str(STDOUT): 1, "/dev/stdout": 1, "/dev/stderr": 2}
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)  # Windows has none


def is_pipe(path: Path) -> bool:
    """Return whether an output is standard output, another open file, a named pipe or a device.

    Raises:
        CannotCreate: the system refuses the name.
    """
    if _descriptor(path) is not None:
        return True
    with writing(path, begun=False):
        return is_special(path)


def check_pipe(path: Path) -> None:
    """Check that video can be written into a pipe.

    Raises:
        UsageError: it is a terminal.
        CannotCreate: it is a disk or a socket, is not open, or may not be written to.
    """
    descriptor = _descriptor(path)
    with writing(path, begun=False):
        mode = os.stat(path if descriptor is None else descriptor).st_mode
    if descriptor is None and (stat.S_ISBLK(mode) or stat.S_ISSOCK(mode)):
        kind = "disk" if stat.S_ISBLK(mode) else "socket"
        raise CannotCreate(f"{path}: is a {kind}", "name a file with -o")
    if descriptor is None and not os.access(path, os.W_OK):
        raise CannotCreate(f"{path}: no permission to write to it")
    if _is_terminal(path, descriptor, mode):
        what = "stdout is a terminal" if descriptor == 1 else "is a terminal"
        raise UsageError(f"-o {path}: {what}", "pipe it, as in wsshm run … -o - | mpv -")


class Pipe:
    """A pipe or a device, open to be written into.

    Opening a named pipe waits until something reads it.

    Args:
        stop: ends that wait; the pipe is not open then.
        say: told of the wait.

    Attributes:
        url: FFmpeg's name of it.

    Raises:
        CannotCreate: it cannot be opened.
    """

    def __init__(self, path: Path, stop: Stop, say: Say):
        self._file: BinaryIO | None = None
        descriptor = _descriptor(path)
        if descriptor is None:
            with writing(path, begun=False):
                self._file = _open_pipe(path, stop, say)
            descriptor = self._file.fileno() if self._file else -1
        self.url = f"pipe:{descriptor}"

    def close(self) -> None:
        """Let its reader see the end; safe to call twice."""
        if self._file is not None:
            self._file.close()


def _descriptor(path: Path) -> int | None:
    """Return the number of the open file that a path names; None if it names another one."""
    match = DESCRIPTOR.fullmatch(str(path))
    return int(match[1]) if match else STANDARD.get(str(path))


def _is_terminal(path: Path, descriptor: int | None, mode: int) -> bool:
    if descriptor is not None:
        return os.isatty(descriptor)
    if not stat.S_ISCHR(mode):
        return False
    with writing(path, begun=False):
        opened = os.open(path, os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | _NONBLOCK)
    try:
        return os.isatty(opened)
    finally:
        os.close(opened)


def _open_pipe(path: Path, stop: Stop, say: Say) -> BinaryIO | None:
    """Open a named pipe or a device; return None after a stop."""
    waits = False
    while not stop.ended:
        try:
            descriptor = os.open(path, os.O_WRONLY | _NONBLOCK)
        except OSError as e:
            if e.errno != errno.ENXIO or not path.is_fifo():
                raise
            if not waits:
                say(f"{path}: waiting for a program that reads it")
            waits = True
            time.sleep(TICK)
            continue
        if _NONBLOCK:
            os.set_blocking(descriptor, True)
        return os.fdopen(descriptor, "wb", buffering=0)
    return None
