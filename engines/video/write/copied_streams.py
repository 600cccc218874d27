"""What goes into a video beside its images: sound, subtitles, chapters and tags of the source.

Packets are copied as they are. What the container cannot hold is encoded anew in a codec that it
can, or left out, and a warning says which.
"""

from __future__ import annotations

import io
from fractions import Fraction
from typing import Any

import av
from av.bitstream import BitStreamFilterContext

from engines.video.read.source import FrameSource

FAMILY = {".m4v": ".mp4", ".mov": ".mp4"}  # one muxer
# For each container, the sound and the subtitles that replace what it cannot hold.
SOUND = {".mp4": "aac", ".mkv": "libopus", ".webm": "libopus"}
TEXT = {".mp4": "mov_text", ".mkv": "subrip", ".webm": "webvtt"}
BIT_RATE = 96_000  # of a channel of sound encoded anew: hard to tell from the original
LAYOUTS = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}  # by channels; others become stereo
# Tags of a file that are about its container and not about what it shows.
ABOUT_CONTAINER = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration"}
MILLISECOND = Fraction(1, 1000)


class CopiedStreams:
    """The streams of `source`, other than its images, in a container not yet begun.

    Args:
        ending: of the output, as in ``.mp4``.
        keep: the name that would hold everything, for warnings.
        warnings: where what is lost is said.
    """

    def __init__(
        self,
        container: Any,
        source: FrameSource,
        ending: str,
        keep: str,
        sound: bool,
        warnings: list[str],
    ):
        self._container, self._source = container, source
        self._ending, self._family = ending, FAMILY.get(ending, ending)
        self._keep, self._warnings = keep, warnings
        self._last_dts: dict[int, int] = {}
        self._streams: dict[int, _Copied | _Sound | _Text] = {}
        for stream in source.audio if sound else ():
            self._add(stream, SOUND)
        for stream in source.subtitles:
            self._add(stream, TEXT)
        container.metadata.update(
            {k: v for k, v in source.metadata.items() if k.lower() not in ABOUT_CONTAINER}
        )
        if source.chapters:
            container.set_chapters(source.chapters)

    def _add(self, stream: Any, instead: dict[str, str]) -> None:
        name = stream.codec_context.codec.canonical_name
        if self._holds(stream, self._container.format.name):
            self._streams[stream.index] = _Copied(self._container, stream, self._family)
            return
        kind = "audio" if stream.type == "audio" else "subtitles"
        codec, make = instead[self._family], _Sound if stream.type == "audio" else _Text
        said = f"{self._ending} cannot hold {name} {kind}"
        better = f"; -o {self._keep} keeps it" * self._holds(stream, "matroska")
        try:
            self._streams[stream.index] = make(self._container, stream, codec)
        except (av.error.FFmpegError, ValueError):
            self._warnings.append(f"{said}: left out{better}")
            return
        self._warnings.append(f"{said}: encoded anew as {codec}{better}")

    @staticmethod
    def _holds(stream: Any, kind: str) -> bool:
        """Whether a kind of file can hold the stream; some muxers know only when they start.

        Args:
            kind: FFmpeg's name of it.
        """
        if kind in ("mp4", "mov") and stream.codec_context.name.startswith("amr"):
            return False  # many frames in a packet, which the muxer refuses when it comes
        try:
            with av.open(io.BytesIO(), "w", format=kind) as trial:
                trial.add_stream_from_template(stream)
                trial.start_encoding()
        except (av.error.FFmpegError, ValueError):
            return False
        return True

    def mux(self, packet: av.Packet) -> None:
        """Add a packet of any stream of the source."""
        stream = self._streams.get(packet.stream_index)
        if stream is None:
            return
        index = packet.stream_index
        for one in stream(packet):
            self._mux(index, stream.out, one)

    def end(self) -> None:
        """Add what encoders still hold."""
        for index, stream in self._streams.items():
            for packet in stream.rest():
                self._mux(index, stream.out, packet)

    def _mux(self, index: int, out: Any, packet: av.Packet) -> None:
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
        self._container.mux(packet)


class _Copied:
    """A stream whose packets stay as they are."""

    def __init__(self, container: Any, source: Any, family: str):
        self.out = container.add_stream_from_template(source)
        _name(self.out, source)
        self._filter: BitStreamFilterContext | None = None
        name = source.codec_context.codec.canonical_name
        if name == "aac" and family == ".mp4" and not source.codec_context.extradata:
            # As in MPEG-TS; the muxer does this by itself, but not with these movflags.
            self._filter = BitStreamFilterContext("aac_adtstoasc", source)

    def __call__(self, packet: av.Packet) -> list[av.Packet]:
        return self._filter.filter(packet) if self._filter else [packet]

    def rest(self) -> list[av.Packet]:
        return []


class _Sound:
    """Sound, decoded and encoded anew."""

    def __init__(self, container: Any, source: Any, codec: str):
        channels = source.codec_context.layout.nb_channels
        rate = source.codec_context.sample_rate
        rates = av.Codec(codec, "w").audio_rates or [rate]
        rate = min((r for r in rates if r >= rate), default=max(rates))
        layout = LAYOUTS.get(channels, "stereo")
        self.out = container.add_stream(codec, rate=rate, layout=layout)
        context = self.out.codec_context
        context.bit_rate = BIT_RATE * context.layout.nb_channels
        context.time_base = Fraction(1, rate)
        context.open()
        _name(self.out, source)
        self._resampler = av.AudioResampler(
            context.format, layout, rate, frame_size=context.frame_size
        )
        self._source, self._next = source, Fraction(0)

    def __call__(self, packet: av.Packet) -> list[av.Packet]:
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

    def rest(self) -> list[av.Packet]:
        last = [p for frame in self._source.codec_context.decode(None) for p in self._encode(frame)]
        return [*last, *self._encode(None), *self.out.encode(None)]


class _Text:
    """Subtitles of text, in another notation; those that are images raise `ValueError`."""

    def __init__(self, container: Any, source: Any, codec: str):
        self._decoder = source.codec_context
        self._decoder.open(strict=False)
        header = self._decoder.subtitle_header
        if not header:
            raise ValueError("not text")
        self.out = container.add_stream(codec)
        self.out.time_base = self.out.codec_context.time_base = MILLISECOND
        self.out.codec_context.subtitle_header = header
        self.out.codec_context.open()
        _name(self.out, source)

    def __call__(self, packet: av.Packet) -> list[av.Packet]:
        shown = self._decoder.decode2(packet)
        if not shown:  # between two of them, in mp4
            return []
        text = self.out.codec_context.encode_subtitle(shown)
        text.time_base, text.pts, text.dts = packet.time_base, packet.pts, packet.pts
        text.duration = packet.duration
        return [text]

    def rest(self) -> list[av.Packet]:
        return []


def _name(out: Any, source: Any) -> None:
    """Language and title, and whether it is shown unasked."""
    for key in ("language", "title"):
        if key in source.metadata:
            out.metadata[key] = source.metadata[key]
    out.disposition = source.disposition
