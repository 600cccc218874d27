"""A video as a source: demux and decode it, and judge where it begins and ends."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av

from engines.errors import BadData, Say, reading, silent
from engines.files import MAX_PIXELS
from engines.video.config import Clip, Segment, Stream
from engines.video.frame import Frame
from engines.video.read import others, video_stream
from engines.video.read.ahead import Ahead, CodecWatch, look_ahead
from engines.video.read.convert import Converter, frame_format, upright_aspect
from engines.video.read.deinterlace import Deinterlacer
from engines.video.read.display_order import DisplayOrder, HeldBack, until_next
from engines.video.read.orientation import OrientationReader
from engines.video.read.source import FrameSource
from engines.video.read.timeline import Timeline
from engines.video.read.times import (
    expected_frames,
    has_clock,
    is_found_by_time,
    nominal_rate,
    read_and_declared,
    starts_late,
    stream_length,
)
from engines.video.read.window import Window

LIMIT_OPTIONS = {"max_pixels": str(MAX_PIXELS)}  # for the demuxer and its decoders


class VideoSource(FrameSource):
    """A video file. Frames keep their times and, where possible, the decoder's own planes.

    `is_picture` says whether it is a picture, in a format of which there are no videos.

    Args:
        path: the file.
        clip: the part of it to give.
        threads: of the decoder; 0 leaves it to FFmpeg. The frames do not depend on it.
        bit_depth: of the frames' samples, 8 or 10, independent of the file's.
        warn: told what is converted, left out or damaged.
        segment: of the clip, to give alone. It has no other streams, tags or chapters; the times of
            its frames are those in the clip.

    Raises:
        CannotOpen: the file cannot be read.
        BadData: no frame of the clip can be decoded, HDR, or over `MAX_PIXELS`.
    """

    def __init__(
        self,
        path: Path | Stream,
        clip: Clip,
        threads: int = 0,
        bit_depth: int = 8,
        warn: Say = silent,
        segment: Segment | None = None,
    ):
        super().__init__(warn)
        self.path, self._clip = path, clip
        with reading(path):
            self._container = self._open_container()
        try:
            self._open(threads, bit_depth, segment)
        except BaseException:
            self._container.close()
            raise

    _search = Fraction(5)  # seconds of the part in which other streams are looked for
    _waits = True  # for the next frame, before one is given

    def _open_container(self) -> Any:
        return video_stream.open_film(f"file:{self.path}", self.path, LIMIT_OPTIONS)

    def _set_up(self, context: Any, threads: int) -> None:
        """Prepare the decoder before its first packet."""
        context.options = LIMIT_OPTIONS
        context.thread_type, context.thread_count = "AUTO", threads

    def _open(self, threads: int, bit_depth: int, segment: Segment | None) -> None:
        path, streams = self.path, self._container.streams
        self._video: Any = video_stream.choose_video(self._container, path, self._warn)
        self._decoder: Any = video_stream.open_decoder(self._video, self._warn)
        self.is_picture = video_stream.is_picture(self._container, self._video, path)
        self._clip = Clip() if self.is_picture else self._clip  # nothing in it can be sought
        self._crop = video_stream.cropping(self._container, self._video)
        self._turn = OrientationReader(self._warn)
        self._set_up(self._decoder, threads)
        self._deinterlace = Deinterlacer(self._video, self._warn)
        self.audio = tuple(s for s in streams.audio if s.codec_context is not None)
        self.subtitles = tuple(s for s in streams.subtitles if s.codec_context is not None)
        self._container_start = Fraction(self._container.start_time or 0, av.time_base)
        self.data = tuple(others.data_streams(self._container))
        self.metadata = dict(self._container.metadata)
        self.chapters = tuple(others.chapters(self._container, self._origin, self._clip.duration))
        self.metadata.pop("timecode", None)
        self.video_metadata = others.video_metadata(self._container, self._video, self._clip.start)
        for stream in others.unreadable_streams(self._container, self._video):
            self._warn(f"{path}: left out {others.name_of(stream)}")
        self.time_base = self._video.time_base or Fraction(1, av.time_base)
        self.rate = nominal_rate(self._video)
        self._decoded = self._skipped = 0
        self._torn = False  # whether a packet was incomplete
        self._held: HeldBack | None = None
        self._timeline = Timeline(
            self._container, self._video, self.audio, self.rate, str(path), self._warn
        )
        begin = round(self._container_start / self.time_base) if has_clock(self._container) else 0
        self._order = DisplayOrder(self._container, self._video, self._decoder, begin)
        self._done: set[int] = set()  # indices of streams that are past the clip's end
        self._window = Window(self._clip, segment, self.time_base)
        if self._window.start > 0:
            with reading(path):
                self._go_to_start()
        self._coming = self._look_ahead()
        if segment:
            self.audio = self.subtitles = self.data = self.attachments = self.chapters = ()
            self.first_packets, self.metadata, self.video_metadata = {}, {}, {}
        self._queue = self._read()
        self._ahead: list[Any] = []  # the first image, and the packets before it
        first = self._first_image()
        turn = self._turn(first)
        self.format = frame_format(first, bit_depth, path, turn, self._crop)
        self.sample_aspect = upright_aspect(self._video.sample_aspect_ratio, turn)
        written = self._window.written
        self.total = expected_frames(self._container, self._video, self.rate, written)
        opaque = video_stream.has_unused_alpha(self._container, self._video)
        self.convert = Converter(first, self.format, self._turn, self._crop, opaque, self._warn)

    def _look_ahead(self) -> Generator[av.Packet, None, None]:
        """Set what other streams begin with, and return the packets of all streams to copy."""
        covers = others.cover_streams(self._container, self._video)
        streams = *self.audio, *self.data
        watch = CodecWatch(self._container, self.audio)
        every = self._packets(self._video, *self.audio, *self.subtitles, *self.data, *covers)
        read = self._timeline.join(every)
        far = self._window.start + self._search
        ahead: Ahead = look_ahead(
            (p for p in read if not self._changed(watch, p)),
            streams,
            covers,
            lambda p: p.pts is not None and self._is_in_part(p),
            lambda p: p.dts is not None and self._position(p.dts, p.time_base) > far,
        )
        self.first_packets = ahead.first
        if ahead.at_end:
            empty = [s for s in streams if not ahead.first[s.index]]
            for stream in empty:
                self._warn(f"{self.path}: left out {others.name_of(stream)}, which is empty here")
            self.audio = tuple(s for s in self.audio if s not in empty)
            self.data = tuple(s for s in self.data if s not in empty)
        given = {c: ahead.covers[c.index] for c in covers if c.index in ahead.covers}
        self.attachments = tuple(others.attachments(self._container, given))
        return ahead.packets

    def _changed(self, watch: CodecWatch, packet: av.Packet) -> bool:
        is_other = watch.is_other(packet)
        if is_other:
            name = others.name_of(packet.stream)
            self._warn(f"{self.path}: {name} has another codec on the way, which is left out")
        return is_other

    def _is_in_part(self, packet: av.Packet) -> bool:
        position = self._position(packet.pts or 0, packet.time_base)
        return self._window.is_begun(position) and not self._window.is_after(position)

    def _first_image(self) -> av.VideoFrame:
        """Decode up to the first image of the clip.

        Raises:
            CannotOpen, BadData: the clip has no image.
        """
        with reading(self.path):
            for item in self._queue:
                self._ahead.append(item)
                if isinstance(item, av.VideoFrame):
                    return item
        raise BadData(*self._reason_for_nothing())

    def _go_to_start(self) -> None:
        """Prepare to read from a place before the clip's start."""
        if not has_clock(self._container):
            return  # images are counted from the first one
        if is_found_by_time(self._container, self._video):
            self._seek()
            return
        self._held = HeldBack(self._is_at_start)
        self._order = DisplayOrder(self._container, self._video, self._decoder, None)

    def _seek(self) -> None:
        """Seek to a place from which the first decoded image is not after the clip's start.

        Some formats seek to places without a key frame: then seek further and further back.
        """
        begin, back = round(self._container_start / self.time_base), 0
        latest = self._window.start + self.time_base / 2
        while (target := self._window.start - back) > 0:
            ticks = int((self._container_start + target) / self.time_base)
            self._seek_to(ticks)
            first = self._first_time()
            if first is not None and self._position(first, self.time_base) <= latest:
                # Images that lead up to a key frame are lost after a seek to it. Where times are
                # derived they are missed until the next one: then begin two key frames before.
                for _ in range(2 if self._order.is_derived else 0):
                    ticks = max(begin, first - 1)
                    self._seek_to(ticks)
                    first = self._first_time() or begin
                self._seek_to(ticks)
                return
            back = back * 2 or 1
        self._seek_to(0)

    def _seek_to(self, ticks: int) -> None:
        depth = self._decoder.reorder_depth
        self._container.seek(ticks, stream=self._video)
        self._decoder.flush_buffers()  # it may not be the stream's own
        self._decoder.reorder_depth = depth  # which it has forgotten
        self._order = DisplayOrder(self._container, self._video, self._decoder, None)

    def _packets(self, *streams: Any) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(*streams)
        except IndexError:  # PyAV's, after the last packet, as in a broadcast
            self._warn(f"{self.path}: left out a stream that begins on the way")

    def _first_time(self) -> int | None:
        """Return the time of the next image that can be decoded, in ticks."""
        for packet in self._packets(self._video):
            self._order.note(packet)
            try:
                images = self._decoder.decode(packet)
            except av.error.FFmpegError:
                continue
            for image in images:
                if (pts := self._order.time(image)) is not None:
                    return pts
        return None

    def _reason_for_nothing(self) -> tuple[str, str]:
        """Return why no image was decoded, and a remedy."""
        if self.fault:
            return self.fault, ""
        if self._video.index in self._done:
            part = f"{float(self._window.start):g} to {float(self._window.end or 0):g} s"
            return f"{self.path}: no image begins from {part}: one stays", ""
        if self._decoded:
            return f"{self.path}: ends before --start {float(self._clip.start):g} s", ""
        if not self._video.codec_context.width:
            return f"{self.path}: no size, or over {MAX_PIXELS >> 20} megapixels", "make it smaller"
        return f"{self.path}: no frame in it can be decoded", "it may be incomplete"

    @property
    def _origin(self) -> Fraction:
        """The moment that becomes 0, in seconds: the clip's start, or where a late clock begins."""
        if self._clip.start > 0 or starts_late(self._container):
            return self._container_start + self._clip.start
        return Fraction(0)

    def items(self) -> Iterator[Frame | av.Packet]:
        yield from until_next(self._items(), self._end) if self._waits else self._items()
        self._judge_end()

    def _end(self, reached: int) -> int:
        """Return when the last frame ends, in ticks; they were said to last until `reached`."""
        video, begin, ends = self._video, round(self._origin / self.time_base), [reached]
        if video.duration and not self._timeline.jumped:
            ends.append((video.start_time or 0) + video.duration - begin)
        if self._window.end is not None:
            end = round((self._container_start + self._window.end) / self.time_base) - begin
            ends = [end] if video.index in self._done else [*ends, end]  # an image comes behind it
        return min(ends)

    def _items(self) -> Iterator[Frame | av.Packet]:
        offset = self._origin  # seconds that are subtracted from all times
        ticks = round(offset / self.time_base)
        last = None
        items, self._ahead = chain(self._ahead, self._queue), []
        for item in items:
            if isinstance(item, av.Packet):
                shift = round(offset / item.time_base)
                item.pts, item.dts = (item.pts or 0) - shift, (item.dts or 0) - shift
                yield item
                continue
            step = item.duration or (round(1 / self.rate / self.time_base) if self.rate else 1)
            pts = (item.pts or 0) - ticks
            if last is not None:
                pts = max(pts, last + 1)  # two cannot be shown at once; encoders refuse it
            last = pts
            leads_in = self._window.leads_in(self._position(item.pts or 0, self.time_base))
            image, alpha = self.convert(item)
            yield Frame(image, self.format, pts, self.time_base, step, "", 0, alpha, leads_in)

    def _read(self) -> Generator[Any, None, None]:
        """Yield the decoded images of the clip, and its packets to copy."""
        lasting = {s.index for s in (self._video, *self.audio)}  # subtitles may end early
        try:
            for packet in self._coming:
                self._torn |= packet.is_corrupt
                if packet.stream is self._video:
                    yield from self._decode(packet)
                elif packet.is_corrupt:
                    self._skipped += 1  # the end of a file that was cut off
                elif packet.dts is not None and packet.pts is not None:
                    position = self._position(packet.pts, packet.time_base)
                    if self._window.is_after(position):
                        self._done.add(packet.stream.index)
                    elif self._window.is_begun(position):
                        yield packet
                if lasting <= self._done:
                    return
            if self._video.index not in self._done:
                yield from self._of_the_clip(self._deinterlace(None))
        except (av.error.FFmpegError, OSError) as e:
            yield from self._of_the_clip(self._deinterlace(None))
            self._break_off(e)

    def _break_off(self, error: Exception) -> None:
        """Set `fault` after an error of FFmpeg or the system."""
        reason = getattr(error, "strerror", None) or error
        self.fault = f"{self.path}: cannot be read on ({reason})"

    def _decode(self, packet: av.Packet) -> Iterator[Any]:
        if self._video.index in self._done:
            return
        if video_stream.is_encrypted(packet):
            raise video_stream.encrypted(self.path)
        for one in self._held(packet) if self._held else [packet]:
            self._order.note(one)
            try:
                images = self._decoder.decode(one)
            except av.error.FFmpegError:
                self._skipped += 1
                continue
            self._decoded += len(images)
            for image in images:
                image.pts = self._order.time(image)
                if image.pts is not None:  # else it comes before all that have a time
                    yield from self._of_the_clip(self._deinterlace(image))

    def _of_the_clip(self, images: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for image in images:
            position = self._position(image.pts or 0, self.time_base)
            if self._window.is_after(position):
                self._done.add(self._video.index)
                return
            if self._window.is_begun(position):
                yield image
            else:
                self._turn(image)  # may hold for those that follow

    def _position(self, pts: int, time_base: Fraction) -> Fraction:
        """Return seconds from the first moment of the file."""
        return Fraction(pts * time_base) - self._container_start

    def _is_at_start(self, packet: av.Packet) -> bool:
        pts = packet.pts
        return pts is None or self._position(pts, packet.time_base) <= self._window.start

    def _judge_end(self) -> None:
        if self._skipped:
            self._warn(f"{self.path}: {self._skipped} damaged packets were skipped")
        both = read_and_declared(self._container, self._video, self._timeline.reached)
        if self._window.end is not None or both is None:
            return
        (end, length), declared = both, self._video.frames
        frame = 1 / self.rate if self.rate else Fraction(1, 25)
        fewer = declared and self._decoded < declared
        if length - end <= max(length / 100, 2 * float(frame)) and not (fewer and self._torn):
            return
        text = f"{self.path}: ends early: {end:.2f} of {length:.2f} s"
        if self.fault or fewer:
            is_counted = declared and self._window.start <= 0
            of = f" ({self._decoded} of {declared} frames)" if is_counted else ""
            self.fault = f"{text}{of}; what could be read was kept"
        else:
            self._warn(f"{text}; it may be cut off")

    @property
    def has_length(self) -> bool:
        """Whether the container declares a length; that of a live stream does not."""
        return stream_length(self._container, self._video) is not None

    def close(self) -> None:
        # A generator that is not at its end refers to this source, and so keeps all of it.
        self._queue.close()
        self._coming.close()
        # Its threads may be decoding ahead. Freed while one of them waits for Python's lock, as to
        # log, the decoder would wait for that thread for ever.
        self._decoder.flush_buffers()
        self._container.close()
