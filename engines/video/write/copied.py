"""Streams whose packets are copied as they are, and the trial of whether a container holds them."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import av
from av.bitstream import BitStreamFilterContext

from engines.video.read.ahead import copy_of
from engines.video.write.codecs import Container
from engines.video.write.reencoded import LAYOUTS, RestOfAac

ADTS_CONFIG = 0b11111101, 0b11000000  # of an ADTS header, the bits of rate and channels
EMPTY_TEXT = bytes(2)  # of mov_text: its length
EXTRADATA: Final = "new_extradata"  # side data of the first packet


@dataclass(frozen=True)
class Way:
    """A way to copy a stream.

    Attributes:
        layout: the channels that the output is told of; empty for those of the input.
        needs_packets: whether the container cannot be finished without a packet of it.
    """

    layout: str = ""
    needs_packets: bool = False


class CopiedStream:
    """A stream whose packets stay as they are.

    Args:
        first: its first packets, where the file begins with some.

    Attributes:
        rest: what encodes AAC that has changed its rate or channels; None until then.
        leaves_out: whether it left out what has changed them, which cannot be encoded alike.
    """

    def __init__(
        self, container: Any, source: Any, kind: Container, way: Way, first: Sequence[av.Packet]
    ):
        self.out = container.add_stream_from_template(source)
        context = source.codec_context
        if way.layout:
            self.out.codec_context.layout = way.layout
        self._source = source
        self._filter: BitStreamFilterContext | None = None
        # In an mp4 an empty text ends the one before. Its muxer writes that by itself, and ends the
        # process where it is there already.
        is_text = context is not None and context.codec.canonical_name == "mov_text"
        self._leaves_out_empty = kind.is_mp4 and is_text
        self._head: bytes | None = None  # rate and channels
        self.rest: RestOfAac | None = None
        self.leaves_out = False
        if context and context.codec.canonical_name == "aac" and not context.extradata:
            # As in MPEG-TS, with a header in each packet. The muxers do this by themselves, but mp4
            # not with wsshm's movflags, and Matroska not in a pipe.
            self._filter = BitStreamFilterContext("aac_adtstoasc", source)
            if first:
                trial = BitStreamFilterContext("aac_adtstoasc", source)
                for packet in trial.filter(copy_of(first[0])):
                    if packet.has_sidedata(EXTRADATA):
                        data = bytes(packet.get_sidedata(EXTRADATA))
                        self.out.codec_context.extradata = data
            self._began_as = context.sample_rate, context.layout.name

    def convert(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to write for one of the source."""
        if self._leaves_out_empty and packet.size == len(EMPTY_TEXT):
            return []
        if not self._filter or not packet.size:
            return [packet]
        head = bytes(a & b for a, b in zip(bytes(packet)[2:4], ADTS_CONFIG, strict=True))
        self._head = self._head or head
        if head != self._head and self.rest is None and not self.leaves_out:
            try:
                self.rest = RestOfAac(self._source, self._head, *self._began_as)
            except (av.error.FFmpegError, ValueError):
                self.leaves_out = True
        if self.rest is not None:
            return self.rest.convert(packet)
        if head != self._head:
            return []
        base = packet.time_base
        filtered = self._filter.filter(packet)
        if self.out.codec_context.extradata:  # Matroska would write it a second time
            filtered = [copy_of(one, without=EXTRADATA) for one in filtered]
        for one in filtered:
            one.time_base = base
        return filtered

    def flush(self) -> list[av.Packet]:
        """Return the packets still held."""
        return self.rest.flush() if self.rest else []


def find_way(
    kind: Container,
    options: dict[str, str],
    source: Any,
    first: Sequence[av.Packet],
    piped: bool = False,
) -> Way | None:
    """Return how a container holds a stream as it is; None if it cannot.

    What a muxer takes is known only when it has written everything: some refuse a stream at the
    header, some at the first packet, some at the index. So a file in memory is made of the first
    packets.

    Args:
        options: what the muxer is told.
        first: the first packets of the stream.
        piped: whether the output cannot be sought in.
    """
    layouts = [""]
    if source.type == "audio":
        layout = source.codec_context.layout
        if layout.name == f"{layout.nb_channels} channels" and layout.nb_channels in LAYOUTS:
            layouts.append(LAYOUTS[layout.nb_channels])
    for layout in layouts:
        way = Way(layout)
        if _holds(kind, options, source, way, first, piped):
            without = _holds(kind, options, source, way, (), piped)
            return way if without else Way(layout, needs_packets=True)
    return None


def _holds(
    kind: Container,
    options: dict[str, str],
    source: Any,
    way: Way,
    packets: Sequence[av.Packet],
    piped: bool,
) -> bool:
    try:
        with av.open(
            _Pipe() if piped else io.BytesIO(),
            "w",
            format=kind.format,
            container_options=options,
        ) as trial:
            stream = CopiedStream(trial, source, kind, way, packets)
            trial.start_encoding()
            for packet in packets:
                one = copy_of(packet)
                shift = packets[0].dts or 0
                one.pts, one.dts = (packet.pts or 0) - shift, (packet.dts or 0) - shift
                for part in stream.convert(one):
                    part.stream = stream.out
                    trial.mux(part)
    except (av.error.FFmpegError, ValueError):
        return False
    return True


class _Pipe:
    """A file in which nothing can be sought, for a trial; what is written is gone."""

    def write(self, data: bytes) -> int:
        """Return the number of bytes taken."""
        return len(data)
