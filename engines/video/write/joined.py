"""The encoded video of several files, one after the other, as one stream.

Nothing is encoded again. Each file was begun anew by one kind of encoder: it begins with a key
frame, no packet refers to another file's, and one header serves them all.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any

import av

from engines.errors import BadData, reading

REMEDY = "leave --segments out"


class JoinedVideo:
    """The packets of the video of several files, whose times follow each other.

    They are decoded when one encoder's would be: the n-th packet when the n-th image is shown,
    earlier by as many images as are reordered. All times are in ticks of the stream.

    Args:
        paths: the files, in the order of their times.

    Attributes:
        stream: the first file's `av.VideoStream`.

    Raises:
        CannotOpen: one cannot be read.
        BadData: they do not fit together.
    """

    def __init__(self, paths: Sequence[Path]):
        self._paths = paths
        self._shown = array("q")  # when images are shown
        self._reordered = 0
        self._file = _opened(paths[0])
        self.stream: Any = self._file.streams.video[0]
        try:
            for path in paths:
                with _opened(path) as file, reading(path):
                    self._take(path, file)
        except BaseException:
            self.close()
            raise

    def _take(self, path: Path, file: Any) -> None:
        """Note the times of a file's images."""
        video = file.streams.video[0]
        if _header(video) != _header(self.stream):
            raise BadData(f"{path}: its encoder began it otherwise than the first one", REMEDY)
        decoded = [packet.pts for packet in _packets(file)]
        shown = sorted(decoded)
        if not shown or (self._shown and shown[0] <= self._shown[-1]):
            raise BadData(f"{path}: its frames do not follow those in front of it", REMEDY)
        places = {pts: place for place, pts in enumerate(shown)}
        late = max(i - places[pts] for i, pts in enumerate(decoded))
        self._reordered = max(self._reordered, late)
        self._shown.extend(shown)
        end = (file.duration or 0) / av.time_base / video.time_base
        if video.duration:
            end = video.duration + (video.start_time or 0)
        self._end = max(shown[-1] + 1, round(end))

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self._shown)

    def packets(self, is_mp4: bool) -> Iterator[Any]:
        """Yield all packets in order of decoding.

        Args:
            is_mp4: whether they go into an mp4: that lasts until the last packet in order of
                decoding ends, which may not be the last one shown.
        """
        shown, end, n = self._shown, self._end, len(self._shown)
        begin, back = shown[0], shown[min(self._reordered, n - 1)] - shown[0]
        for i, packet in enumerate(chain.from_iterable(map(self._read, self._paths))):
            place = bisect_left(shown, packet.pts)
            packet.duration = (shown[place + 1] if place + 1 < n else end) - packet.pts
            early = i - self._reordered
            packet.dts = shown[early] if early >= 0 else shown[i] - back
            if is_mp4 and i == n - 1:
                first = begin - back if self._reordered else begin
                packet.duration = max(1, (end - begin) - (packet.dts - first))
            yield packet

    def _read(self, path: Path) -> Iterator[Any]:
        with closing(_opened(path)) as file, reading(path):
            yield from _packets(file)

    def close(self) -> None:
        """Close the first file, which `stream` belongs to."""
        self._file.close()


def _opened(path: Path) -> Any:
    with reading(path):
        return av.open(f"file:{path}")


def _packets(file: Any) -> Iterator[Any]:
    return (packet for packet in file.demux(video=0) if packet.size and packet.pts is not None)


def _header(video: Any) -> tuple[Any, ...]:
    """Return what a decoder is told before the first packet of a stream."""
    context = video.codec_context
    what = context.codec.canonical_name, video.time_base, video.width, video.height, video.pix_fmt
    return *what, bytes(context.extradata or b"")
