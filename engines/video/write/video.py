"""A video file or a pipe as a sink; what was written survives a kill."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from engines.errors import Say, WriteFailed, WsshmError, silent, writing
from engines.files import Part, destination
from engines.video.compose.composite import Composited
from engines.video.config import Encoding, Save
from engines.video.pipeline import Stop
from engines.video.read.source import FrameSource
from engines.video.write import encoders, tags
from engines.video.write.codecs import CONTAINERS
from engines.video.write.convert import EncodedImages, encoded_format, matte_format
from engines.video.write.copied_streams import CopiedStreams
from engines.video.write.joined import JoinedVideo
from engines.video.write.muxer import Muxer
from engines.video.write.pipe import Pipe, is_pipe
from engines.video.write.repair import count_frames, cut_torn_end
from engines.video.write.sink import FrameSink

DEFAULT_RATE = Fraction(25)  # frames a second, where the source has none
MAX_MOVIE_TIMESCALE = 10_000_000  # ticks a second of an mp4's edit lists
# Ticks of an mp4 from one frame to the next: it has 31 bits for how far a frame may be from where
# it is decoded, which with B-frames is up to seven steps.
MAX_STEP_TICKS = 1 << 28
NO_LIMIT = 1 << 63
MAX_REPEATS = 10_000  # of a frame, in a pause
MIN_MP4_TIMESCALE = 10_000  # ticks a second: FFmpeg doubles coarser ones until they are over this


class VideoSink(FrameSink):
    """A video file, or a pipe, with the source's other streams copied into it.

    Before the first frame there is an empty unfinished file, which no other run may write.

    Args:
        path: of the file, of a link to it, or of a pipe (see `is_pipe`).
        suffix: the kind of file, one of `CONTAINERS`.
        save: what of a frame is written.
        source: whose frames are written, and whose other streams are copied.
        alpha: whether the output has an alpha channel (straight).
        copies: whether this is the output that the source's other streams go into.
        stop: ends the wait for a reader of a named pipe.
        say: told of that wait.

    Raises:
        UsageError, Unavailable: see `encoders.choose` and `encoders.check_starts`.
        CannotCreate: another run is writing the file, or it cannot be created.
    """

    def __init__(
        self,
        path: Path,
        suffix: str,
        save: Save,
        source: FrameSource,
        encoding: Encoding,
        *,
        alpha: bool,
        copies: bool,
        stop: Stop,
        say: Say = silent,
    ):
        self.path, self._source, self._encoding = path, source, encoding
        self.warnings = []
        self._kind = CONTAINERS[suffix]
        fmt = matte_format(source.format) if save is Save.alpha else source.format
        self._encoder = encoders.choose(encoding, suffix, alpha, fmt.bit_depth)
        self._pixels = self._encoder.pixels(self._encoder.format(fmt))
        self._format = encoded_format(self._encoder, fmt, self.warnings)
        self._rate = source.rate or DEFAULT_RATE
        self._time_base = 1 / self._rate if self._kind.is_raw else source.time_base
        piped = is_pipe(path)
        encoders.check_starts(
            self._encoder,
            self._format,
            self._rate,
            self._time_base,
            self._kind,
            f"{path}: {suffix}",
            "--format mkv" if piped else "-o NAME.mkv",
        )
        self._copying = copies
        if self._kind.is_raw and encoding.audio and source.audio and save is not Save.alpha:
            self.warnings.append(f"{suffix} cannot hold sound: left out")
        self._muxer: Muxer | None = None
        self._stream: Any = None
        self._joined: JoinedVideo | None = None
        self._coming: Iterator[Any] = iter(())  # the packets of the joined video
        self._copied: CopiedStreams | None = None
        self._image = EncodedImages(save, self._format, self._pixels, self._encoder.alpha)
        self._waiting: list[av.Packet] = []  # packets from before the first frame
        self._durations: dict[int, int] = {}  # by pts, in ticks
        self._given: deque[int] = deque()  # pts of frames whose times the encoder may lose
        self._first: tuple[int, int] | None = None  # pts and dts of the first packet
        self._end = 0  # pts at which the last frame stops being shown
        self._times: tuple[Fraction, Fraction] | None = None  # of the first frame and the last one
        self._keep = f"{path} --format mkv" if piped else f"{path.stem}.mkv"
        self._shown: tuple[Any, int] | None = None  # the last image given to the encoder, its pts
        self._max_step = self._longest_step()
        self._refused: set[int] = set()  # streams of the source that cannot be converted on
        self._pipe, self._part = None, None
        if piped:
            self._pipe = Pipe(path, stop, say)
            return
        with writing(path, begun=False):
            self._final = destination(path)
            self._existed = self._final.exists()
        self._part = Part(self._final)

    def _longest_step(self) -> int:
        """Return the ticks from one frame to the next that the container can hold."""
        if not self._kind.is_mp4:
            return NO_LIMIT
        timescale = self._time_base.denominator
        while timescale < MIN_MP4_TIMESCALE:
            timescale *= 2
        return int(Fraction(MAX_STEP_TICKS, timescale) / self._time_base)

    def _open(self) -> None:
        """Begin the file, with a stream for what the encoder gives or for the joined video."""
        options = dict(self._kind.options)
        if self._copying:
            options = tags.muxer_options(self._kind, self._source.metadata)
        file = f"file:{self._part.path}" if self._part else self._pipe.url if self._pipe else ""
        with writing(self.path, begun=False):
            if self._kind.is_mp4:
                # Edit lists, which keep a late start, count in this unit; by default milliseconds.
                bases = [self._source.time_base, *(a.time_base for a in self._source.audio)]
                finest = math.lcm(*(b.denominator for b in bases))
                options["movie_timescale"] = str(min(finest, MAX_MOVIE_TIMESCALE))
            container = av.open(file, "w", format=self._kind.format, container_options=options)
            if self._joined:
                joined = self._joined.stream
                stream = container.add_stream_from_template(joined, opaque=True)
                stream.codec_context.framerate = self._rate
                if self._encoder.codec.tag:
                    stream.codec_context.codec_tag = self._encoder.codec.tag
            else:
                stream = encoders.add_stream(
                    container, self._encoder, self._format, self._rate, self._time_base
                )
            context = stream.codec_context
            if self._source.sample_aspect:
                context.sample_aspect_ratio = self._source.sample_aspect
            if self._kind.is_mp4 and context.codec.canonical_name == "hevc":
                context.codec_tag = "hvc1"  # Apple's players take no other
            if self._copying:
                self._copied = CopiedStreams(
                    container,
                    self._source,
                    self._kind,
                    options,
                    self._keep,
                    self._encoding.audio,
                    self._pipe is not None,
                    self.warnings,
                )
                self._label(stream)
            self._stream = stream
            self._muxer = Muxer(container, self._kind, options, self._keep, self.warnings)
            if self._copied:
                self._muxer.mux(self._copied.covers())

    def _label(self, stream: Any) -> None:
        """Copy the tags of the source's video stream."""
        labels = dict(self._source.video_metadata)
        timecode = labels.get("timecode")
        if timecode and not tags.holds_timecode(self._kind, timecode, self._rate):
            self.warnings.append(f"{self._kind.suffix} cannot hold timecode {timecode}: left out")
            del labels["timecode"]
        stream.metadata.update(labels)

    def packet(self, packet: av.Packet) -> None:
        index = packet.stream_index
        if not self._copying or index in self._refused:
            return
        if self._muxer is None or self._copied is None:
            self._waiting.append(packet)
            return
        try:
            packets = list(self._copied.convert(packet))
        except (av.error.FFmpegError, ValueError) as e:
            self._refused.add(index)
            when = float((packet.pts or 0) * packet.time_base)
            kind = packet.stream.type
            self.warnings.append(f"{kind} cannot be converted on ({e}): ends at {when:.2f} s")
            return
        with writing(self.path, begun=True):
            self._muxer.mux(packets)

    def write(self, item: Composited) -> None:
        if self._muxer is None:
            self._open()
            waiting, self._waiting = self._waiting, []
            for packet in waiting:
                self.packet(packet)
        image = self._image(item)
        image.pts, image.time_base = item.frame.pts, item.frame.time_base
        if self._kind.is_raw:
            self._check_rate(image.pts * image.time_base)
            image.pts, image.time_base = self.frames, self._time_base
        self._repeat_until(image.pts)
        self._encode(image, item.frame.duration)
        self.frames += 1

    def begin_joined(self, segments: Sequence[Path]) -> None:
        """Begin to write the video of files that were encoded before, in place of frames.

        Raises:
            CannotOpen, BadData: they cannot be joined.
            CannotCreate, WriteFailed: the output cannot be begun.
        """
        self._joined = JoinedVideo(segments)
        self._coming = self._joined.packets(self._kind.is_mp4)
        self._open()

    def write_joined(self, until: Fraction | None = None) -> bool:
        """Write packets of the joined video up to a time of decoding, in seconds; None is its end.

        Returns:
            Whether there are more.

        Raises:
            CannotOpen: a file of it cannot be read on.
            WriteFailed: the output cannot be continued.
        """
        assert self._muxer is not None
        for packet in self._coming:
            time = packet.dts * packet.time_base
            with writing(self.path, begun=True):
                self._muxer.mux([packet])
            self.frames += 1
            if until is not None and time >= until:
                return True
        return False

    def _encode(self, image: Any, duration: int) -> None:
        """Encode an image that is shown for `duration` ticks, and mux what the encoder gives."""
        image.pict_type = 0  # the encoder decides, not the source's encoder
        self._durations[image.pts] = duration
        if self._encoder.codec.loses_times:
            self._given.append(image.pts)
        with writing(self.path, begun=True):
            self._mux(self._stream.encode(image))
        self._shown = image, image.pts

    def _repeat_until(self, pts: int) -> None:
        """Repeat the last image in a pause before `pts` that is too long for one step.

        Raises:
            WriteFailed: it is too long to be filled.
        """
        if self._shown is None:
            return
        image, begin = self._shown
        if pts - begin <= self._max_step:
            return
        steps = -(-(pts - begin) // self._max_step)
        hours = f"{float((pts - begin) * image.time_base) / 3600:.1f} hours"
        if steps > MAX_REPEATS:
            raise WriteFailed(
                f"{self.path}: cannot hold a pause of {hours}", f"use -o {self._keep} instead"
            )
        self.warnings.append(
            f"{self._kind.suffix} cannot hold a pause of {hours}: the frame before it is repeated "
            f"{steps - 1} times"
        )
        for n in range(1, steps):
            image.pts = begin + (pts - begin) * n // steps
            self._encode(image, 0)

    def _check_rate(self, time: Fraction) -> None:
        """Warn once if a frame's time, in seconds, is not the one that a constant rate gives it.

        The tolerance is half a frame from one frame to the next, and one frame from the first.
        """
        first, last = self._times or (time, time - self._time_base)
        step, late = time - last, time - first - self.frames * self._time_base
        if abs(step - self._time_base) > self._time_base / 2 or abs(late) > self._time_base:
            text = (
                f"{self._kind.suffix} cannot hold uneven times: all frames follow each other at "
                f"{float(self._rate):.4g} a second; -o {self._keep} keeps their times"
            )
            if text not in self.warnings:
                self.warnings.append(text)
        self._times = first, time

    def _mux(self, packets: list[Any], at_end: bool = False) -> None:
        is_whole = at_end and self._first is None  # all packets of the clip at once
        if is_whole and len(packets) <= self._encoder.codec.dts_delay:
            for packet in packets:
                packet.dts = packet.pts
        for packet in packets:
            if self._given:
                packet.pts = packet.dts = self._given.popleft()
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._first is None:
                self._first = packet.pts, packet.dts
                self._end = packet.pts
            self._end = max(self._end, packet.pts + packet.duration)
        if at_end and packets and self._first and self._kind.is_mp4:
            # An mp4 lasts until the last packet in decoding order ends, which may not be the last
            # one shown.
            (pts, dts), last = self._first, packets[-1]
            last.duration = max(1, (self._end - pts) - (last.dts - dts))
        assert self._muxer is not None
        self._muxer.mux(packets)

    def close(self, whole: bool) -> None:
        errors: list[Exception] = []
        if self._muxer is not None:
            errors = self._finish(self._muxer)
        if self._joined is not None:
            self._joined.close()
        if self._pipe is not None:
            self._pipe.close()
        part, self._muxer, self._part = self._part, None, None
        if part is not None:
            if errors and self._joined is not None:
                self.frames = 0  # what it is joined of is still there
            self._settle(part, whole and not errors)
        if errors:
            raise errors[0]

    def discard(self) -> None:
        """Remove what was written, instead of closing it; safe to call after `close`."""
        self.frames = 0
        with suppress(WsshmError):
            self.close(whole=False)

    def _finish(self, muxer: Muxer) -> list[Exception]:
        """Write what encoders and muxer still hold, each whatever becomes of the others.

        Returns:
            What failed. `frames` is then what can be read from the file.
        """
        errors: list[Exception] = []
        for finish in (self._flush, self._flush_copied, muxer.close):
            try:
                with writing(self.path, begun=True):
                    finish()
            except Exception as e:
                errors.append(e)
        if self._part is not None and (errors or muxer.refused_video or not muxer.finished):
            with writing(self.path, begun=True):
                if self._kind.is_mp4 and not muxer.finished:
                    cut_torn_end(self._part.path)
                frames = min(self.frames, count_frames(self._part.path))
            if not errors and frames < self.frames:
                text = f"{self.path}: its muxer refused {self.frames - frames} frames"
                errors.append(WriteFailed(text, "try another --codec or kind of file"))
            self.frames = frames
        elif self._part is not None and self._copied is not None and self._copied.has_covers:
            tags.hide_cover_tracks(self._part.path)
        return errors

    def _flush(self) -> None:
        if self.frames and self._joined is None:
            self._mux(self._stream.encode(None), at_end=True)

    def _flush_copied(self) -> None:
        if self._copied is None or self._muxer is None:
            return
        try:
            packets = list(self._copied.flush())
        except (av.error.FFmpegError, ValueError) as e:
            self.warnings.append(f"the end of the sound or subtitles is left out ({e})")
            return
        self._muxer.mux(packets)

    def _settle(self, part: Part, whole: bool) -> None:
        """Give a part its final name, unless it would replace a complete file by an incomplete one.

        A part without frames is removed.
        """
        if not self.frames:
            part.remove()
        elif self._final.exists() and not (whole and self._existed):
            self.left_at = part.path
            part.keep()
        else:
            try:
                with writing(self.path, begun=True):
                    part.finish()
            except WriteFailed:
                self.left_at = part.path
                raise
