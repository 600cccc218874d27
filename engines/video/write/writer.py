"""The last step of a run: every output gets every frame, and how late it was is noted."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

import av
import numpy as np

from engines.video.compose.composite import Composited
from engines.video.frame import Frame
from engines.video.pipeline import TICK, Stop
from engines.video.write.sink import FrameSink

LONGEST = 1.0  # seconds that a frame is held back
LATENCIES = 100_000  # of the newest frames of a live source: an hour's


class Writer:
    """Every sink gets every frame; whatever happens, every sink is closed.

    Args:
        in_time: hold frames back until their time has come; `waited` is for how many seconds.
        stop: ends such a wait.
    """

    def __init__(
        self, sinks: list[FrameSink], on_frame: Callable[[int], None], in_time: bool, stop: Stop
    ):
        self._stop = stop
        self._in_time, self._began, self.waited = in_time, 0.0, 0.0
        self._sinks, self._on_frame, self.frames = sinks, on_frame, 0
        self._latencies: deque[float] = deque(maxlen=LATENCIES)

    def __call__(self, item: Composited | av.Packet) -> None:
        if isinstance(item, av.Packet):
            for sink in self._sinks:
                sink.packet(item)
            return
        if self._in_time:
            self._wait(item.frame)
        for sink in self._sinks:
            sink.write(item)
        self.frames += 1
        if item.frame.arrived:
            self._latencies.append(time.perf_counter() - item.frame.arrived)
        self._on_frame(self.frames)

    def _wait(self, frame: Frame) -> None:
        """Until a frame of a file is to be shown, by the clock; those that are late do not wait."""
        moment = float(frame.pts * frame.time_base)
        self._began = self._began or time.perf_counter() - moment
        begin = now = time.perf_counter()
        due = min(begin + LONGEST, self._began + moment)
        while now < due and not self._stop.ended:
            time.sleep(min(TICK, due - now))
            now = time.perf_counter()
        self.waited += now - begin

    @property
    def latency(self) -> tuple[float, float] | None:
        """Seconds from a frame's arrival to where it is written: the median, and the 95th centile.

        None where no frame came from a live source.
        """
        if not self._latencies:
            return None
        median, most = np.percentile(self._latencies, [50, 95])
        return float(median), float(most)

    def close(self, error: BaseException | None, whole: bool) -> BaseException | None:
        """Finish the outputs; returns the first error there was."""
        for sink in self._sinks:
            try:
                sink.close(whole)
            except Exception as e:
                error = error or e
        return error
