"""A video file or standard output as a sink; what was written survives a kill."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from engines.arrays import Plane
from engines.errors import CannotCreate, writing
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import STDOUT, Encoding, Save
from engines.video.frame import FrameFormat
from engines.video.read.source import FrameSource
from engines.video.write import encoders
from engines.video.write.codecs import CONTAINERS
from engines.video.write.copied_streams import CopiedStreams
from engines.video.write.repair import count_frames, cut_torn_end
from engines.video.write.sink import FrameSink

DEFAULT_RATE = Fraction(25)  # frames a second, where the source has none
MAX_MOVIE_TIMESCALE = 10_000_000  # ticks a second of an mp4's edit lists
MAX_PARTS = 999  # unfinished files of one name
NEUTRAL_CHROMA = 128
TO_TEN_BITS = np.rint(np.arange(256) * (1023 / 255)).astype(np.uint16)  # by 8-bit sample


class VideoSink(FrameSink):
    """A video file, or standard output, with the source's other streams copied into it.

    Nothing is on disk before the first frame.

    Args:
        path: of the file, or `STDOUT`.
        suffix: the kind of file, one of `CONTAINERS`.
        save: what of a frame is written.
        source: whose frames are written, and whose other streams are copied.
        alpha: whether the output has an alpha channel (straight).
        copies: whether this is the output that the source's other streams go into.

    Raises:
        UsageError, Unavailable: see `encoders.choose` and `encoders.check_starts`.
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
    ):
        self.path, self._save, self._source, self._encoding = path, save, source, encoding
        self.warnings = []
        self._kind = CONTAINERS[suffix]
        fmt = matte_format(source.format) if save is Save.alpha else source.format
        self._encoder = encoders.choose(encoding, suffix, alpha, fmt.bit_depth)
        self._pixels = self._encoder.pixels(fmt)
        self._format = self._encoded_format(fmt)
        self._rate = source.rate or DEFAULT_RATE
        self._time_base = 1 / self._rate if self._kind.is_raw else source.time_base
        encoders.check_starts(
            self._encoder,
            self._format,
            self._rate,
            self._time_base,
            self._kind,
            f"{path}: {suffix}",
            "--format mkv" if path == STDOUT else "-o NAME.mkv",
        )
        self._copying = copies
        if self._kind.is_raw and encoding.audio and source.audio and save is not Save.alpha:
            self.warnings.append(f"{suffix} cannot hold sound: left out")
        self._existed = path != STDOUT and path.exists()
        self._part: Path | None = None
        self._container: Any = None
        self._stream: Any = None
        self._copied: CopiedStreams | None = None
        self._reformatter = VideoReformatter()
        self._waiting: list[av.Packet] = []  # packets from before the first frame
        self._durations: dict[int, int] = {}  # by pts, in ticks
        self._first: tuple[int, int] | None = None  # pts and dts of the first packet
        self._end = 0  # pts at which the last frame stops being shown
        self._times: tuple[Fraction, Fraction] | None = None  # of the first frame and the last one
        self._keep = "- --format mkv" if path == STDOUT else f"{path.stem}.mkv"

    def _encoded_format(self, fmt: FrameFormat) -> FrameFormat:
        """Return the size, range and tags of the encoded video, and warn of what has to change.

        Its `pix_fmt` is still the frame's; the encoder may be given another, `_pixels`.
        """
        codec, pixels = self._encoder.codec, self._pixels
        if not self._encoder.alpha and pixels not in (fmt.pix_fmt, "nv12", "p010le"):
            self.warnings.append(f"{codec.encoder} takes no {fmt.pix_fmt}; encoded as {pixels}")
        width, height = self._encoder.size(fmt)
        if (width, height) != (fmt.width, fmt.height):
            self.warnings.append(
                f"{fmt.width}x{fmt.height} is odd, which {codec.encoder} cannot hold in "
                f"{pixels}: padded to {width}x{height} by repeating the last column or row"
            )
        color_range = fr.LIMITED if codec.limited_range_only else fmt.range
        return replace(fmt, width=width, height=height, range=color_range)

    def _open(self) -> None:
        options, file = dict(self._kind.options), "pipe:1"
        if self.path != STDOUT:
            self._part = _new_part(self.path)
            file = f"file:{self._part}"
        with writing(self.path, begun=False):
            if self._kind.is_mp4:
                # Edit lists, which keep a late start, count in this unit; by default milliseconds.
                bases = [self._source.time_base, *(a.time_base for a in self._source.audio)]
                finest = math.lcm(*(b.denominator for b in bases))
                options["movie_timescale"] = str(min(finest, MAX_MOVIE_TIMESCALE))
            self._container = av.open(
                file, "w", format=self._kind.format, container_options=options
            )
            self._stream = encoders.add_stream(
                self._container, self._encoder, self._format, self._rate, self._time_base
            )
            context = self._stream.codec_context
            if self._source.sample_aspect:
                context.sample_aspect_ratio = self._source.sample_aspect
            if self._kind.is_mp4 and context.codec.canonical_name == "hevc":
                context.codec_tag = "hvc1"  # Apple's players take no other
            if self._copying:
                self._copied = CopiedStreams(
                    self._container,
                    self._source,
                    self._kind,
                    self._keep,
                    self._encoding.audio,
                    self.warnings,
                )
            self._container.start_encoding()

    def packet(self, packet: av.Packet) -> None:
        if not self._copying:
            return
        if self._copied is None:
            self._waiting.append(packet)
            return
        with writing(self.path, begun=True):
            self._container.mux(self._copied.convert(packet))

    def write(self, item: Composited) -> None:
        if self._container is None:
            self._open()
            waiting, self._waiting = self._waiting, []
            for packet in waiting:
                self.packet(packet)
        image = self._image(item)
        image.pts, image.time_base = item.frame.pts, item.frame.time_base
        if self._kind.is_raw:
            self._check_rate(image.pts * image.time_base)
            image.pts, image.time_base = self.frames, self._time_base
        image.pict_type = 0  # the encoder decides, not the source's encoder
        self._durations[image.pts] = item.frame.duration
        with writing(self.path, begun=True):
            self._mux(self._stream.encode(image))
        self.frames += 1

    def _image(self, item: Composited) -> av.VideoFrame:
        """Return the image to encode, with the encoder's pixel format and size."""
        fmt, pixels = self._format, self._pixels
        source = item.frame.format
        image, alpha = item.of(self._save)
        if image is None:
            source, image = matte_format(source), _matte_image(item.alpha, source)
        if (fmt.width, fmt.height) != (source.width, source.height):
            padded = replace(source, width=fmt.width, height=fmt.height).new_image()
            for target, plane in zip(fr.planes(padded), fr.planes(image), strict=True):
                target[:] = _padded(plane, target.shape[1], target.shape[0])
            image = padded
        if source.pix_fmt != pixels or source.range != fmt.range:
            image = self._reformatter.reformat(
                image,
                format=pixels,
                src_colorspace=source.matrix,
                dst_colorspace=fmt.matrix,
                src_color_range=source.range,
                dst_color_range=fmt.range,
                threads=fr.scaler_threads(pixels),
            )
        if self._encoder.alpha:
            assert alpha is not None
            _set_alpha(image, _padded(alpha, fmt.width, fmt.height))
        fmt.tag(image)
        return image

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
        for packet in packets:
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
        for packet in packets:
            self._container.mux(packet)

    def close(self, whole: bool) -> None:
        if self._container is None:
            return
        finished = False
        try:
            with writing(self.path, begun=True):
                try:
                    if self.frames:
                        self._mux(self._stream.encode(None), at_end=True)
                        if self._copied:
                            self._container.mux(self._copied.flush())
                finally:
                    self._container.close()
            finished = True
        finally:
            self._container = None
            if self._part is not None:
                if not finished:
                    if self._kind.is_mp4:
                        cut_torn_end(self._part)
                    self.frames = min(self.frames, count_frames(self._part))
                self._rename(self._part, whole and finished)

    def _rename(self, part: Path, whole: bool) -> None:
        """Give a part its final name, unless it would replace a complete file by an incomplete one.

        A part without frames is removed.
        """
        if not self.frames:
            part.unlink()
            return
        if self.path.exists() and not (whole and self._existed):
            self.left_at = part
            return
        with writing(self.path, begun=True):
            try:
                part.replace(self.path)
            except OSError:
                self.left_at = part
                raise


def matte_format(fmt: FrameFormat) -> FrameFormat:
    """Return the format of mattes for frames of `fmt`: 8 bits in full range."""
    return replace(fmt, pix_fmt=fr.with_bit_depth(fmt.pix_fmt, 8), range=fr.FULL)


def _matte_image(alpha: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """Return a grey image of (H, W) uint8 alpha for frames of `fmt`."""
    image = matte_format(fmt).new_image()
    luma, *chroma = fr.planes(image)
    luma[:] = alpha
    for plane in chroma:
        plane[:] = NEUTRAL_CHROMA
    return image


def _set_alpha(image: av.VideoFrame, alpha: Plane) -> None:
    """Write (H, W) uint8 alpha into the last plane of an image of 8 or 10 bits."""
    rows = fr.planes(image)[-1]
    rows[:] = alpha if rows.dtype == np.uint8 else TO_TEN_BITS[alpha]


def _padded(plane: Plane, width: int, height: int) -> Plane:
    """Return (height, width), the last column and row repeated where the plane is smaller."""
    bottom, right = height - plane.shape[0], width - plane.shape[1]
    if not bottom and not right:
        return plane
    padded: Any = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return padded


def _new_part(path: Path) -> Path:
    """Create an empty file next to `path`, ``name.part.mp4``, ``name.part2.mp4`` and up.

    An earlier part is kept: it holds what a killed run had finished.
    """
    for n in range(1, MAX_PARTS + 1):
        part = path.with_name(f"{path.stem}.part{n if n > 1 else ''}{path.suffix}")
        with writing(path, begun=False):
            try:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                return part
            except FileExistsError:
                continue
    raise CannotCreate(f"{path}: too many unfinished files beside it", f"remove {path.stem}.part*")
