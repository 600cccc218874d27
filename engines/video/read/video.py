"""A video as a source: demux, decode, and where its frames begin and end."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.format import Flags
from av.video.reformatter import Interpolation, VideoReformatter

from engines.errors import BadData, Unavailable, reading
from engines.files import MAX_PIXELS
from engines.video import frame as fr
from engines.video.config import OPENING_SECONDS, Clip, Stream
from engines.video.frame import Frame, FrameFormat
from engines.video.pipeline import Stop
from engines.video.read.deinterlace import Deinterlacer
from engines.video.read.source import FrameSource
from engines.video.read.stream import open_container

HDR = {16: "PQ", 18: "HLG"}  # transfer characteristics, ISO/IEC 23091-2


class VideoSource(FrameSource):
    """A video. Frames keep their pts and, where they are planar YUV of `bit_depth`, their planes.

    Args:
        threads: of the decoder; 0 leaves it to FFmpeg.
        bit_depth: of a code of a frame, 8 or 10, whatever the file has.
        stop: ends every wait for a stream.
        wait: seconds a stream may take to begin.
    """

    def __init__(
        self,
        path: Path | Stream,
        clip: Clip,
        threads: int = 0,
        bit_depth: int = 8,
        stop: Stop | None = None,
        wait: float = OPENING_SECONDS,
    ):
        super().__init__()
        self.path, self._clip, self._stream, self._bits = path, clip, None, bit_depth
        limit = {"max_pixels": str(MAX_PIXELS)}
        with reading(path):
            if isinstance(path, Stream):
                self._stream = path
                self._container = open_container(path, limit, stop or Stop(), wait)
            else:
                # Old tags are in any encoding; they are not worth refusing a video for.
                self._container = av.open(f"file:{path}", options=limit, metadata_errors="replace")
        self._heard = time.monotonic()  # when the last image came
        try:
            self._open(limit, threads)
        except BaseException:
            self._container.close()
            raise

    def _open(self, limit: dict[str, str], threads: int) -> None:
        path, streams = self.path, self._container.streams
        covers = [v for v in streams.video if v.disposition & av.stream.Disposition.attached_pic]
        videos = [v for v in streams.video if v not in covers]
        if not videos:
            kinds = ", ".join(sorted({s.type for s in streams}))
            raise BadData(f"{path}: no video in it" + (f" ({kinds} only)" if kinds else ""))
        self._video: Any = videos[0]
        context = self._video.codec_context
        if context is None:
            raise BadData(f"{path}: FFmpeg has no decoder for its video stream")
        context.options = limit
        context.thread_type, context.thread_count = "AUTO", threads
        if self._stream is not None and self._stream.paced:
            context.thread_type = "SLICE"  # frames decoded side by side come later
            context.flags |= int(av.codec.context.Flags.low_delay)
        self._deinterlace = Deinterlacer(self._video, self.warnings)
        self.audio = tuple(s for s in streams.audio if s.codec_context is not None)
        self.subtitles = tuple(s for s in streams.subtitles if s.codec_context is not None)
        self._container_start = Fraction(self._container.start_time or 0, av.time_base)
        self.metadata, self.chapters = dict(self._container.metadata), tuple(self._chapters())
        copied = {*self.audio, *self.subtitles}
        left_out = [s.type for s in videos[1:]]
        left_out += [s.type for s in (*streams.audio, *streams.subtitles) if s not in copied]
        if left_out:
            self.warnings.append(f"{path}: left out {', '.join(left_out)} (one more stream each)")
        self.time_base = self._video.time_base or Fraction(1, av.time_base)
        self.rate = self._video.average_rate or self._video.guessed_rate or None
        self._decoded = self._skipped = 0
        self._torn = False  # whether a packet is not all there
        self._end = Fraction(0)  # when the last frame seen stops being shown
        self._done: set[int] = set()  # indices of streams that are past the clip's end
        self._begin = float("-inf")  # a codec's priming samples lie before the first moment
        half = float(self.time_base) / 2  # decimals miss a frame's time by no more than this
        self._stop_at = self._clip.end - half
        if self._clip.start > 0:
            self._begin = self._clip.start - half
            with reading(path):
                self._seek()
        self._queue = self._read()
        self._ahead: list[Any] = []  # what came before and with the first frame
        with reading(path):
            for item in self._queue:
                self._ahead.append(item)
                if isinstance(item, av.VideoFrame):
                    break
            else:
                raise BadData(self.fault or self._why_nothing())
        first = self._ahead[-1]
        self._layout_of(first)
        self.total = self._expected_frames()
        self._convert = _Converter(first, self.format, self.warnings)

    def _chapters(self) -> Iterator[dict[str, Any]]:
        """Those of the clip, by its times."""
        start, end = self._origin, self._clip.end
        for chapter in self._container.chapters():
            base = chapter["time_base"]
            begins, ends = (chapter[k] * base - start for k in ("start", "end"))
            if ends > 0 and begins < end - self._clip.start:
                begins, ends = max(begins, Fraction(0)), min(float(ends), end - self._clip.start)
                yield chapter | {"start": round(begins / base), "end": round(ends / base)}

    def _seek(self) -> None:
        """Go to where the first image to come is not later than the clip's start.

        MPEG-TS seeks to where no key frame is: then from further and further back.
        """
        back = 0.0
        while (target := self._clip.start - back) > 0:
            ticks = int((self._container_start + Fraction(target)) / self.time_base)
            self._container.seek(ticks, stream=self._video)
            if self._comes_before_start():
                self._container.seek(ticks, stream=self._video)
                return
            back = back * 2 or 1.0
        self._container.seek(0)

    def _packets(self, *streams: Any) -> Iterator[av.Packet]:
        try:
            yield from self._container.demux(*streams)
        except IndexError:  # PyAV's, after the last packet, as in a broadcast
            self.warnings.append(f"{self.path}: left out a stream that begins on the way")

    def _comes_before_start(self) -> bool:
        for packet in self._packets(self._video):
            try:
                images = self._video.decode(packet)
            except av.error.FFmpegError:
                continue
            for image in images:
                if image.pts is not None:
                    after = self._position(image.pts, self.time_base) - self._begin
                    return after <= self.time_base
        return False

    def _why_nothing(self) -> str:
        if self._decoded:
            return f"{self.path}: ends before --start {self._clip.start:g} s"
        context = self._video.codec_context
        if not context.width:
            return f"{self.path}: no size, or over {MAX_PIXELS >> 20} megapixels; make it smaller"
        return f"{self.path}: no frame in it can be decoded; it may be incomplete"

    def _layout_of(self, first: av.VideoFrame) -> None:
        if first.color_trc in HDR:
            raise BadData(
                f"{self.path}: HDR video ({HDR[first.color_trc]}) is not supported; convert it to "
                "SDR first: ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,"
                "zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p OUT"
            )
        name = first.format.name
        quarter_turn = quarter_turns(first) % 2 == 1
        planar = next((f"yuv{s}p" for s in ("444", "422") if s in name), "yuv420p")
        if planar == "yuv422p" and quarter_turn:
            planar = "yuv420p"  # turned, 4:2:2 would be 4:4:0
        width, height = first.width, first.height
        size = (height, width) if quarter_turn else (width, height)
        matrix = int(first.colorspace)
        if matrix in (0, fr.UNSPECIFIED):
            matrix = fr.BT709 if height >= 720 else fr.BT601
        is_full = "yuvj" in name or int(first.color_range) == fr.FULL
        is_rgb = first.format.is_rgb
        self.format = FrameFormat(
            *size,
            fr.with_bit_depth(planar, self._bits),
            matrix,
            fr.FULL if is_full and not is_rgb else fr.LIMITED,
            int(first.color_primaries),
            int(first.color_trc),
        )
        aspect = self._video.sample_aspect_ratio
        if aspect and aspect != 1:
            self.sample_aspect = 1 / aspect if quarter_turn else aspect

    def _expected_frames(self) -> int | None:
        """How many frames are to come, as far as the file says."""
        frames, length = self._video.frames, self._declared_length()
        if self._clip == Clip() and frames:
            return int(frames)
        if length is None or not self.rate:
            return None
        shown = min(float(length), self._clip.end) - self._clip.start
        return max(1, math.ceil(shown * float(self.rate) - 1e-3))

    @property
    def _origin(self) -> Fraction:
        """The moment that becomes 0: where the clip begins; what a broadcast's clock said then."""
        clocked = self._container.format.flags & Flags.ts_discont.value
        if self._clip.start > 0 or clocked:
            return self._container_start + Fraction(self._clip.start)
        return Fraction(0)

    def _declared_length(self) -> Fraction | None:
        if self._video.duration:
            return Fraction(self._video.duration * self.time_base)
        if self._container.duration:
            return Fraction(self._container.duration, av.time_base)
        return None

    def items(self) -> Iterator[Frame | av.Packet]:
        offset = self._origin  # what is taken off all times, in seconds
        last = None
        for item in self._chain():
            if isinstance(item, av.Packet):
                shift = round(offset / item.time_base)
                item.pts, item.dts = (item.pts or 0) - shift, (item.dts or 0) - shift
                yield item
                continue
            step = item.duration or (round(1 / self.rate / self.time_base) if self.rate else 1)
            pts = item.pts
            if pts is not None:
                pts -= round(offset / self.time_base)
            # As where files were joined by copying one behind the other.
            if last is not None and pts is not None and pts < last - step:
                text = f"{self.path}: times jump back on the way; what follows is joined on"
                self._convert.warn_once(text)
                offset -= (last + step - pts) * self.time_base
                pts = last + step
            if pts is None:
                pts = 0 if last is None else last + step
            if last is not None and pts <= last:
                pts = last + 1  # two images cannot be shown at once; encoders refuse it
            last = pts
            yield Frame(self._convert(item), self.format, pts, self.time_base, step)
        self._judge_end()

    def _chain(self) -> Iterator[Any]:
        yield from self._ahead
        self._ahead = []
        yield from self._queue

    def _read(self) -> Generator[Any, None, None]:
        """Decoded images and packets to copy, inside the clip."""
        lasting = {s.index for s in (self._video, *self.audio)}  # others may say nothing for long
        try:
            for packet in self._packets(self._video, *self.audio, *self.subtitles):
                if self._stream is not None and self._stream.paced is not False:
                    # Who joins on the way waits for the next key frame.
                    patience = self._stream.silence if self._decoded else OPENING_SECONDS
                    if time.monotonic() - self._heard > patience:
                        self._fell_silent(patience)
                        return
                self._torn |= packet.is_corrupt
                if packet.stream is self._video:
                    yield from self._decode(packet)
                elif packet.is_corrupt:
                    self._skipped += 1  # the end of a file that was cut off
                elif packet.dts is not None and packet.pts is not None:
                    position = self._position(packet.pts, packet.time_base)
                    if position >= self._stop_at:
                        self._done.add(packet.stream.index)
                    elif position >= self._begin:
                        yield packet
                if lasting <= self._done:
                    return
            if self._video.index not in self._done:
                yield from self._of_the_clip(self._deinterlace(None))
        except (av.error.FFmpegError, OSError) as e:
            yield from self._of_the_clip(self._deinterlace(None))
            if isinstance(e, av.error.ExitError):
                self._fell_silent(self._stream.silence if self._stream else 0.0)
                return
            self.fault = f"{self.path}: cannot be read on ({getattr(e, 'strerror', None) or e})"
            if self._stream is not None and self._stream.url == "-" and not self._decoded:
                self.fault += "; an mp4 whose index is at its end needs a file: wsshm run - < FILE"
            if self._stream is not None and isinstance(e, OSError):
                self.fault_kind = Unavailable

    def _fell_silent(self, seconds: float) -> None:
        self.fault = f"{self.path}: no image came for {seconds:g} s: it stopped"
        self.fault_kind = Unavailable

    def _decode(self, packet: av.Packet) -> Iterator[av.VideoFrame]:
        if self._video.index in self._done:
            return
        try:
            images = self._video.decode(packet)
        except av.error.FFmpegError:
            self._skipped += 1
            return
        self._decoded += len(images)
        for image in images:
            yield from self._of_the_clip(self._deinterlace(image))
        if images:
            self._heard = time.monotonic()  # now: whoever takes them may have taken long

    def _of_the_clip(self, images: Iterable[av.VideoFrame]) -> Iterator[av.VideoFrame]:
        for image in images:
            if image.pts is None:
                yield image
                continue
            position = self._position(image.pts, self.time_base)
            if position >= self._stop_at:
                self._done.add(self._video.index)
                return
            self._end = position + Fraction((image.duration or 0) * self.time_base)
            if position >= self._begin:
                yield image

    def _position(self, pts: int, time_base: Fraction) -> Fraction:
        """Seconds from the first moment of the file."""
        return Fraction(pts * time_base) - self._container_start

    def _judge_end(self) -> None:
        if self._skipped:
            self.warnings.append(f"{self.path}: {self._skipped} damaged packets were skipped")
        length = self._declared_length()
        if self._clip.duration is not None or length is None:
            return
        declared = self._video.frames
        length = min(length, Fraction(self._container.duration or 10**15, av.time_base))
        frame = 1 / self.rate if self.rate else Fraction(1, 25)
        fewer = declared and self._decoded < declared
        if length - self._end <= max(length / 100, 2 * frame) and not (fewer and self._torn):
            return
        text = f"{self.path}: ends early: {float(self._end):.2f} of {float(length):.2f} s"
        if self.fault or fewer:
            of = f" ({self._decoded} of {declared} frames)" if declared else ""
            self.fault = f"{text}{of}; what could be read was kept"
        else:
            self.warnings.append(f"{text}; it may be cut off")

    @property
    def has_length(self) -> bool:
        """Whether it says how long it is, as what is live cannot."""
        return self._declared_length() is not None

    def continue_as(self, earlier: VideoSource) -> None:
        """Give images of an earlier source's format, and what is said to its `warnings`."""
        self.format, self._convert = earlier.format, earlier._convert
        self.warnings = earlier.warnings

    def close(self) -> None:
        self._queue.close()
        self._container.close()


def quarter_turns(image: av.VideoFrame) -> int:
    """How often an image is to be turned by 90°, counter-clockwise, to stand upright: 0 to 3."""
    return round(image.rotation / 90) % 4


class _Converter:
    """Decoded images as images of the format: untouched where they already are."""

    def __init__(self, first: av.VideoFrame, fmt: FrameFormat, warnings: list[str]):
        self._format, self._warnings = fmt, warnings
        self._turns = quarter_turns(first)
        self._size, self._pix_fmt = (first.width, first.height), first.format.name
        self._reformatter = VideoReformatter()
        self._as_is = self._pix_fmt.replace("yuvj", "yuv") == fmt.pix_fmt
        if not self._as_is:
            text = f"{self._pix_fmt} video is processed as {fmt.bit_depth}-bit {fmt.pix_fmt}"
            is_deep = first.format.components[0].bits > 8
            warnings.append(text + "; --bits 10 keeps 10" * (is_deep and fmt.bit_depth == 8))

    def __call__(self, image: av.VideoFrame) -> av.VideoFrame:
        same = (image.width, image.height) == self._size
        if not same or image.format.name != self._pix_fmt or not self._as_is:
            if not same:
                self.warn_once(
                    f"the image changes to {image.width}x{image.height} on the way; "
                    f"scaled to {self._size[0]}x{self._size[1]}"
                )
            is_rgb = image.format.is_rgb
            image = self._reformatter.reformat(
                image,
                *self._size,
                self._format.pix_fmt,
                src_colorspace=None if is_rgb else self._format.matrix,
                dst_colorspace=self._format.matrix,
                src_color_range=fr.FULL if is_rgb else self._format.range,
                dst_color_range=self._format.range,
                interpolation=Interpolation.BICUBIC,
                threads=fr.scaler_threads(self._format.pix_fmt),
            )
        if not self._turns:
            return image
        upright = self._format.new_image()
        for target, plane in zip(fr.planes(upright), fr.planes(image), strict=True):
            target[:] = np.rot90(plane, self._turns)
        return upright

    def warn_once(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)
