"""The audio, subtitles, data, chapters, tags and attached files of the source, in an output video.

Packets are copied as they are. What the container cannot hold is re-encoded in a codec that it can
hold, or left out, and a warning says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from engines.video.read.others import name_of
from engines.video.read.source import FrameSource
from engines.video.write import tags
from engines.video.write.codecs import CONTAINERS, Container
from engines.video.write.copied import CopiedStream, find_way
from engines.video.write.reencoded import ConvertedSubtitles, ReencodedAudio, Transcoder

NEW_CONFIG = "changes its rate or channels on the way: re-encoded from there on"
OTHER_CONFIG = "changes its rate or channels on the way, which is left out"
JUMP_BACK = "packets whose times jump back are left out"


class CopiedStreams:
    """The streams of a source other than its video, in a container that has no header yet.

    Args:
        container: an `av.container.OutputContainer`; streams, tags and chapters are added to it.
        kind: what sort of container it is.
        options: what its muxer is told; see `tags.muxer_options`.
        keep: the file name that would hold everything, for warnings.
        audio: whether audio is copied.
        piped: whether the output cannot be sought in.
        warnings: is appended to, a line for each stream that is not copied as it is.
    """

    def __init__(
        self,
        container: Any,
        source: FrameSource,
        kind: Container,
        options: dict[str, str],
        keep: str,
        audio: bool,
        piped: bool,
        warnings: list[str],
    ):
        self._container, self._source, self._kind = container, source, kind
        self._options, self._piped = options, piped
        self._keep, self._warnings = keep, warnings
        self._last: dict[int, Fraction] = {}  # dts of the last packet, in seconds
        self._streams: dict[int, CopiedStream | ReencodedAudio | ConvertedSubtitles] = {}
        self._came: dict[int, tuple[int | None, int]] = {}  # dts of the last packet, and its end
        self._damaged = 0
        for stream in (*(source.audio if audio else ()), *source.subtitles, *source.data):
            self._add(stream)
        self._covers, left_out = tags.add_attachments(container, kind, options, source.attachments)
        wanted = tags.wanted_tags(source.metadata)
        left_out += [f"tag {tag}" for tag in tags.lost_tags(kind, options, wanted)]
        if left_out:
            better = f"; -o {keep} keeps them" * (kind.format != "matroska")
            self._warn(f"{kind.suffix} cannot hold {', '.join(left_out)}: left out{better}")
        container.metadata.update(wanted)
        if source.chapters:
            container.set_chapters(source.chapters)

    def _warn(self, text: str) -> None:
        if text not in self._warnings:
            self._warnings.append(text)

    def _add(self, stream: Any) -> None:
        kind, first = self._kind, self._source.first_packets.get(stream.index, ())
        way = find_way(kind, self._options, stream, first, self._piped)
        if way and not (way.needs_packets and not first):
            copied = CopiedStream(self._container, stream, kind, way, first)
            self._streams[stream.index] = copied
            tags.copy_labels(stream, copied.out)
            return
        matroska = CONTAINERS[".mkv"]
        kept = find_way(matroska, dict(matroska.options), stream, first)
        better = f"; -o {self._keep} keeps it" * bool(kept and kind.format != "matroska")
        what = f"{stream.type}s" if stream.type == "subtitle" else stream.type
        codec = kind.audio if stream.type == "audio" else kind.subtitles
        context = stream.codec_context
        name = f"{context.codec.canonical_name} {what}" if context else name_of(stream)
        late = " that begins late" * (not first and stream.index in self._source.first_packets)
        loss = f"{kind.suffix} cannot hold {name}{late}"
        try:
            if context is None:
                raise ValueError("nothing is known of it")
            convert = ReencodedAudio if stream.type == "audio" else ConvertedSubtitles
            new = convert(self._container, stream, codec)
        except (av.error.FFmpegError, ValueError):
            self._warn(f"{loss}: left out{better}")
            return
        self._streams[stream.index] = new
        tags.copy_labels(stream, new.out)
        self._warn(f"{loss}: re-encoded as {codec}{new.change}{better}")

    @property
    def has_covers(self) -> bool:
        """Whether cover images are written as streams."""
        return bool(self._covers)

    def covers(self) -> Iterator[av.Packet]:
        """Yield the packets to mux right after the header: cover images."""
        for stream, data in self._covers.items():
            packet = av.Packet(data)
            packet.pts = packet.dts = 0
            packet.time_base, packet.stream = Fraction(1, 1000), stream
            packet.is_keyframe = True
            yield packet

    def convert(self, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield the packets to mux for one of the source; none for those of unknown streams."""
        index = packet.stream_index
        stream = self._streams.get(index)
        if stream is None:
            return
        if stream.out.type == "audio" and packet.duration:
            # In ASF several packets may have the time of the first: they follow each other.
            came, end = self._came.get(index, (None, 0))
            self._came[index] = packet.dts, (packet.dts or 0) + packet.duration
            if packet.dts == came:
                packet.pts, packet.dts = end, end
                self._came[index] = came, end + packet.duration
        try:
            converted = stream.convert(packet)
        except (av.error.FFmpegError, ValueError):
            self._damaged += 1
            return
        if isinstance(stream, CopiedStream) and stream.rest:
            self._warn(f"{stream.out.type} {NEW_CONFIG}")
        if isinstance(stream, CopiedStream) and stream.leaves_out:
            self._warn(f"{stream.out.type} {OTHER_CONFIG}")
        for one in converted:
            yield from self._in_order(index, stream.out, one)

    def flush(self) -> Iterator[av.Packet]:
        """Yield the packets that encoders still hold."""
        for index, stream in self._streams.items():
            for packet in stream.flush():
                yield from self._in_order(index, stream.out, packet)
            audio = stream.rest if isinstance(stream, CopiedStream) else stream
            if isinstance(audio, Transcoder):
                self._damaged += audio.damaged
                if audio.overlaps:
                    self._warn(f"{stream.out.type} {JUMP_BACK}")
        if self._damaged:
            self._warn(f"{self._damaged} damaged packets beside the video were left out")

    def _in_order(self, index: int, out: Any, packet: av.Packet) -> Iterator[av.Packet]:
        """Yield a packet as one of an output stream, unless its time is before the last one's."""
        time, last = Fraction((packet.dts or 0) * packet.time_base), self._last.get(index)
        if last is not None and time <= last:
            if out.type != "subtitle":
                self._warn(f"{out.type} {JUMP_BACK}")
                return
            # Two are shown together.
            packet.pts = packet.dts = math.floor(last / Fraction(packet.time_base)) + 1
            time = Fraction(packet.dts * packet.time_base)
        self._last[index] = time
        packet.stream = out
        yield packet
