"""Waits for a stream, which may never come."""

from __future__ import annotations

import os
import threading

import pytest

from engines.video.pipeline import Stop
from engines.video.read.stream import Pipe


@pytest.mark.parametrize("why", ["requested", "halted"])
def test_a_wait_for_a_pipe_ends_with_the_run(why: str) -> None:
    """By a signal, or by a fault elsewhere in the pipeline."""
    number, writing = os.pipe()
    stop, got = Stop(), []
    pipe = Pipe(number, stop)
    reader = threading.Thread(target=lambda: got.extend([pipe.read(100), pipe.read(100)]))
    reader.start()
    os.write(writing, b"first")
    reader.join(0.5)
    assert reader.is_alive()
    setattr(stop, why, True)
    reader.join(20)
    os.close(writing)
    os.close(number)
    assert got == [b"first", b""]
