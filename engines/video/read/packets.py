"""A video whose packets are read but not decoded: to cut it, or to copy what is beside it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av

from engines.video.read.times import has_clock
from engines.video.read.video import VideoSource


class PacketSource(VideoSource):
    """A video file whose first image alone is decoded, which tells the format of all."""

    _is_open = False

    def _open(self, *args: Any) -> None:
        super()._open(*args)
        self._is_open = True

    @property
    def has_times(self) -> bool:
        """Whether the file holds times, by which a part of it is found."""
        return has_clock(self._container)

    def packets(self) -> Iterator[av.Packet]:
        """Yield, in place of `items`, the packets to copy and the video's behind its first image.

        Their times are those of `items`; images come in the order in which they are decoded.
        """
        yield from (item for item in self._items() if isinstance(item, av.Packet))

    def moment(self, pts: int) -> Fraction:
        """Return the seconds from the video's first moment at which a frame is shown."""
        return self._position(pts + round(self._origin / self.time_base), self.time_base)

    def _decode(self, packet: av.Packet) -> Iterator[Any]:
        if not self._is_open:
            yield from super()._decode(packet)
        elif packet.size and self._video.index not in self._done:
            self._order.note(packet)
            if packet.pts is not None and self._is_in_part(packet):
                yield packet
            elif packet.dts is not None:
                position = self._position(packet.dts, packet.time_base)
                if self._window.is_after(position):
                    self._done.add(self._video.index)
