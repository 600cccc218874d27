"""Arguments → the parts of a `RunConfig`, checked as the command line checks its options."""

from __future__ import annotations

import logging
import numbers
import operator
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from engines.errors import UsageError, memory_error
from engines.video.config import MAX_SECONDS, MAX_SIZE, MIN_SIZE, Clip, MatteOptions, Stream

PathLike = str | os.PathLike[str]
Seconds = float | Fraction

logger = logging.getLogger("wsshm")


@contextmanager
def known_errors() -> Iterator[None]:
    """Raise what comes of too little memory as `Unavailable`."""
    try:
        yield
    except Exception as e:
        if (known := memory_error(e)) is not None:
            raise known from e
        raise


def path_of(given: PathLike, name: str) -> str:
    """Return the path, or another word, that the argument of a name gives."""
    try:
        text: Any = os.fspath(given)
    except TypeError:
        text = None
    if not isinstance(text, str):  # `os.fspath` takes bytes too
        raise UsageError(f"{name}={given!r}: must be a string or a path")
    if "\0" in text:
        raise UsageError(f"{name}={text!r}: has a NUL character, which no path has")
    return text


def word(given: Any, name: str) -> str:
    """Return the word that the argument of a name gives."""
    if not isinstance(given, str):
        raise UsageError(f"{name}={given!r}: must be a string")
    return given


def number(given: Any, name: str) -> Any:
    """Return the number, of Python or NumPy, that the argument of a name gives."""
    if not isinstance(given, numbers.Real):
        raise UsageError(f"{name}={given!r}: must be a float, an integer or a Fraction")
    return given


def source(given: PathLike) -> Path | Stream:
    """Return what an input names: a path, or an address such as ``rtsp://camera/stream``."""
    text = path_of(given, "input")
    if not isinstance(given, str):
        return Path(text)
    if not given:
        raise UsageError("input: is empty")
    from engines.video.read.stream import parse_input

    return parse_input(given)


def network(
    model: PathLike | None, size: int | None, device: str, precision: Any
) -> dict[str, Any]:
    """Return the fields of a `RunConfig` that say which network runs on what."""
    name = None if model is None else path_of(model, "model")
    return {
        "model": name,
        "size": None if size is None else _lines(size),
        "device": word(device, "device"),
        "precision": word(precision, "precision"),
    }


def _lines(size: Any) -> int:
    try:
        lines = operator.index(size)  # of NumPy as well
    except TypeError:
        lines = 0
    if not MIN_SIZE <= lines <= MAX_SIZE:
        raise UsageError(f"size={size!r}: is a number of pixels, {MIN_SIZE} to {MAX_SIZE}")
    return lines


def clip(start: Seconds, duration: Seconds | None) -> Clip:
    """Return a part of a video."""
    if not 0 <= number(start, "start") <= MAX_SECONDS:
        raise UsageError(f"start={start}: must be seconds, 0 to {MAX_SECONDS}")
    if duration is not None and not 0 < number(duration, "duration") <= MAX_SECONDS:
        raise UsageError(
            f"duration={duration}: must be seconds over 0, at most {MAX_SECONDS}",
            "give None to take all to the end",
        )
    return Clip(start, duration)


def matte(smooth: float, **options: Any) -> MatteOptions:
    """Return the post-processing of a matte."""
    if not 0 <= number(smooth, "smooth") < 1:
        raise UsageError(f"smooth={smooth}: must be at least 0 and under 1")
    return MatteOptions(smooth=smooth, **options)
