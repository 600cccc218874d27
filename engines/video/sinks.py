"""Where finished frames go: a video file, a picture, a folder of pictures.

Everything is written beside its final name and renamed when whole, so that a name never stands for
half a file and an earlier good file is never lost. Whatever ends a run, `close` keeps what exists.
"""

from __future__ import annotations

import io
import math
import os
from abc import ABC, abstractmethod
from dataclasses import dataclass
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from engines.errors import CannotCreate, Unavailable, UsageError, WriteFailed, writing
from engines.video import frame as fr
from engines.video.composite import Composited
from engines.video.frame import Layout, Plane
from engines.video.sources import IMAGES, FrameSource


class Save(str, Enum):
    """What of a composited frame is written."""

    composite = "composite"
    alpha = "alpha"  # the matte: grey, full range
    foreground = "foreground"  # the person with straight alpha


@dataclass(frozen=True)
class Encoding:
    """How video is encoded; None leaves it to the container and the codec's own scale."""

    codec: str | None = None
    crf: float | None = None
    audio: bool = True


# A fragmented mp4 can be played up to its last fragment after a kill; "hybrid" makes it an ordinary
# one when it is finished. Without "delay_moov" its edit lists are lost, and all times move by the
# encoder's reordering delay.
MP4 = {"movflags": "hybrid_fragmented+delay_moov", "flush_packets": "1"}
# For each ending: default video encoder, and options of the muxer.
CONTAINERS: dict[str, tuple[str, dict[str, str]]] = {
    ".mp4": ("libx264", MP4),
    ".m4v": ("libx264", MP4),
    ".mov": ("libx264", MP4),
    ".mkv": ("libx264", {"flush_packets": "1", "cluster_time_limit": "1000"}),
    ".webm": ("libvpx-vp9", {"flush_packets": "1", "cluster_time_limit": "1000"}),
}
# Encoder, constant rate factor and options that suit a laptop.
ENCODERS: dict[str, tuple[str, float, dict[str, str]]] = {
    "h264": ("libx264", 20, {"preset": "veryfast"}),
    "hevc": ("libx265", 23, {"preset": "veryfast", "x265-params": "log-level=error"}),
    "vp9": ("libvpx-vp9", 30, {"b": "0", "deadline": "realtime", "cpu-used": "6", "row-mt": "1"}),
    "av1": ("libsvtav1", 32, {"preset": "10", "svtav1-params": "lookahead=0"}),
}
ANY_SIZE = {"libvpx-vp9", "ffv1"}  # encoders that take odd widths and heights as they are
STILLS = IMAGES - {".avif", ".tif", ".tiff"}
WITH_ALPHA = {".png", ".webp"}


class FrameSink(ABC):
    """Takes composited frames in order."""

    path: Path  # where the result is or will be
    frames: int = 0  # whole frames that are in the output once it is closed
    warnings: list[str]
    left_at: Path | None = None  # set when the result could not be moved to `path`

    @abstractmethod
    def write(self, item: Composited) -> None:
        """Add a frame. Raises `CannotCreate` or `WriteFailed`."""

    def packet(self, packet: av.Packet) -> None:  # noqa: B027 - most sinks have no use for them
        """Add a packet of a copied stream."""

    @abstractmethod
    def close(self, whole: bool) -> None:
        """Finish the output; `whole` is false when the run was cut short.

        Raises `WriteFailed` when it cannot be finished; what exists stays on disk all the same.
        """


def check_free(path: Path, overwrite: bool) -> list[str]:
    """See that an output can be created at `path`, before any work is done.

    Returns:
        A warning for each unfinished file that an earlier run left beside it.

    Raises:
        CannotCreate: it exists and may not be replaced, or its folder is missing or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise CannotCreate(f"{path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotCreate(f"{path}: no permission to write in {folder}")
    if path.is_dir():
        if any(path.iterdir()) and not overwrite:
            raise CannotCreate(f"{path}: folder is not empty; name another, or add --overwrite")
    elif path.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists already; name another with -o, or add --overwrite")
    return [
        f"{p}: left by a run that was killed; it holds what that run had finished"
        for p in sorted(folder.glob(f"{_escape(path.stem)}.part*{path.suffix}"))
        if path.suffix
    ]


def _escape(stem: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in stem)


def free_part(path: Path) -> Path:
    """A new empty file beside `path` to write into: ``name.part.mp4``, or ``.part2`` and so on."""
    for n in range(1, 1000):
        part = path.with_name(f"{path.stem}.part{n if n > 1 else ''}{path.suffix}")
        with writing(path, begun=False):
            try:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                return part
            except FileExistsError:
                continue
    raise CannotCreate(f"{path}: too many unfinished files beside it; remove {path.stem}.part*")


def open_sink(
    path: Path, save: Save, transparent: bool, source: FrameSource, encoding: Encoding
) -> FrameSink:
    """The sink that fits the ending of `path` and the source.

    Args:
        transparent: whether ``--bg transparent`` asks for alpha in the composite.

    Raises:
        UsageError: an ending that is unknown, or cannot hold what is asked for.
        Unavailable: an encoder that FFmpeg lacks here.
    """
    suffix = path.suffix.lower()
    rgba = save is Save.foreground or (save is Save.composite and transparent)
    is_video = source.rate is not None or source.audio
    if suffix in CONTAINERS:
        if rgba:
            what = "--bg transparent" if save is Save.composite else "--save foreground"
            raise UsageError(
                f"{path}: {what} writes PNG files; name a folder for them, as in -o {path.stem}/"
            )
        if not is_video:
            raise UsageError(f"{path}: pictures do not become a video; use -o NAME.png or a folder")
        return VideoSink(path, save, source, encoding)
    if suffix in STILLS and not path.is_dir():
        if is_video or (source.total or 2) > 1:
            raise UsageError(
                f"{path}: one picture cannot hold a video or a folder; name a folder, as in "
                f"-o {path.stem}/"
            )
        if rgba and suffix not in WITH_ALPHA:
            raise UsageError(f"{path}: {suffix} cannot hold transparency; use .png or .webp")
        return PictureSink(path, save)
    if suffix and not path.is_dir():
        known = " ".join([*CONTAINERS, *sorted(STILLS)])
        raise UsageError(f"{path}: unknown kind of output {suffix}; use {known} or a folder")
    return FolderSink(path, save)


def to_rgba(item: Composited, save: Save, scalers: dict[Layout, fr.RgbScaler]) -> Plane:
    """What `save` asks of a frame, for a picture: (H, W), (H, W, 3) or (H, W, 4), RGB order."""
    if save is Save.alpha:
        return item.alpha
    layout = item.frame.layout
    scaler = scalers.setdefault(layout, fr.RgbScaler(layout))
    if save is Save.composite and item.picture is not None:
        return scaler(item.picture, layout.width, layout.height)
    rgb = scaler(item.frame.picture, layout.width, layout.height)
    return np.dstack([rgb, item.alpha])


def write_picture(path: Path, pixels: Plane) -> None:
    """Write a grey, RGB or RGBA picture, whole or not at all."""
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, swap[pixels.shape[2]])
    try:
        _, data = cv2.imencode(path.suffix, pixels, [cv2.IMWRITE_PNG_COMPRESSION, 2])
    except cv2.error as e:
        raise WriteFailed(f"{path}: cannot be encoded ({e.err})") from e
    part = free_part(path)
    try:
        with writing(path, begun=True):
            part.write_bytes(data.tobytes())
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class PictureSink(FrameSink):
    """One picture file."""

    def __init__(self, path: Path, save: Save):
        self.path, self._save, self.warnings = path, save, []

    def write(self, item: Composited) -> None:
        write_picture(self.path, to_rgba(item, self._save, {}))
        self.frames += 1

    def close(self, whole: bool) -> None:
        pass


class FolderSink(FrameSink):
    """A folder of PNG files, numbered from 000001, or named as the pictures they came from."""

    def __init__(self, path: Path, save: Save):
        self.path, self._save, self.warnings = path, save, []
        self._scalers: dict[Layout, fr.RgbScaler] = {}

    def write(self, item: Composited) -> None:
        if not self.frames:
            with writing(self.path, begun=False):
                self.path.mkdir(exist_ok=True)
        name = item.frame.name or f"{self.frames + 1:06d}"
        write_picture(self.path / f"{name}.png", to_rgba(item, self._save, self._scalers))
        self.frames += 1

    def close(self, whole: bool) -> None:
        pass


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
            if self._source.sample_aspect:
                context.sample_aspect_ratio = self._source.sample_aspect
            if self._mux_options is MP4 and context.codec.canonical_name == "hevc":
                context.codec_tag = "hvc1"  # Apple's players take no other
            self._layout.tag(context)
            self._audio = self._add_audio()
            try:
                self._container.start_encoding()
            except (av.error.FFmpegError, ValueError) as e:
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
            packet.stream = self._audio[packet.stream_index]
            with writing(self.path, begun=True):
                self._container.mux(packet)

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
        try:
            with writing(self.path, begun=True):
                try:
                    if self.frames:
                        self._mux(self._stream.encode(None), ending=True)
                finally:
                    self._container.close()
        finally:
            self._container = None
            self._settle(whole)

    def _settle(self, whole: bool) -> None:
        """Give the part its name, unless half a new file would replace a whole earlier one."""
        part = self._part
        assert part is not None
        if not self.frames or not part.stat().st_size:
            part.unlink()
            return
        if self.path.exists() and not (whole and self._existed):
            self.left_at = part
            return
        with writing(self.path, begun=True):
            part.replace(self.path)


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
            f"--codec {encoding.codec}: FFmpeg has no such video encoder here; use {known}, or "
            "one that wsshm doctor lists"
        ) from e
    crf, options = by_name.get(name, (None, {}))
    if encoding.crf is not None or crf is not None:
        value = encoding.crf if encoding.crf is not None else crf
        options = options | {"crf": f"{value:g}"}
    return name, options
