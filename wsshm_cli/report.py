"""The only place that prints. What a person reads goes to stderr, what a script reads to stdout."""

from __future__ import annotations

import json
import sys
import traceback
from typing import Any


def line(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, file=sys.stderr, flush=True)


def warning(text: str) -> None:
    line(f"wsshm: warning: {text}")


def error(text: str) -> None:
    line(f"wsshm: error: {text}")


def fault(e: BaseException) -> None:
    """A fault of wsshm itself: the one case with a traceback."""
    traceback.print_exception(e, file=sys.stderr)
    error(f"this is a fault of wsshm itself ({type(e).__name__}); please report it with the above")


def out(text: str) -> None:
    """A line of a command's result."""
    print(text, flush=True)


def as_json(data: dict[str, Any]) -> None:
    """One JSON object on one line of stdout."""
    print(json.dumps(data), flush=True)
