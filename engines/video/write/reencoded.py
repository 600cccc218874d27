"""Sound and subtitles that a container cannot hold as they are, encoded with another codec."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

# FFmpeg's own layouts where a file only says how many channels there are.
LAYOUTS = {
    1: "mono",
    2: "stereo",
    3: "2.1",
    4: "4.0",
    5: "5.0",
    6: "5.1",
    7: "6.1",
    8: "7.1",
}

CHANNEL_BIT_RATE = 96_000  # bits a second of re-encoded audio: hard to tell from the original
SUBTITLE_TIME_BASE = Fraction(1, 1000)  # seconds
# Samples a second, by their index in an ADTS header.
AAC_RATES = dict(
    enumerate((96000, 88200, 64000, 48000, 44100, 32000, 24000, 22050, 16000, 12000, 11025, 8000))
)
TOLERANCE = Fraction(3, 200)  # seconds by which sound may be off its time before it is moved
# By size, the layouts that every decoder of a codec knows. Those of 5.0 and 6.1 that Opus has are
# not among them: FFmpeg 8 mixes up their loudspeakers.
CODEC_LAYOUTS = {
    "aac": ("mono", "stereo", "3.0", "4.0", "5.0", "5.1", "7.1"),
    "libopus": ("mono", "stereo", "3.0", "quad", "5.1", "7.1"),
}


class Transcoder:
    """Audio that is decoded and encoded anew.

    Every frame is resampled from its own rate, channels and sample format, which may change.

    Args:
        source: the stream, which decodes its packets.
        encoder: an open encoder.

    Attributes:
        damaged: how many packets could not be decoded.
        overlaps: whether frames were left out because there was sound at their time already.
    """

    def __init__(self, source: Any, encoder: Any):
        self._source, self._encoder, self._rate = source, encoder, encoder.sample_rate
        # Two steps: the first begins anew when the sound changes, the second cuts what comes of it
        # into frames as long as the encoder takes them, throughout.
        self._resampler: av.AudioResampler | None = None
        self._cutter = av.AudioResampler(
            encoder.format, encoder.layout, self._rate, frame_size=encoder.frame_size
        )
        self._kind: tuple[Any, ...] = ()  # rate, channels and format of the last frame
        self._base: Fraction = source.time_base
        self._next: Fraction | None = None  # seconds at which the last frame ends
        self.damaged = 0
        self.overlaps = False

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        self._base = packet.time_base or self._base
        try:
            frames = packet.decode()
        except av.error.FFmpegError:
            self.damaged += 1
            return []  # a damaged packet is heard as a gap
        return [p for frame in frames for p in self._encode(frame)]

    def flush(self) -> list[av.Packet]:
        """Return the packets that decoder, resampler and encoder still hold."""
        last = [p for frame in self._decode_last() for p in self._encode(frame)]
        for part in (*self._resampled(None), None):
            last += self._cut(part)
        return [*last, *self._encoder.encode(None)]

    def _decode_last(self) -> list[Any]:
        try:
            return list(self._source.codec_context.decode(None))
        except av.error.FFmpegError:
            return []

    def _encode(self, frame: Any) -> list[av.Packet]:
        if not self._place(frame):
            return []
        packets = []
        kind = frame.sample_rate, frame.layout.name, frame.format.name
        if kind != self._kind:
            for part in self._resampled(None):
                packets += self._cut(part)
            encoder = self._encoder
            self._resampler = av.AudioResampler(encoder.format, encoder.layout, self._rate)
            self._kind = kind
        for part in self._resampled(frame):
            packets += self._cut(part)
        return packets

    def _place(self, frame: Any) -> bool:
        """Set a frame's time; return False if it is to be left out: there is sound already.

        Frames follow each other without the rounding of the container's times. Of several in a
        packet only the first has a time, and frames that a decoder held back have no time base.
        """
        time = self._next
        if frame.pts is not None:
            time = frame.pts * Fraction(frame.time_base or self._base)
        if self._next is None:
            self._next = time or Fraction(0)
        elif time is not None and time > self._next + TOLERANCE:
            self._next = time
        elif time is not None and time < self._next - TOLERANCE:
            self.overlaps = True
            return False
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(self._next / frame.time_base)
        self._next += Fraction(frame.samples, frame.sample_rate)
        return True

    def _resampled(self, frame: Any) -> Iterator[Any]:
        if self._resampler is None:
            return
        for part in self._resampler.resample(frame):
            if part is not None:
                moment = Fraction((part.pts or 0) * (part.time_base or 0))
                part.pts = round(moment * self._rate)
                part.time_base = Fraction(1, self._rate)
                yield part

    def _cut(self, part: Any) -> list[av.Packet]:
        frames = self._cutter.resample(part)
        return [p for frame in frames if frame is not None for p in self._encoder.encode(frame)]


class ReencodedAudio(Transcoder):
    """A stream of audio in another codec.

    Attributes:
        out: the stream in the container.
        change: what is lost in it, as `` in stereo``; empty if nothing.

    Raises:
        ValueError, av.error.FFmpegError: it cannot be decoded or encoded.
    """

    def __init__(self, container: Any, source: Any, codec: str):
        context = source.codec_context
        # In a broadcast nothing is known of sound that begins late.
        given_rate = context.sample_rate or 48000
        given = context.layout if context.layout.nb_channels else av.AudioLayout("stereo")
        rate, layout = _nearest_rate(codec, given_rate), nearest_layout(codec, given)
        self.change = ""
        if layout.nb_channels < given.nb_channels:
            self.change += f" in {layout.name}"
        if rate < given_rate:
            self.change += f" at {rate / 1000:g} kHz"
        self.out = container.add_stream(codec, rate=rate, layout=layout.name)
        encoder = self.out.codec_context
        encoder.bit_rate = CHANNEL_BIT_RATE * layout.nb_channels
        encoder.time_base = Fraction(1, rate)
        if "flt" in {f.name for f in encoder.codec.audio_formats or ()}:
            encoder.format = "flt"  # mixed as whole numbers, all would become quieter
        encoder.open()
        super().__init__(source, encoder)


class RestOfAac(Transcoder):
    """AAC whose rate or channels change on the way, encoded as what it began as.

    A file says once for a whole stream what they are.

    Raises:
        ValueError: it did not begin as AAC-LC, which is what FFmpeg encodes.
    """

    def __init__(self, source: Any, head: bytes, rate: int, layout: str):
        # HE-AAC says the half of its rate.
        if head[0] >> 6 != 1 or AAC_RATES.get(head[0] >> 2 & 15) != rate:
            raise ValueError("not AAC-LC")
        encoder: Any = av.CodecContext.create("aac", "w")
        encoder.sample_rate, encoder.layout, encoder.format = rate, layout, "fltp"
        encoder.bit_rate = CHANNEL_BIT_RATE * encoder.layout.nb_channels
        encoder.time_base = Fraction(1, rate)
        encoder.open()
        super().__init__(source, encoder)
        self._start: int | None = None  # pts of the first packet

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        if self._start is None:
            self._start = round(Fraction((packet.pts or 0) * packet.time_base) * self._rate)
        # What an encoder gives before is for a decoder to begin with, which has begun already.
        return [one for one in super().convert(packet) if (one.pts or 0) >= self._start]


def _nearest_rate(codec: str, rate: int) -> int:
    """Return the rate, in samples a second, that a codec takes for sound of another."""
    rates = av.Codec(codec, "w").audio_rates or [rate]
    return min((r for r in rates if r >= rate), default=max(rates))


def nearest_layout(codec: str, layout: av.AudioLayout) -> av.AudioLayout:
    """Return the layout in which an encoder keeps most channels of another: all, if it can."""
    name = layout.name
    if name == f"{layout.nb_channels} channels":
        name = LAYOUTS.get(layout.nb_channels, "7.1")
    able = [av.AudioLayout(n) for n in CODEC_LAYOUTS[codec]]
    given = av.AudioLayout(name)
    same = [one for one in able if one.name == name]
    return next((one for one in (*same, *able) if _has_places(one, given)), able[-1])


def _has_places(layout: av.AudioLayout, given: av.AudioLayout) -> bool:
    """Return whether a layout has a loudspeaker for each channel of another.

    Those at the back may stand for those at the sides, and together for one in the middle behind.
    """
    places, wanted = ({c.name for c in one.channels} for one in (layout, given))
    if {"BL", "BR"} <= places:
        places.add("BC")
        if not wanted & {"BL", "BR"}:
            places |= {"SL", "SR"}
    return wanted <= places and layout.nb_channels >= given.nb_channels


class ConvertedSubtitles:
    """Text subtitles converted to another format.

    Raises:
        ValueError: they are images.
    """

    change = ""

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
