"""The last step of a run: when frames are handed on."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from engines.video.compose.composite import Composited
from engines.video.frame import Frame, FrameFormat
from engines.video.pipeline import Stop
from engines.video.write.writer import Writer


class CountedLooks(Stop):
    """A run that is stopped by the time of the third look."""

    looks = 0

    @property
    def ended(self) -> bool:
        self.looks += 1
        return self.looks > 2


def test_a_wait_for_a_frames_time_looks_at_the_stop() -> None:
    """Again and again: a frame that is due in an hour is handed on at once then."""
    fmt, stop = FrameFormat(2, 2), CountedLooks()
    image, alpha = fmt.new_image(), np.zeros((2, 2), np.uint8)
    written: list[int] = []
    writer = Writer([], written.append, True, stop)
    for hour in (0, 1):
        frame = Frame(image, fmt, hour, Fraction(3600))
        writer.write(Composited(frame, alpha, image, None))
    assert written == [1, 2]
    assert stop.looks == 3
    assert writer.waited > 0
