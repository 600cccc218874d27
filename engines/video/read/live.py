"""Streams as sources: timeouts, live timestamps, and reconnecting."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

import av

from engines.errors import Say, Unavailable, WsshmError, silent
from engines.video.config import OPENING_SECONDS, SILENCE_SECONDS, Clip, Stream
from engines.video.frame import Frame, is_frame
from engines.video.pipeline import TICK, Stop
from engines.video.read.source import FrameSource
from engines.video.read.stream import open_container
from engines.video.read.video import LIMIT_OPTIONS, VideoSource

PAUSE_SECONDS = 0.5  # between two attempts to connect again


class StreamSource(VideoSource):
    """The video of a stream, which may fall silent, until it ends.

    Args:
        stream: what to open.
        stop: ends every wait for the stream.
        wait: seconds that it may take to begin.

    Raises:
        CannotOpen, Unavailable: nothing comes, or the camera does not start.
        BadData: as `VideoSource`.
    """

    def __init__(
        self,
        stream: Stream,
        clip: Clip,
        threads: int = 0,
        bit_depth: int = 8,
        warn: Say = silent,
        stop: Stop | None = None,
        wait: float = OPENING_SECONDS,
    ):
        self._stream, self._stop, self._wait = stream, stop or Stop(), wait
        self._waits = stream.paced is False  # a live image is not kept waiting
        super().__init__(stream, clip, threads, bit_depth, warn)

    _search = Fraction(1)  # a live image is not kept waiting

    def _open_container(self) -> Any:
        container = open_container(self._stream, LIMIT_OPTIONS, self._stop, self._wait)
        self._heard = time.monotonic()  # when the last image came
        return container

    def _set_up(self, context: Any, threads: int) -> None:
        super()._set_up(context, threads)
        if self._stream.paced:
            context.thread_type = "SLICE"  # frames decoded in parallel come later
            context.flags |= int(av.codec.context.Flags.low_delay)

    def _packets(self, *streams: Any) -> Iterator[av.Packet]:
        for packet in super()._packets(*streams):
            if self._stream.paced is not False:
                # After joining mid-stream, the first decodable image is the next key frame.
                patience = self._stream.silence if self._decoded else OPENING_SECONDS
                if time.monotonic() - self._heard > patience:
                    self._fall_silent(patience)
                    return
            yield packet

    def _decode(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        decoded = self._decoded
        yield from super()._decode(packet)
        if self._decoded > decoded:
            self._heard = time.monotonic()  # not before: the run may have held them up for long

    def _break_off(self, error: Exception) -> None:
        if isinstance(error, av.error.ExitError):
            self._fall_silent(self._stream.silence)
            return
        super()._break_off(error)
        if self._stream.url == "-" and not self._decoded:
            self.fault = (
                f"{self.fault}; an mp4 whose index is at its end needs a file: wsshm run - < FILE"
            )
        if isinstance(error, OSError):
            self.fault_kind = Unavailable

    def _fall_silent(self, seconds: float) -> None:
        self.fault = f"{self.path}: no image came for {seconds:g} s: it stopped"
        self.fault_kind = Unavailable

    def reopened(self, wait: float) -> StreamSource:
        """Open the stream again, for images in this source's format; nothing is warned of twice.

        Args:
            wait: seconds that it may take to begin.

        Raises:
            CannotOpen, Unavailable, BadData: as the constructor.
        """
        fresh = StreamSource(self._stream, Clip(), warn=self._warn, stop=self._stop, wait=wait)
        fresh.format, fresh.convert = self.format, self.convert
        return fresh


class LiveSource(FrameSource):
    """Frames as they come. Times begin at 0; after a break they go on by the clock.

    Args:
        source: the stream, opened.
        clip: its end is the end of the run.
        stop: ends the wait for a stream that has stopped.
        reconnect: wait for a stream that has stopped to come back.
        say: told when it stops, and when it is back.
    """

    is_live = True

    def __init__(
        self,
        source: StreamSource,
        stream: Stream,
        clip: Clip,
        stop: Stop,
        reconnect: bool,
        say: Say = silent,
    ):
        super().__init__()
        self.path, self.total = stream, None
        self.format, self.audio = source.format, source.audio
        self.first_packets = source.first_packets
        self.rate, self.time_base = source.rate or Fraction(30), source.time_base
        self.sample_aspect = source.sample_aspect
        self._source, self._stream, self._stop = source, stream, stop
        self._reconnect, self._end, self._say = reconnect, clip.end, say
        self._frames = 0

    def items(self) -> Iterator[Frame | av.Packet]:
        began, last = time.monotonic(), -1
        sounds = {stream.index for stream in self.audio}
        while True:
            shift: Fraction | None = None  # seconds, from the stream's times to ours
            for item in self._source.items():
                if is_frame(item):
                    position = item.pts * item.time_base
                    if shift is None:
                        now = Fraction(time.monotonic() - began).limit_denominator(90000)
                        shift = (now if self._frames else Fraction(0)) - position
                    pts = max(last + 1, round((position + shift) / self.time_base))
                    if self._end is not None and pts * self.time_base >= self._end:
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
                    continue
                packet: Any = item
                # Sound before the first image would have none to go with.
                if shift is not None and packet.stream_index in sounds:
                    ticks = round(shift / packet.time_base)
                    packet.pts, packet.dts = (packet.pts or 0) + ticks, (packet.dts or 0) + ticks
                    yield packet
            if self._stop.ended:
                return
            if not self._reconnect:
                self._judge_end()
                return
            self._say(f"{self._stream}: stopped after {self._frames} frames; connecting again …")
            if not self._connect():
                return
            self._say(f"{self._stream}: is back")

    def _judge_end(self) -> None:
        fault = self._source.fault
        if fault is None and not self._stream.is_camera:
            return  # the sender has ended it
        why = (fault or f"{self._stream}: the camera stopped").removesuffix(".")
        self.fault = f"{why} after {self._frames} frames; --reconnect waits for it to come back"
        self.fault_kind = self._source.fault_kind if fault else Unavailable

    def _connect(self) -> bool:
        """Wait for the stream to come back; return False if a stop came first."""
        self._source.close()
        while not self._stop.ended:
            try:
                fresh = self._source.reopened(SILENCE_SECONDS)
            except WsshmError:
                until = time.monotonic() + PAUSE_SECONDS
                while time.monotonic() < until and not self._stop.ended:
                    time.sleep(TICK)
                continue
            self._source = fresh
            return True
        return False

    def close(self) -> None:
        self._source.close()
