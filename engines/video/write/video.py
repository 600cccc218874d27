"""A video file, or a stream of video, as a sink: it survives a kill, and keeps what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import VideoReformatter

from engines.arrays import Plane
from engines.errors import writing
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import STDOUT, Encoding, Save
from engines.video.frame import FrameFormat
from engines.video.read.source import FrameSource
from engines.video.write import encoders
from engines.video.write.copied_streams import CopiedStreams
from engines.video.write.sink import FrameSink, free_part

# Written at once, not when a buffer is full, and without waiting long for a stream that has nothing
# to say for now: what a kill loses is then up to the encoder alone.
PROMPT = {"flush_packets": "1", "max_interleave_delta": "1"}  # microseconds
# A fragmented mp4 can be played up to its last fragment after a kill; "hybrid" makes it an ordinary
# one when it is finished. FFmpeg writes the first fragment when every stream has begun: a kill
# before the sound of a clip sets in leaves nothing. Without "delay_moov" edit lists are lost, and
# all times move by the encoder's reordering delay.
MP4 = {"movflags": "hybrid_fragmented+delay_moov", **PROMPT}
MATROSKA = {"cluster_time_limit": "1000", **PROMPT}
TEN_BIT = np.rint(np.arange(256) * (1023 / 255)).astype(np.uint16)  # of 8-bit codes


@dataclass(frozen=True)
class Container:
    """FFmpeg's name of a format, its usual encoder and its options.

    `is_bare` says that it is images alone: without sound, at one rate.
    """

    format: str
    encoder: str
    options: dict[str, str]
    is_bare: bool = False


# For each ending.
CONTAINERS = {
    ".mp4": Container("mp4", "libx264", MP4),
    ".m4v": Container("mp4", "libx264", MP4),
    ".mov": Container("mov", "libx264", MP4),
    ".mkv": Container("matroska", "libx264", MATROSKA),
    ".webm": Container("webm", "libvpx-vp9", MATROSKA),
    # Which has 10 bits as an extension only.
    ".y4m": Container("yuv4mpegpipe", "rawvideo", {"strict": "-1"}, is_bare=True),
}


class VideoSink(FrameSink):
    """A video file, or standard output, with the source's other streams copied into it.

    Nothing is on disk before the first frame.

    Args:
        path: of the file, or `STDOUT`.
        ending: one of `CONTAINERS`.
        alpha: whether the images have an alpha channel, straight.
        copies: whether this is the output that the source's other streams go into.
    """

    def __init__(
        self,
        path: Path,
        ending: str,
        save: Save,
        source: FrameSource,
        encoding: Encoding,
        *,
        alpha: bool,
        copies: bool,
    ):
        self.path, self._save, self._source, self._encoding = path, save, source, encoding
        self.warnings = []
        self._ending, self._kind = ending, CONTAINERS[ending]
        fmt = matte_format(source.format) if save is Save.alpha else source.format
        self._encoder = encoders.choose(encoding, ending, self._kind.encoder, alpha, fmt.bit_depth)
        self._pixels = self._encoder.pixels(fmt)
        self._format = self._encoded_layout(fmt)
        self._rate = source.rate or Fraction(25)
        self._time_base = 1 / self._rate if self._kind.is_bare else source.time_base
        encoders.check_starts(
            self._encoder,
            self._format,
            self._rate,
            self._time_base,
            self._kind.format,
            f"{path}: {ending}",
            self._kind.options,
            "--format mkv" if path == STDOUT else "-o NAME.mkv",
        )
        self._copying = copies
        if self._kind.is_bare and encoding.audio and source.audio and save is not Save.alpha:
            self.warnings.append(f"{ending} cannot hold sound: left out")
        self._existed = path != STDOUT and path.exists()
        self._part: Path | None = None
        self._container: Any = None
        self._stream: Any = None
        self._copied: CopiedStreams | None = None
        self._reformatter = VideoReformatter()
        self._waiting: list[av.Packet] = []  # packets from before the first frame
        self._durations: dict[int, int] = {}
        self._first: tuple[int, int] | None = None  # pts and dts of the first packet
        self._end = 0  # pts at which the last frame stops being shown
        self._times: tuple[Fraction, Fraction] | None = None  # of the first frame and the last one
        self._keep = "- --format mkv" if path == STDOUT else f"{path.stem}.mkv"

    def _open(self) -> None:
        options, file = self._kind.options, "pipe:1"
        if self.path != STDOUT:
            self._part = free_part(self.path)
            file = f"file:{self._part}"
        with writing(self.path, begun=False):
            if options is MP4:
                # Edit lists, which keep a late start, count in this unit; by default milliseconds.
                bases = [self._source.time_base, *(a.time_base for a in self._source.audio)]
                finest = math.lcm(*(b.denominator for b in bases))
                options = MP4 | {"movie_timescale": str(min(finest, 10_000_000))}
            self._container = av.open(
                file, "w", format=self._kind.format, container_options=options
            )
            self._stream = encoders.add_stream(
                self._container, self._encoder, self._format, self._rate, self._time_base
            )
            context = self._stream.codec_context
            if self._source.sample_aspect:
                context.sample_aspect_ratio = self._source.sample_aspect
            if self._kind.options is MP4 and context.codec.canonical_name == "hevc":
                context.codec_tag = "hvc1"  # Apple's players take no other
            if self._copying:
                self._copied = CopiedStreams(
                    self._container,
                    self._source,
                    self._ending,
                    self._keep,
                    self._encoding.audio,
                    self.warnings,
                )
            self._container.start_encoding()

    def _encoded_layout(self, fmt: FrameFormat) -> FrameFormat:
        """The format of what is encoded: even where it must be, in the range that players expect.

        Its format is still the frame's; the encoder's pixels may be others.
        """
        name, pixels = self._encoder.name, self._pixels
        if not self._encoder.alpha and pixels not in (fmt.pix_fmt, "nv12", "p010le"):
            self.warnings.append(f"{name} takes no {fmt.pix_fmt}; encoded as {pixels}")
        width, height = self._encoder.size(fmt)
        if (width, height) != (fmt.width, fmt.height):
            self.warnings.append(
                f"{fmt.width}x{fmt.height} is odd, which {name} cannot hold in "
                f"{pixels}: padded to {width}x{height} by repeating the last column or row"
            )
        color_range = fr.LIMITED if name == "prores_ks" else fmt.range  # it has no flag for it
        return replace(fmt, width=width, height=height, range=color_range)

    def packet(self, packet: av.Packet) -> None:
        if not self._copying:
            return
        if self._copied is None:
            self._waiting.append(packet)
            return
        with writing(self.path, begun=True):
            self._copied.mux(packet)

    def write(self, item: Composited) -> None:
        if self._container is None:
            self._open()
            waiting, self._waiting = self._waiting, []
            for packet in waiting:
                self.packet(packet)
        image = self._image(item)
        image.pts, image.time_base = item.frame.pts, item.frame.time_base
        if self._kind.is_bare:
            self._see_rate(image.pts * image.time_base)
            image.pts, image.time_base = self.frames, self._time_base
        image.pict_type = 0  # the encoder decides, not the source's encoder
        self._durations[image.pts] = item.frame.duration
        with writing(self.path, begun=True):
            self._mux(self._stream.encode(image))
        self.frames += 1

    def _see_rate(self, moment: Fraction) -> None:
        """Warn, once, where a frame is not shown at the time that one rate gives it.

        Half a frame more or less than one from the last, or a whole one off from the first on.
        """
        first, last = self._times or (moment, moment - self._time_base)
        step, late = moment - last, moment - first - self.frames * self._time_base
        if abs(step - self._time_base) > self._time_base / 2 or abs(late) > self._time_base:
            text = (
                f"{self._ending} cannot hold uneven times: all frames follow each other at "
                f"{float(self._rate):.4g} a second; -o {self._keep} keeps their times"
            )
            if text not in self.warnings:
                self.warnings.append(text)
        self._times = first, moment

    def _mux(self, packets: list[Any], ending: bool = False) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._first is None:
                self._first = packet.pts, packet.dts
                self._end = packet.pts
            self._end = max(self._end, packet.pts + packet.duration)
        if ending and packets and self._first and self._kind.options is MP4:
            # There a file lasts until the last packet decoded ends, which is not the last shown.
            (pts, dts), last = self._first, packets[-1]
            last.duration = max(1, (self._end - pts) - (last.dts - dts))
        for packet in packets:
            self._container.mux(packet)

    def _image(self, item: Composited) -> av.VideoFrame:
        """What is encoded, in the encoder's pixels and size."""
        fmt, pixels = self._format, self._pixels
        source = item.frame.format
        if self._save is Save.alpha:
            source = matte_format(source)
            image = source.new_image()
            luma, *chroma = fr.planes(image)
            luma[:] = item.alpha
            for plane in chroma:
                plane[:] = 128
        else:
            chosen = item.person if self._encoder.alpha else item.image
            assert chosen is not None
            image = chosen
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
            _set_alpha(image, _padded(item.alpha, fmt.width, fmt.height))
        fmt.tag(image)
        return image

    def close(self, whole: bool) -> None:
        if self._container is None:
            return
        finished = False
        try:
            with writing(self.path, begun=True):
                try:
                    if self.frames:
                        self._mux(self._stream.encode(None), ending=True)
                        if self._copied:
                            self._copied.end()
                finally:
                    self._container.close()
            finished = True
        finally:
            self._container = None
            if self._part is not None:
                if not finished:
                    if self._kind.options is MP4:
                        cut_torn_end(self._part)
                    self.frames = min(self.frames, count_frames(self._part))
                self._settle(whole and finished)

    def _settle(self, whole: bool) -> None:
        """Give the part its name, unless half a new file would replace a whole earlier one."""
        part = self._part
        assert part is not None
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


def cut_torn_end(path: Path) -> None:
    """Cut an mp4 that could not be finished to its last whole fragment (ISO/IEC 14496-12 boxes)."""
    size, position, whole = path.stat().st_size, 0, 0
    with path.open("r+b") as file:
        while len(head := file.read(16)) >= 8:
            length, kind = int.from_bytes(head[:4], "big"), head[4:8]
            if length == 1:
                length = int.from_bytes(head[8:], "big")
            position += length
            if length < 8 or position > size:
                break
            if kind == b"mdat":
                whole = position
            file.seek(position)
        file.truncate(whole)


def count_frames(path: Path) -> int:
    """Video packets that can be read from a file that may be torn."""
    frames = 0
    try:
        with av.open(f"file:{path}") as container:
            for packet in container.demux(video=0):
                frames += packet.size > 0
    except (av.error.FFmpegError, OSError, IndexError):
        pass  # what came before the tear has been counted
    return frames


def _padded(plane: Plane, width: int, height: int) -> Plane:
    bottom, right = height - plane.shape[0], width - plane.shape[1]
    if not bottom and not right:
        return plane
    padded: Any = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return padded


def matte_format(fmt: FrameFormat) -> FrameFormat:
    """Of a matte for images of `fmt`: it has 8 bits, all of them."""
    return replace(fmt, pix_fmt=fr.with_bit_depth(fmt.pix_fmt, 8), range=fr.FULL)


def _set_alpha(image: av.VideoFrame, alpha: Plane) -> None:
    """Write (H, W) uint8 into the last plane, of 8 or 10 bits."""
    rows = fr.planes(image)[-1]
    rows[:] = alpha if rows.dtype == np.uint8 else TEN_BIT[alpha]
