"""FFmpeg's log, which PyAV gives as Python's: off, but where a message of it is wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import av.logging

QUIET = -8  # libavutil's AV_LOG_QUIET
_LEVEL = av.logging.get_level()  # None, unless the program that imports this has set one


@contextmanager
def logging_up_to(level: int) -> Iterator[None]:
    """Let messages up to a level of `av.logging` reach `av.logging.Capture` within the block."""
    av.logging.set_level(level)
    try:
        yield
    finally:
        if _LEVEL is not None:
            av.logging.set_level(_LEVEL)
        else:
            # Not back to None: a decoder's thread that is about to log would meet it and print a
            # traceback. FFmpeg's own logging is as quiet, and needs no lock of Python's.
            av.logging.set_libav_level(QUIET)
            av.logging.restore_default_callback()
