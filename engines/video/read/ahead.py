"""What of a file is looked at before its first frame: the first packets of its other streams."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any, NamedTuple

import av

from engines.video.read.times import has_broadcast_clock

MAX_BYTES = 64 << 20  # of packets that are held
MAX_SAMPLES = 8  # packets of a stream that are copied, to try an output with


class Ahead(NamedTuple):
    """What was found by reading ahead.

    Attributes:
        packets: all packets of the file, those that were read ahead first.
        first: copies of the first packets of each stream that was looked for, by its index.
        covers: the bytes of each cover image, by the index of its stream.
        at_end: whether the part ends within what was read, so that `first` has all streams in it.
    """

    packets: Generator[av.Packet, None, None]
    first: dict[int, tuple[av.Packet, ...]]
    covers: dict[int, bytes]
    at_end: bool


def look_ahead(
    packets: Iterator[av.Packet],
    wanted: Iterable[Any],
    covers: Iterable[Any],
    is_in_part: Callable[[av.Packet], bool],
    is_far: Callable[[av.Packet], bool],
) -> Ahead:
    """Read packets until every wanted stream has shown one, or far enough.

    An error on the way is raised by the iterator of all packets, in its place.

    Args:
        wanted: the streams that are looked for.
        covers: the streams of cover images, whose packets are taken out.
        is_in_part: whether a packet belongs to the part of the file that is wanted.
        is_far: whether a packet of another stream is so late that the search ends.
    """
    seen: dict[int, list[av.Packet]] = {stream.index: [] for stream in wanted}
    pictures: dict[int, bytes | None] = {stream.index: None for stream in covers}
    held: deque[av.Packet] = deque()
    error: Exception | None = None
    size, at_end = 0, False
    missing = {*seen, *pictures}
    try:
        while missing and size < MAX_BYTES:
            packet = next(packets, None)
            if packet is None:
                at_end = True
                break
            index = packet.stream_index
            if index in pictures:
                missing.discard(index)
                if packet.size and pictures[index] is None:
                    pictures[index] = bytes(packet)
                continue
            held.append(packet)
            size += packet.size
            if index in seen:
                if packet.size and is_in_part(packet) and len(seen[index]) < MAX_SAMPLES:
                    seen[index].append(copy_of(packet))
                    missing.discard(index)
            elif packet.size and is_far(packet):
                break
    except (av.error.FFmpegError, OSError) as e:
        error = e

    def all_packets() -> Generator[av.Packet, None, None]:
        while held:
            yield held.popleft()
        if error is not None:
            raise error
        yield from (p for p in packets if p.stream_index not in pictures)

    first = {index: tuple(samples) for index, samples in seen.items()}
    shown = {index: data for index, data in pictures.items() if data is not None}
    return Ahead(all_packets(), first, shown, at_end)


def copy_of(packet: av.Packet, without: str = "") -> av.Packet:
    """Return a packet with the bytes, times and side data of another, of no stream.

    Args:
        without: the kind of side data that is left out.
    """
    copy = av.Packet(bytes(packet))
    copy.pts, copy.dts, copy.time_base = packet.pts, packet.dts, packet.time_base
    copy.duration, copy.is_keyframe = packet.duration, packet.is_keyframe
    for data in packet.iter_sidedata():
        if data.data_type != without:
            copy.set_sidedata(data)
    return copy


class CodecWatch:
    """Sees sound whose codec changes on the way, as where two broadcasts were joined.

    FFmpeg goes on to give its packets as those of the same stream.

    Args:
        container: the open input.
        streams: its audio streams.
    """

    def __init__(self, container: Any, streams: Iterable[Any]):
        joins = has_broadcast_clock(container)
        self._watched = {s.index for s in streams if joins and _fits_its_decoder(s)}
        self._heads: dict[int, bytes] = {}
        self._changed: set[int] = set()

    def is_other(self, packet: av.Packet) -> bool:
        """Return whether a packet is in another codec than its stream began with."""
        index = packet.stream_index
        if index not in self._watched or not packet.size:
            return False
        # Codecs of broadcasts begin their packets with a mark of their own.
        head = bytes(packet)[:2]
        if head != self._heads.get(index, b""):
            self._heads[index] = head
            if _fits_its_decoder(packet.stream):
                self._changed.discard(index)
            else:
                self._changed.add(index)
        return index in self._changed


def _fits_its_decoder(stream: Any) -> bool:
    """Return whether a stream is still what its decoder was opened for."""
    # PyAV does not tell the codec of a stream apart from that of its decoder, but a decoder that is
    # made of both opens only if they agree.
    with av.open(io.BytesIO(), "w", format="matroska") as container:
        try:
            container.add_stream_from_template(stream).codec_context.open()
        except (av.error.FFmpegError, ValueError):
            return False
    return True
