"""The last step of a run: write every frame to every output, and note how late it was."""

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

MAX_HOLD_SECONDS = 1.0  # that a frame is held back
MAX_LATENCIES = 100_000  # of the newest frames of a live source: an hour's


class Writer:
    """The outputs of a run as one; after an error in one of them, all are still closed.

    Args:
        on_frame: called with the number of frames written so far, after each.
        in_time: hold frames back until their time has come; `waited` counts the seconds.
        stop: ends such a wait.
    """

    def __init__(
        self, sinks: list[FrameSink], on_frame: Callable[[int], None], in_time: bool, stop: Stop
    ):
        self._stop = stop
        self._in_time, self._began, self.waited = in_time, 0.0, 0.0
        self._sinks, self._on_frame, self.frames = sinks, on_frame, 0
        self._latencies: deque[float] = deque(maxlen=MAX_LATENCIES)

    def write(self, item: Composited) -> None:
        """Write a frame to every sink, held back until its time if `in_time`.

        One that leads in is left out.
        """
        if item.frame.leads_in:
            return
        if self._in_time:
            self._wait(item.frame)
        for sink in self._sinks:
            sink.write(item)
        self.frames += 1
        if item.frame.arrived:
            self._latencies.append(time.perf_counter() - item.frame.arrived)
        self._on_frame(self.frames)

    def packet(self, packet: av.Packet) -> None:
        """Copy a packet to every sink."""
        for sink in self._sinks:
            sink.packet(packet)

    def _wait(self, frame: Frame) -> None:
        """Wait until a frame of a file is to be shown, by the clock; a late one does not wait."""
        moment = float(frame.pts * frame.time_base)
        self._began = self._began or time.perf_counter() - moment
        begin = now = time.perf_counter()
        due = min(begin + MAX_HOLD_SECONDS, self._began + moment)
        while now < due and not self._stop.ended:
            time.sleep(min(TICK, due - now))
            now = time.perf_counter()
        self.waited += now - begin

    @property
    def latency(self) -> tuple[float, float] | None:
        """Seconds from a frame's arrival until it is written: the median and the 95th percentile.

        None if no frame came from a live source.
        """
        if not self._latencies:
            return None
        p50, p95 = np.percentile(self._latencies, [50, 95])
        return float(p50), float(p95)

    def close(self, error: BaseException | None, whole: bool) -> BaseException | None:
        """Finish the outputs; return `error`, or else the first error that this raised.

        Args:
            whole: whether everything was written that was to be.
        """
        for sink in self._sinks:
            try:
                sink.close(whole)
            except Exception as e:
                error = error or e
        return error
