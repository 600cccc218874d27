"""The tree of errors with their exit codes, and the mapping of foreign errors to it.

    WsshmError          70  ours; each says what failed, on which file, and what to do about it
    ├── UsageError       2  options that do not fit together
    ├── BadData         65  the input opens but cannot be used, or ends early
    ├── CannotOpen      66  the input is missing, unreadable or of an unknown kind
    ├── Unavailable     69  a device, engine or codec that is not usable here; not enough memory
    ├── CannotCreate    73  the output cannot be created
    └── WriteFailed     74  writing the output failed, a full disk included

Exit codes follow sysexits.h, for scripts; 129, 130 and 143 mean SIGHUP, SIGINT and SIGTERM.
Standard library only.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar


class WsshmError(Exception):
    """An error with a message for the user.

    Attributes:
        message: what failed, on which file or frame.
        remedy: what to do about it, in the imperative (``run: pip install av``); may be empty.
        exit_code: what the process returns.
        report: what a run had done when this ended it, where `wsshm.run` raises it; else None.
    """

    exit_code: ClassVar[int] = 70
    report: Any = None

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message)
        self.message, self.remedy = message, remedy

    def __str__(self) -> str:
        return f"{self.message}; {self.remedy}" if self.remedy else self.message

    def __reduce__(self) -> tuple[type[WsshmError], tuple[str, str]]:
        return type(self), (self.message, self.remedy)  # else pickling would lose the remedy


Say = Callable[[str], None]  # tells the user one line at once


def silent(text: str) -> None:
    """Say nothing."""


class UsageError(WsshmError, ValueError):
    """Options that contradict each other or the input."""

    exit_code = 2


class BadData(WsshmError, ValueError):
    """The input can be read but not used, or ends early."""

    exit_code = 65


class CannotOpen(WsshmError, OSError):
    """The input is missing, unreadable or of an unknown kind."""

    exit_code = 66


class Unavailable(WsshmError, RuntimeError):
    """A device, engine or codec that is not usable on this machine, or not enough memory."""

    exit_code = 69


class CannotCreate(WsshmError, OSError):
    """The output cannot be created."""

    exit_code = 73


class WriteFailed(WsshmError, OSError):
    """Writing the output failed after it was begun."""

    exit_code = 74


exit_codes: dict[int, str] = {
    0: "done",
    2: "options that do not make sense",
    65: "bad data: junk, no image in it, or it ends early (what could be read is kept)",
    66: "the input cannot be opened",
    69: "a device, engine or codec is not available, memory runs out, or a live input stopped",
    70: "a fault of wsshm itself; please report it",
    73: "the output cannot be created",
    74: "writing failed, a full disk included (what was written is kept)",
    129: "stopped as its terminal was closed (what was written is finished and kept)",
    130: "stopped by Ctrl-C (likewise)",
    143: "stopped by SIGTERM (likewise)",
}

# The signals that end a process early. Windows has no SIGHUP, which comes when a terminal closes.
ENDING_SIGNALS = (
    (signal.SIGINT, signal.SIGTERM)
    if sys.platform == "win32"
    else (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
)

# How libraries say that memory runs out, where they raise no MemoryError.
MEMORY_TEXTS = (
    "bad_alloc",
    "can't start new thread",
    "cannot allocate memory",
    "failed to allocate memory",
    "failed to map segment",
    "insufficient memory",
    "not enough memory",
)


def memory_error(error: BaseException | None) -> Unavailable | None:
    """Return the error to show for one that comes of too little memory; None for any other."""
    while error is not None:
        text = f"{error}".lower()
        no_thread = _is_av(error) and getattr(error, "errno", None) == errno.EAGAIN
        if isinstance(error, MemoryError) or no_thread or any(t in text for t in MEMORY_TEXTS):
            return Unavailable(
                f"not enough memory ({text.splitlines()[0] if text else 'MemoryError'})",
                "close other programs, raise the limit (ulimit -v), or use a smaller --size",
            )
        error = error.__cause__ or error.__context__
    return None


def _reason(error: BaseException) -> str:
    """Return a foreign error in plain words: ``No space left on device``."""
    code = getattr(error, "errno", None)
    if isinstance(code, int) and 0 < code < 4096:
        return os.strerror(code)
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _is_av(error: BaseException) -> bool:
    return type(error).__module__.startswith("av.")


@contextmanager
def reading(path: object) -> Iterator[None]:
    """Map errors of PyAV, OpenCV and the system to ours while `path` is opened or read.

    Raises:
        CannotOpen: missing, no permission, a directory.
        BadData: the bytes are not what they claim to be.
    """
    try:
        yield
    except WsshmError:
        raise
    except FileNotFoundError as e:
        raise CannotOpen(f"{path}: no such file") from e
    except PermissionError as e:
        raise CannotOpen(f"{path}: permission denied", "make it readable for you") from e
    except IsADirectoryError as e:
        raise CannotOpen(f"{path}: is a directory") from e
    except (ValueError, EOFError) as e:
        if not _is_av(e) and not isinstance(e, EOFError):
            raise
        raise BadData(
            f"{path}: not a readable video ({_reason(e)})",
            "it may be incomplete, never finalised, or another kind of file",
        ) from e
    except Exception as e:
        if not _is_av(e) and not isinstance(e, OSError):
            raise
        raise CannotOpen(f"{path}: cannot be read ({_reason(e)})") from e


@contextmanager
def writing(path: object, *, begun: bool) -> Iterator[None]:
    """Map errors of PyAV, OpenCV and the system to ours while `path` is created or written.

    Raises:
        CannotCreate: before anything was written (`begun` false), other than a full disk.
        WriteFailed: after that, or when the disk is full.
    """
    try:
        yield
    except WsshmError:
        raise
    except Exception as e:
        if not _is_av(e) and not isinstance(e, OSError):
            raise
        full = getattr(e, "errno", None) in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        remedy = "free some space and run again" if full else ""
        if begun or full:
            raise WriteFailed(f"{path}: writing failed ({_reason(e)})", remedy) from e
        raise CannotCreate(f"{path}: cannot be created ({_reason(e)})") from e
