"""A container that is written so that no stream which its muxer refuses costs the video.

A muxer of FFmpeg may take a stream and refuse it later: with a packet, or when it writes an index.
An mp4 without its index cannot be read at all. So the first packets of all streams are tried in
memory before the file is begun, and what is refused then is left out.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import av

from engines.errors import WriteFailed
from engines.video.write.codecs import Container
from engines.video.write.reencoded import SUBTITLE_TIME_BASE

# FFmpeg's mp4 muxer counts from one packet to the next in 32 bits, and ends the process at more.
MAX_TICKS = 2**31 - 1
TRIAL_PACKETS = 8  # of each stream
MAX_REFUSALS = 50  # of packets in a row
# How a muxer refuses something; all other errors of the system are the disk's or the reader's.
REFUSALS = {errno.EINVAL, errno.ERANGE, errno.EDOM, errno.ENOSYS, errno.EOVERFLOW}
MIN_FFMPEG_ERROR = 4096  # FFmpeg's own error numbers are over it, the system's below


class Muxer:
    """The streams of a container on their way to a file or a pipe.

    Args:
        container: an `av.container.OutputContainer` with all its streams, the video first, that is
            not begun.
        kind: what sort of container it is.
        options: what `container` was opened with.
        keep: the file name that would hold everything, for warnings.
        warnings: is appended to, a line for each stream that is refused.

    Attributes:
        finished: whether the file is complete.
        refused_video: whether packets of the video are missing.
    """

    def __init__(
        self,
        container: Any,
        kind: Container,
        options: Mapping[str, str],
        keep: str,
        warnings: list[str],
    ):
        self._container, self._kind, self._options = container, kind, dict(options)
        self._file: str = container.name
        self._keep, self._warnings = keep, warnings
        self.finished = self.refused_video = False
        self._asked = list(container.streams)  # by the index that packets come with
        self._outs: dict[int, Any] = dict(enumerate(self._asked))  # of the streams not refused
        # With the indices of their streams, until a reader of the file would find them there.
        self._held: list[tuple[int, av.Packet]] = []
        self._is_begun = self._is_safe = False
        self._fault: Exception | None = None  # why the file could not be begun
        self._header_size = 0
        self._last_dts: dict[int, int] = {}  # by index, in ticks
        self._refusals = 0
        for stream in self._asked:
            if kind.is_mp4 and stream.type == "subtitle":
                stream.time_base = SUBTITLE_TIME_BASE  # else over `MAX_TICKS` in 36 minutes

    def mux(self, packets: Iterable[av.Packet]) -> None:
        """Write packets of the container's streams.

        Raises:
            WriteFailed, av.error.FFmpegError: the video cannot be written on.
        """
        for packet in packets:
            if self._fault is not None:
                raise self._fault  # FFmpeg crashes when a file is begun a second time
            index = packet.stream_index
            if self._is_begun:
                self._write(index, packet)
                continue
            self._held.append((index, packet))
            # An mp4 has an index of all streams at its beginning.
            seen = {i for i, _ in self._held}
            audio = {i for i, stream in enumerate(self._asked) if stream.type == "audio"}
            if not self._kind.is_mp4 or {0, *audio} <= seen:
                self._begin()

    def close(self) -> None:
        """Finish the file; what its muxer refuses to write at the end is said.

        Raises:
            WriteFailed, av.error.FFmpegError: it cannot be finished; what was written is there.
        """
        if self._fault is not None:
            raise self._fault
        if self._held and not self._is_begun:
            self._begin()
        try:
            self._container.close()
        except av.error.FFmpegError as e:
            if not _is_refusal(e) or not self._is_safe:
                raise
            self._warnings.append(f"{self._kind.suffix} has no index: its muxer refused it")
            return
        self.finished = True

    def _begin(self) -> None:
        """Begin the file with those streams that its muxer takes, and write the packets held."""
        refused = None
        every = list(self._outs)
        try:
            try:
                self._container.start_encoding()
            except av.error.FFmpegError as e:
                if not _is_refusal(e) or len(every) == 1:
                    raise
                refused = every[1:]
            if refused or (self._kind.is_mp4 and len(every) > 1 and not self._takes(every)):
                refused = [i for i in every[1:] if not self._takes([0, i])]
                if not self._takes([i for i in every if i not in refused]):
                    refused = every[1:]
                self._begin_without(refused)
        except Exception as e:
            self._fault = e
            raise
        self._replay()

    def _takes(self, indices: list[int]) -> bool:
        """Return whether the muxer takes these streams and their first packets, in memory."""
        left = dict.fromkeys(indices, TRIAL_PACKETS)
        trial, outs = self._copy(io.BytesIO(), indices)
        try:
            trial.start_encoding()
            for i, packet in self._held:
                if left.get(i, 0):
                    left[i] -= 1
                    packet.stream = outs[i]
                    trial.mux(packet)
            trial.close()
        except (av.error.FFmpegError, ValueError):
            return False
        finally:
            with suppress(av.error.FFmpegError, ValueError):
                trial.close()
        return True

    def _copy(self, file: Any, indices: list[int]) -> tuple[Any, dict[int, Any]]:
        """Return a new container with copies of these streams, and the copies by index."""
        options = self._options
        container = av.open(file, "w", format=self._kind.format, container_options=options)
        container.metadata.update(self._container.metadata)
        if chapters := self._container.chapters():
            container.set_chapters(chapters)
        outs = {}
        for i in indices:
            asked = self._asked[i]
            outs[i] = out = container.add_stream_from_template(asked)
            out.metadata.update(asked.metadata)
            out.disposition = asked.disposition
            if asked.codec_context is not None:
                out.codec_context.codec_tag = asked.codec_context.codec_tag
        return container, outs

    def _begin_without(self, refused: list[int]) -> None:
        """Begin the file again without some streams, and say so."""
        with suppress(av.error.FFmpegError):
            self._container.close()
        kept = [i for i in self._outs if i not in refused]
        self._container, self._outs = self._copy(self._file, kept)
        self._container.start_encoding()
        for i in refused:
            self._say_refused(i, "")

    def _replay(self) -> None:
        self._is_begun, held = True, self._held
        self._held, self._last_dts, self._header_size = [], {}, self._size()
        for i, packet in held:
            self._write(i, packet)

    def _size(self) -> int:
        """Return the size of the file on disk, in bytes; 0 for a pipe."""
        path = self._file.removeprefix("file:")
        return os.path.getsize(path) if path != self._file else 0

    def _write(self, index: int, packet: av.Packet) -> None:
        if not self._is_safe:
            self._held.append((index, packet))
        out = self._outs.get(index)
        if out is None:
            return
        packet.stream = out
        if self._kind.is_mp4 and not self._fits(index, packet):
            return
        try:
            self._container.mux(packet)
            self._refusals = 0
        except av.error.FFmpegError as e:
            if not _is_refusal(e):
                raise
            self._refuse(index, e)
        if not self._is_safe and (not self._kind.is_mp4 or self._size() > self._header_size):
            self._is_safe, self._held = True, []

    def _refuse(self, index: int, error: Exception) -> None:
        """Go on after a packet was refused, with the others or with the video alone."""
        if not self._is_safe and len(self._outs) > 1:
            try:
                self._begin_without([i for i in self._outs if i])
            except Exception as e:
                self._fault = e
                raise
            self._replay()
            return
        self._refusals += 1
        if not self._is_safe or self._refusals > MAX_REFUSALS:
            raise error
        self.refused_video |= index == 0
        self._say_refused(index, " in part")

    def _fits(self, index: int, packet: av.Packet) -> bool:
        """Return whether a packet's times fit into an mp4; shorten its duration so that it does.

        Raises:
            WriteFailed: it is one of the video.
        """
        out = self._outs[index]
        scale = packet.time_base / out.time_base
        if packet.dts is None or packet.pts is None:
            return True
        packet.duration = min(packet.duration or 0, int(MAX_TICKS / scale))
        dts, offset = round(packet.dts * scale), (packet.pts - packet.dts) * scale
        last = self._last_dts.get(index, dts)
        if dts - last <= MAX_TICKS and abs(offset) <= MAX_TICKS:
            self._last_dts[index] = dts
            return True
        pause = f"a pause of {float((dts - last) * out.time_base) / 3600:.1f} hours"
        if not index:
            raise WriteFailed(
                f"{self._kind.suffix} cannot hold {pause}", f"use -o {self._keep} instead"
            )
        self._say_refused(index, f" from {pause} on")
        del self._outs[index]
        return False

    def _say_refused(self, index: int, what: str) -> None:
        stream = self._asked[index]
        context = stream.codec_context
        name = f"{context.codec.canonical_name} " if context is not None else ""
        text = f"{self._kind.suffix} cannot hold its {name}{stream.type}{what}: left out"
        if self._kind.format != "matroska":
            text += f"; -o {self._keep} keeps it"
        if text not in self._warnings:
            self._warnings.append(text)


def _is_refusal(error: av.error.FFmpegError) -> bool:
    """Return whether a muxer refused something, as opposed to an error of the disk."""
    code = error.errno or 0
    return code in REFUSALS or code >= MIN_FFMPEG_ERROR
