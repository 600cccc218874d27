"""The audio, subtitles, chapters and tags of the source, copied into an output video.

Packets are copied as they are. What the container cannot hold is re-encoded in a codec that it can
hold, or left out, and a warning says so.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from engines.video.read.source import FrameSource
from engines.video.write.codecs import Container

CHANNEL_BIT_RATE = 96_000  # bits a second of re-encoded audio: hard to tell from the original
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; others become stereo
# Tags that describe the source's container and not what it shows.
CONTAINER_TAGS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
SUBTITLE_TIME_BASE = Fraction(1, 1000)  # seconds


class CopiedStreams:
    """The streams of a source other than its video, in a container that has no header yet.

    Args:
        container: an `av.container.OutputContainer`; streams, tags and chapters are added to it.
        kind: what sort of container it is.
        keep: the file name that would hold everything, for warnings.
        audio: whether audio is copied.
        warnings: is appended to, a line for each stream that is not copied as it is.
    """

    def __init__(
        self,
        container: Any,
        source: FrameSource,
        kind: Container,
        keep: str,
        audio: bool,
        warnings: list[str],
    ):
        self._container, self._source, self._kind = container, source, kind
        self._keep, self._warnings = keep, warnings
        self._last_dts: dict[int, int] = {}
        self._streams: dict[int, _CopiedStream | _ReencodedAudio | _ConvertedSubtitles] = {}
        for stream in source.audio if audio else ():
            self._add(stream)
        for stream in source.subtitles:
            self._add(stream)
        container.metadata.update(
            {k: v for k, v in source.metadata.items() if k.lower() not in CONTAINER_TAGS}
        )
        if source.chapters:
            container.set_chapters(source.chapters)

    def _add(self, stream: Any) -> None:
        if _holds(self._kind.format, stream):
            self._streams[stream.index] = _CopiedStream(self._container, stream, self._kind)
            return
        name = stream.codec_context.codec.canonical_name
        is_audio = stream.type == "audio"
        codec = self._kind.audio if is_audio else self._kind.subtitles
        convert = _ReencodedAudio if is_audio else _ConvertedSubtitles
        loss = f"{self._kind.suffix} cannot hold {name} {'audio' if is_audio else 'subtitles'}"
        better = f"; -o {self._keep} keeps it" * _holds("matroska", stream)
        try:
            self._streams[stream.index] = convert(self._container, stream, codec)
        except (av.error.FFmpegError, ValueError):
            self._warnings.append(f"{loss}: left out{better}")
            return
        self._warnings.append(f"{loss}: re-encoded as {codec}{better}")

    def convert(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield the packets to mux for one of the source; none for those of unknown streams."""
        stream = self._streams.get(packet.stream_index)
        if stream is None:
            return
        index = packet.stream_index
        for one in stream.convert(packet):
            yield from self._in_order(index, stream.out, one)

    def flush(self) -> Iterator[av.Packet]:
        """Yield the packets that encoders still hold."""
        for index, stream in self._streams.items():
            for packet in stream.flush():
                yield from self._in_order(index, stream.out, packet)

    def _in_order(self, index: int, out: Any, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield a packet as one of an output stream, unless its time is before the last one's."""
        dts, last = packet.dts or 0, self._last_dts.get(index)
        if last is not None and dts <= last and out.type == "subtitle":
            packet.pts = packet.dts = dts = last + 1  # two are shown together
        elif last is not None and dts <= last:
            text = f"{out.type} packets whose times jump back are left out"
            if text not in self._warnings:
                self._warnings.append(text)
            return
        self._last_dts[index] = dts
        packet.stream = out
        yield packet


def _holds(muxer: str, stream: Any) -> bool:
    """Return whether a muxer of FFmpeg takes a stream as it is; some know only when they start."""
    if muxer in ("mp4", "mov") and stream.codec_context.name.startswith("amr"):
        return False  # it has many frames in a packet, which the muxer refuses only when it comes
    try:
        with av.open(io.BytesIO(), "w", format=muxer) as trial:
            trial.add_stream_from_template(stream)
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


class _CopiedStream:
    """A stream whose packets stay as they are."""

    def __init__(self, container: Any, source: Any, kind: Container):
        self.out = container.add_stream_from_template(source)
        _copy_labels(source, self.out)
        self._filter: BitStreamFilterContext | None = None
        name = source.codec_context.codec.canonical_name
        if name == "aac" and kind.is_mp4 and not source.codec_context.extradata:
            # As in MPEG-TS; the muxer does this by itself, but not with wsshm's movflags.
            self._filter = BitStreamFilterContext("aac_adtstoasc", source)

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        return self._filter.filter(packet) if self._filter else [packet]

    def flush(self) -> list[av.Packet]:
        """Return the packets still held."""
        return []


class _ReencodedAudio:
    """Audio that is decoded and encoded with another codec."""

    def __init__(self, container: Any, source: Any, codec: str):
        channels = source.codec_context.layout.nb_channels
        rate = source.codec_context.sample_rate
        rates = av.Codec(codec, "w").audio_rates or [rate]
        rate = min((r for r in rates if r >= rate), default=max(rates))
        layout = LAYOUTS.get(channels, "stereo")
        self.out = container.add_stream(codec, rate=rate, layout=layout)
        context = self.out.codec_context
        context.bit_rate = CHANNEL_BIT_RATE * context.layout.nb_channels
        context.time_base = Fraction(1, rate)
        context.open()
        _copy_labels(source, self.out)
        self._resampler = av.AudioResampler(
            context.format, layout, rate, frame_size=context.frame_size
        )
        self._source = source
        self._next = Fraction(0)  # seconds at which the last frame ends

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            return []  # a damaged packet is heard as a gap
        return [p for frame in frames for p in self._encode(frame)]

    def _encode(self, frame: Any) -> list[av.Packet]:
        packets = []
        if frame is not None:
            if frame.pts is None:  # of several in a packet only the first has a time
                frame.pts = round(self._next / frame.time_base)
            self._next = frame.pts * frame.time_base + Fraction(frame.samples, frame.sample_rate)
        for part in self._resampler.resample(frame):
            packets += self.out.encode(part)
        return packets

    def flush(self) -> list[av.Packet]:
        """Return the packets that decoder, resampler and encoder still hold."""
        last = [p for frame in self._source.codec_context.decode(None) for p in self._encode(frame)]
        return [*last, *self._encode(None), *self.out.encode(None)]


class _ConvertedSubtitles:
    """Text subtitles converted to another format.

    Raises:
        ValueError: they are images.
    """

    def __init__(self, container: Any, source: Any, codec: str):
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        header = self._decoder.subtitle_header
        if not header:
            raise ValueError("not text")
        self.out = container.add_stream(codec)
        self.out.time_base = self.out.codec_context.time_base = SUBTITLE_TIME_BASE
        self.out.codec_context.subtitle_header = header
        self.out.codec_context.open()
        _copy_labels(source, self.out)

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        subtitles = self._decoder.decode2(packet)
        if not subtitles:  # mp4 has empty packets for the time between two of them
            return []
        text = self.out.codec_context.encode_subtitle(subtitles)
        text.time_base, text.pts, text.dts = packet.time_base, packet.pts, packet.pts
        text.duration = packet.duration
        return [text]

    def flush(self) -> list[av.Packet]:
        """Return the packets still held."""
        return []


def _copy_labels(source: Any, out: Any) -> None:
    """Copy a stream's language, title and disposition (default, forced and so on)."""
    for key in ("language", "title"):
        if key in source.metadata:
            out.metadata[key] = source.metadata[key]
    out.disposition = source.disposition
