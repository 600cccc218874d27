"""A stream that sends at its own pace, as a source: its times, its end, and its return."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction

import av

from engines.errors import Unavailable, UsageError, WsshmError
from engines.video.config import SILENCE_SECONDS, Clip, Stream
from engines.video.frame import Frame
from engines.video.pipeline import TICK, Stop
from engines.video.read.source import FrameSource
from engines.video.read.video import VideoSource

PAUSE = 0.5  # seconds between two attempts to connect again
WINDOW = 2.0  # seconds over which it is seen whether the network keeps up
TOLERATED = 0.05  # share of frames that may be dropped


def open_stream(
    stream: Stream,
    clip: Clip,
    threads: int = 0,
    stop: Stop | None = None,
    reconnect: bool = False,
    bit_depth: int = 8,
) -> FrameSource:
    """Open standard input, an address or a camera.

    Args:
        clip: only its duration can be chosen.
        threads: of the decoder; 0 leaves it to FFmpeg.
        stop: ends every wait for the stream.
        reconnect: wait for a stream that has stopped to come back.
        bit_depth: of a code of a frame, 8 or 10.

    Raises:
        CannotOpen, BadData: as `open_source`.
        UsageError: a later start.
    """
    if clip.start:
        raise UsageError(f"{stream}: --start needs a file; this cannot be wound forward")
    if reconnect and stream.paced is False:
        raise UsageError(f"--reconnect: {stream} is not live; it ends when it ends")
    stop = stop or Stop()
    source = VideoSource(stream, Clip() if stream.paced else clip, threads, bit_depth, stop)
    if stream.paced or (stream.paced is None and not source.has_length):
        return LiveSource(source, stream, clip, stop, reconnect)
    if reconnect:
        source.close()
        raise UsageError(f"--reconnect: {stream} is not live; it ends when it ends")
    return source


class Pace:
    """Lets the network see less of each frame while it is too slow for a live source.

    Args:
        sizes: shorter edges to choose from, in pixels, ascending; it begins with the last.
    """

    def __init__(self, sizes: Sequence[int]):
        self._sizes = sizes
        self._at, self._since = len(sizes) - 1, (0.0, 0, 0)

    @property
    def size(self) -> int:
        return self._sizes[self._at]

    def step(self, now: float, frames: int, dropped: int) -> bool:
        """Look at what came through so far; whether `size` is another now.

        Args:
            now: in seconds, by any clock.
            frames: taken by the network since the beginning.
            dropped: ... and what came too soon for it.
        """
        before, taken, lost = self._since
        if not before:
            # What waited at the beginning does not count.
            self._since = now + PAUSE, frames, dropped
            return False
        if now - before < WINDOW or not self._at:
            return False
        taken, lost = frames - taken, dropped - lost
        self._since = now, frames, dropped
        share = taken / max(1, taken + lost)
        if 1 - share <= TOLERATED:
            return False
        # The work goes with the square of the size.
        wanted = self.size * max(0.5, share**0.5)
        self._at = max((i for i in range(self._at) if self._sizes[i] <= wanted), default=0)
        return True


class LiveSource(FrameSource):
    """Frames as they come. Times begin at 0; after a break they go on by the clock."""

    live = True

    def __init__(
        self, source: VideoSource, stream: Stream, clip: Clip, stop: Stop, reconnect: bool
    ):
        super().__init__()
        self.path, self.total = stream, None
        self.format, self.audio = source.format, source.audio
        self.rate, self.time_base = source.rate or Fraction(30), source.time_base
        self.sample_aspect = source.sample_aspect
        self.warnings = source.warnings
        self._source, self._stream, self._stop = source, stream, stop
        self._reconnect, self._end = reconnect, clip.end
        self._frames = 0

    def items(self) -> Iterator[Frame | av.Packet]:
        began, last = time.monotonic(), -1
        sounds = {stream.index for stream in self.audio}
        while True:
            shift: Fraction | None = None  # seconds, from the stream's times to ours
            for item in self._source.items():
                if isinstance(item, Frame):
                    position = item.pts * item.time_base
                    if shift is None:
                        now = Fraction(time.monotonic() - began).limit_denominator(90000)
                        shift = (now if self._frames else Fraction(0)) - position
                    pts = max(last + 1, round((position + shift) / self.time_base))
                    if pts * self.time_base >= self._end:
                        return
                    last = pts
                    self._frames += 1
                    ticks = round(item.duration * item.time_base / self.time_base)
                    yield replace(
                        item,
                        pts=pts,
                        duration=ticks,
                        time_base=self.time_base,
                        arrived=time.perf_counter(),
                    )
                elif shift is not None and item.stream_index in sounds:
                    # Sound before the first image would have none to go with.
                    ticks = round(shift / item.time_base)
                    item.pts, item.dts = (item.pts or 0) + ticks, (item.dts or 0) + ticks
                    yield item
            if self._stop.ended:
                return
            if not self._reconnect:
                self._judge_end()
                return
            self.note(f"{self._stream}: stopped after {self._frames} frames; connecting again …")
            if not self._connect():
                return
            self.note(f"{self._stream}: is back")

    def _judge_end(self) -> None:
        fault = self._source.fault
        if fault is None and not self._stream.is_camera:
            return  # whoever sends has ended
        why = (fault or f"{self._stream}: the camera stopped").removesuffix(".")
        self.fault = f"{why} after {self._frames} frames; --reconnect waits for it to come back"
        self.fault_kind = self._source.fault_kind if fault else Unavailable

    def _connect(self) -> bool:
        """Wait for the stream to come back; false where a stop came first."""
        self._source.close()
        while not self._stop.ended:
            try:
                fresh = VideoSource(self._stream, Clip(), stop=self._stop, wait=SILENCE_SECONDS)
            except WsshmError:
                until = time.monotonic() + PAUSE
                while time.monotonic() < until and not self._stop.ended:
                    time.sleep(TICK)
                continue
            fresh.continue_as(self._source)
            self._source = fresh
            return True
        return False

    def close(self) -> None:
        self._source.close()
