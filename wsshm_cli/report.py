"""The only place that prints: what a person reads to stderr, what a script reads to stdout."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import typer

from engines.errors import WsshmError, memory_error, writing
from wsshm_cli import streams

# Seconds between two states of a bar: on a terminal, and in a log file.
PAUSES_SECONDS = 0.2, 10.0
SLOW_PAUSES_SECONDS = 0.5, 60.0  # of work that takes hours

Show = Callable[..., None]  # see `bar`

_bar: Any = None  # the bar that is being drawn


def line(text: str) -> None:
    """Print a line for the person at the terminal."""
    if _bar is not None:
        _bar.clear()
    print(text, file=sys.stderr, flush=True)


def warning(text: str) -> None:
    """Print a warning for the person at the terminal."""
    line(f"wsshm: warning: {text}")


def error(text: str) -> None:
    """Print the one line that says why the command failed."""
    line(f"wsshm: error: {text}")


def fault(e: BaseException) -> None:
    """Print the traceback of an error in wsshm itself: no other error has one."""
    traceback.print_exception(e, file=sys.stderr)
    error(f"this is a fault of wsshm itself ({type(e).__name__}); please report it with the above")


def out(text: str) -> None:
    """Print a line of a command's result.

    Raises:
        BrokenPipeError: its reader has left.
        WriteFailed: such as a full disk.
    """
    try:
        print(text, flush=True)
    except BrokenPipeError:
        raise
    except OSError:
        streams.discard_stdout()
        with writing("stdout", begun=True):
            raise


def as_json(data: dict[str, Any]) -> None:
    """Print one JSON object on one line of stdout."""
    out(json.dumps(data))


@contextmanager
def bar(unit: str, name: str = "", *, slow: bool = False) -> Iterator[Show]:
    """Draw a progress bar on stderr; a log file gets a line now and then instead.

    Yields:
        ``show(done, total=None, note="")``. Its first call draws the bar; a call with less done
        than before ends that bar and begins another one.
    """
    from tqdm import tqdm

    terminal, log = SLOW_PAUSES_SECONDS if slow else PAUSES_SECONDS
    pause = terminal if sys.stderr.isatty() else log

    def close() -> None:
        global _bar
        if _bar is not None:
            _bar.close()
            _bar = None

    def show(done: float, total: float | None = None, note: str = "") -> None:
        global _bar
        if _bar is not None and done < _bar.n:
            close()
        if _bar is None:
            _bar = tqdm(
                desc=name or None,
                total=total,
                initial=done,
                unit=unit,
                dynamic_ncols=True,
                mininterval=pause,
                miniters=0,  # a note may change where nothing is done yet
            )
        _bar.set_postfix_str(note, refresh=False)
        _bar.update(done - _bar.n)

    try:
        yield show
    finally:
        close()


@contextmanager
def ending() -> Iterator[None]:
    """End a command: print an error as one line, a bug with its traceback; exit with its code."""
    try:
        yield
    except WsshmError as e:
        error(str(e))
        raise typer.Exit(e.exit_code) from e
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:  # the reader of our output has closed it
        streams.discard_stdout()
        raise typer.Exit from None
    except Exception as e:
        if known := memory_error(e):
            error(str(known))
            raise typer.Exit(known.exit_code) from e
        fault(e)
        raise typer.Exit(WsshmError.exit_code) from e
