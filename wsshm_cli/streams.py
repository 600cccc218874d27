"""Standard streams that cannot fail a command's work, and are nobody else's file."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

STDERR = 2  # its file descriptor


class _Unfailing(io.FileIO):
    """A file whose writes always succeed: what the system refuses is lost."""

    def write(self, data: Any) -> int:
        try:
            written = super().write(data)
        except OSError:  # its reader has left, its disk is full, its terminal is gone
            written = None
        # None also means that a descriptor that never waits has no room now.
        return memoryview(data).nbytes if written is None else written


def secure() -> None:
    """Make `sys.stderr` unable to fail, and let no file take the place of a closed stream.

    On Windows a console stays as it is: neither does it fill up nor does its reader leave.

    A descriptor below 3 that is closed would be given to the next file that is opened, and what
    libraries print would go into that file.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    # A console of Windows takes text alone: bytes would be shown in its old code page.
    if os.name != "nt" or sys.stderr is None or not sys.stderr.isatty():
        sys.stderr = io.TextIOWrapper(
            io.BufferedWriter(_Unfailing(STDERR, "w", closefd=False)), encoding, line_buffering=True
        )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # "?" for what a terminal cannot show


def discard_stdout() -> None:
    """Let what is still to be printed to stdout go nowhere; Python would try again at its exit."""
    if sys.stdout is not None:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
