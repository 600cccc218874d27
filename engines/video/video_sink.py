"""A video file as a sink: containers, encoders, copied audio, and a file that survives a kill."""

from __future__ import annotations

import io
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
from av.bitstream import BitStreamFilterContext

from engines.errors import Unavailable, UsageError, writing
from engines.machine import cores
from engines.video import frame as fr
from engines.video.composite import Composited
from engines.video.frame import Layout, Plane
from engines.video.sinks import Encoding, FrameSink, Save, free_part
from engines.video.sources import FrameSource

# Written at once, not when a buffer is full, and without waiting long for a stream that has nothing
# to say for now: what a kill loses is then up to the encoder alone.
PROMPT = {"flush_packets": "1", "max_interleave_delta": "1"}  # microseconds
# A fragmented mp4 can be played up to its last fragment after a kill; "hybrid" makes it an ordinary
# one when it is finished. FFmpeg writes the first fragment when every stream has begun: a kill
# before the sound of a clip sets in leaves nothing. Without "delay_moov" edit lists are lost, and
# all times move by the encoder's reordering delay.
MP4 = {"movflags": "hybrid_fragmented+delay_moov", **PROMPT}
# For each ending: default video encoder, and options of the muxer.
CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("libx264", MP4),
    ".m4v": ("libx264", MP4),
    ".mov": ("libx264", MP4),
    ".mkv": ("libx264", {"cluster_time_limit": "1000", **PROMPT}),
    ".webm": ("libvpx-vp9", {"cluster_time_limit": "1000", **PROMPT}),
}
# Encoder, constant rate factor and options that suit a laptop.
ENCODERS: dict[str, tuple[str, float, dict[str, str]]] = {
    "h264": ("libx264", 20, {"preset": "veryfast"}),
    "hevc": ("libx265", 23, {"preset": "veryfast", "x265-params": "log-level=error"}),
    "vp9": ("libvpx-vp9", 30, {"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
    "av1": ("libsvtav1", 32, {"preset": "10", "svtav1-params": "lookahead=0"}),
}
MOST_THREADS = 8  # of an encoder: each cuts a slice, and slices cost bits
ANY_SIZE = {"libvpx-vp9", "ffv1"}  # encoders that take odd widths and heights as they are


class VideoSink(FrameSink):
    """An mp4, mov, mkv or webm file, with the source's audio packets copied into it.

    Nothing is on disk before the first frame.
    """

    def __init__(self, path: Path, save: Save, source: FrameSource, encoding: Encoding):
        self.path, self._save, self._source, self._encoding = path, save, source, encoding
        self.warnings = []
        default, self._mux_options = CONTAINERS[path.suffix.lower()]
        self._codec, self._options = _encoder(encoding, default)
        self._existed = path.exists()
        self._part: Path | None = None
        self._container: Any = None
        self._stream: Any = None
        self._waiting: list[av.Packet] = []  # packets from before the first frame
        self._durations: dict[int, int] = {}
        self._last_dts: dict[int, int] = {}
        self._filters: dict[int, BitStreamFilterContext] = {}
        self._first: tuple[int, int] | None = None  # pts and dts of the first packet
        self._end = 0  # pts at which the last frame stops being shown

    def _open(self, layout: Layout) -> None:
        self._layout = self._encoded_layout(layout)
        self._part = free_part(self.path)
        with writing(self.path, begun=False):
            options = self._mux_options
            if options is MP4:
                # Edit lists, which keep a late start, count in this unit; by default milliseconds.
                bases = [self._source.time_base, *(a.time_base for a in self._source.audio)]
                finest = math.lcm(*(b.denominator for b in bases))
                options = MP4 | {"movie_timescale": str(min(finest, 10_000_000))}
            self._container = av.open(f"file:{self._part}", "w", container_options=options)
            rate = self._source.rate or Fraction(25)
            try:
                self._stream = self._container.add_stream(self._codec, rate=rate)
            except ValueError as e:
                raise UsageError(
                    f"{self.path}: {self.path.suffix} cannot hold {self._codec} video; use another "
                    "--codec, or -o NAME.mkv"
                ) from e
            context = self._stream.codec_context
            context.width, context.height = self._layout.width, self._layout.height
            context.pix_fmt = self._layout.format
            context.time_base = self._stream.time_base = self._source.time_base
            context.gop_size = max(1, min(300, round(rate)))  # a kill loses at most this many
            context.options = self._options
            context.thread_count = min(cores(), MOST_THREADS)
            if self._source.sample_aspect:
                context.sample_aspect_ratio = self._source.sample_aspect
            if self._mux_options is MP4 and context.codec.canonical_name == "hevc":
                context.codec_tag = "hvc1"  # Apple's players take no other
            self._layout.tag(context)
            self._audio = self._add_audio()
            try:
                self._container.start_encoding()
            except (av.error.FFmpegError, ValueError) as e:
                if isinstance(e, OSError):
                    raise
                raise Unavailable(
                    f"{self.path}: {self._codec} does not start "
                    f"({getattr(e, 'strerror', None) or e}); use another --codec or size"
                ) from e

    def _encoded_layout(self, layout: Layout) -> Layout:
        """The layout the encoder gets: even where it must be, in a format that it knows."""
        width, height, pixels = layout.width, layout.height, layout.format
        formats = {f.name for f in av.Codec(self._codec, "w").video_formats or ()}
        if formats and pixels not in formats:
            pixels = "yuv420p"
            if pixels not in formats:
                raise Unavailable(f"--codec {self._codec}: takes none of wsshm's pixel formats")
            self.warnings.append(f"{self._codec} takes no {layout.format}; encoded as {pixels}")
        h_shift, v_shift = fr.PLANAR[pixels]
        if self._codec not in ANY_SIZE:
            width, height = -(-width >> h_shift) << h_shift, -(-height >> v_shift) << v_shift
        if (width, height) != (layout.width, layout.height):
            self.warnings.append(
                f"{layout.width}x{layout.height} is odd, which {self._codec} cannot hold in "
                f"{pixels}: padded to {width}x{height} by repeating the last column or row"
            )
        full = self._save is Save.alpha
        return Layout(
            width, height, pixels, layout.matrix, fr.FULL if full else layout.range,
            layout.primaries, layout.transfer,
        )  # fmt: skip

    def _add_audio(self) -> dict[int, Any]:
        """{stream index in the source: stream here}."""
        if not self._encoding.audio or self._save is not Save.composite:
            return {}
        streams = {}
        for source in self._source.audio:
            name = source.codec_context.codec.canonical_name
            if not self._holds(source):
                self.warnings.append(
                    f"{self.path.suffix} cannot hold {name} audio: left out; "
                    f"-o {self.path.stem}.mkv keeps it"
                )
                continue
            streams[source.index] = self._container.add_stream_from_template(source)
            if name == "aac" and self._mux_options is MP4 and not source.codec_context.extradata:
                # As in MPEG-TS; the muxer does this by itself, but not with these movflags.
                self._filters[source.index] = BitStreamFilterContext("aac_adtstoasc", source)
        return streams

    def _holds(self, source: Any) -> bool:
        """Whether this kind of file can hold the stream; some muxers know only when they start."""
        try:
            with av.open(io.BytesIO(), "w", format=self._container.format.name) as trial:
                trial.add_stream_from_template(source)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    def packet(self, packet: av.Packet) -> None:
        if self._container is None:
            self._waiting.append(packet)
        elif packet.stream_index in self._audio:
            dts, last = packet.dts or 0, self._last_dts.get(packet.stream_index)
            if last is not None and dts <= last:
                text = "sound packets whose times jump back are left out"
                if text not in self.warnings:
                    self.warnings.append(text)
                return
            index = packet.stream_index
            self._last_dts[index] = dts
            with writing(self.path, begun=True):
                kept = self._filters[index].filter(packet) if index in self._filters else [packet]
                for one in kept:
                    one.stream = self._audio[index]
                    self._container.mux(one)

    def write(self, item: Composited) -> None:
        if self._container is None:
            self._open(item.frame.layout)
            waiting, self._waiting = self._waiting, []
            for packet in waiting:
                self.packet(packet)
        picture = self._picture(item)
        picture.pts, picture.time_base = item.frame.pts, item.frame.time_base
        picture.pict_type = 0  # the encoder decides, not the source's encoder
        self._durations[item.frame.pts] = item.frame.duration
        with writing(self.path, begun=True):
            self._mux(self._stream.encode(picture))
        self.frames += 1

    def _mux(self, packets: list[Any], ending: bool = False) -> None:
        for packet in packets:
            packet.duration = self._durations.pop(packet.pts, 0)
            if self._first is None:
                self._first = packet.pts, packet.dts
                self._end = packet.pts
            self._end = max(self._end, packet.pts + packet.duration)
        if ending and packets and self._first and self._mux_options is MP4:
            # There a file lasts until the last packet decoded ends, which is not the last shown.
            (pts, dts), last = self._first, packets[-1]
            last.duration = max(1, (self._end - pts) - (last.dts - dts))
        for packet in packets:
            self._container.mux(packet)

    def _picture(self, item: Composited) -> av.VideoFrame:
        source, layout = item.frame.layout, self._layout
        if self._save is Save.alpha:
            picture = layout.new_picture()
            luma, *chroma = fr.planes(picture)
            luma[:] = _padded(item.alpha, layout.width, layout.height)
            for plane in chroma:
                plane[:] = 128
            return picture
        assert item.picture is not None
        picture = item.picture
        if source.format != layout.format:
            picture = picture.reformat(
                format=layout.format, src_colorspace=source.matrix, dst_colorspace=layout.matrix,
                src_color_range=source.range, dst_color_range=layout.range,
            )  # fmt: skip
        if (layout.width, layout.height) != (source.width, source.height):
            padded = layout.new_picture()
            for target, plane in zip(fr.planes(padded), fr.planes(picture), strict=True):
                target[:] = _padded(plane, target.shape[1], target.shape[0])
            picture = padded
        layout.tag(picture)
        return picture

    def close(self, whole: bool) -> None:
        if self._container is None or self._part is None:
            return
        finished = False
        try:
            with writing(self.path, begun=True):
                try:
                    if self.frames:
                        self._mux(self._stream.encode(None), ending=True)
                finally:
                    self._container.close()
            finished = True
        finally:
            self._container = None
            if not finished:
                if self._mux_options is MP4:
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


def _encoder(encoding: Encoding, default: str) -> tuple[str, dict[str, str]]:
    """FFmpeg's name of the encoder, and its options."""
    by_name = {name: (crf, options) for name, crf, options in ENCODERS.values()}
    name = encoding.codec or default
    name = ENCODERS[name][0] if name in ENCODERS else name
    try:
        if av.Codec(name, "w").type != "video":
            raise ValueError(name)
    except ValueError as e:
        known = ", ".join(ENCODERS)
        raise Unavailable(
            f"--codec {name}: FFmpeg has no such video encoder here; use {known}, or "
            "one that wsshm doctor lists"
        ) from e
    crf, options = by_name.get(name, (None, {}))
    if encoding.preset is not None:
        options = options | {"preset": encoding.preset}
    if encoding.crf is not None or crf is not None:
        value = encoding.crf if encoding.crf is not None else crf
        options = options | {"crf": f"{value:g}"}
    return name, options
