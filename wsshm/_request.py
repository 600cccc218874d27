"""Arguments → the parts of a `RunConfig`, checked as the command line checks its options."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

from engines.errors import UsageError, memory_error
from engines.video.config import MAX_SIZE, MIN_SIZE, Clip, MatteOptions, Stream

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


def source(given: PathLike) -> Path | Stream:
    """Return what an input names: a path, or an address such as ``rtsp://camera/stream``."""
    if not isinstance(given, str):
        return Path(given)
    if not given:
        raise UsageError("input: is empty")
    from engines.video.read.stream import parse_input

    return parse_input(given)


def network(
    model: PathLike | None, size: int | None, device: str, precision: Any
) -> dict[str, Any]:
    """Return the fields of a `RunConfig` that say which network runs on what."""
    if size is not None and not (isinstance(size, int) and MIN_SIZE <= size <= MAX_SIZE):
        raise UsageError(f"size={size!r}: is a number of pixels, {MIN_SIZE} to {MAX_SIZE}")
    name = None if model is None else os.fspath(model)
    return {"model": name, "size": size, "device": device, "precision": precision}


def clip(start: Seconds, duration: Seconds | None) -> Clip:
    """Return a part of a video."""
    if start < 0:
        raise UsageError(f"start={start}: must not be under 0")
    if duration is not None and duration <= 0:
        raise UsageError(f"duration={duration}: must be over 0")
    return Clip(start, duration)


def matte(smooth: float, **options: Any) -> MatteOptions:
    """Return the post-processing of a matte."""
    if not 0 <= smooth < 1:
        raise UsageError(f"smooth={smooth}: must be at least 0 and under 1")
    return MatteOptions(smooth=smooth, **options)
