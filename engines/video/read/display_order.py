"""The times at which images are shown, also where a container stores those of decoding."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import av

from engines.video.frame import Frame, is_frame
from engines.video.read.times import REORDERED_FRAMES, WITHOUT_DISPLAY_TIMES

MAX_HELD_PACKETS = 5000  # minutes of video


class DisplayOrder:
    """The times at which images are shown, where packets have them, and where they have not.

    As long as times never go back from packet to packet they are taken for those of decoding, if
    the decoder reorders images at all: the n-th image shown then has the n-th packet's time. Images
    of a stream without times follow each other as they last.

    Args:
        container: an `av.container.InputContainer`.
        stream: the stream of the images.
        decoder: the `av.VideoCodecContext` that they are decoded with.
        first: time of the first image if it has none, in ticks; None if that is not known.
    """

    def __init__(self, container: Any, stream: Any, decoder: Any, first: int | None):
        self._decoder = decoder
        rate = stream.average_rate or stream.guessed_rate
        self._step = round(1 / (rate * stream.time_base)) if rate else 1
        is_made_up = container.format.name in WITHOUT_DISPLAY_TIMES
        self._uses_dts = is_made_up and self._decoder.reorder_depth > 0
        self._next = first
        self._goes_back = self._is_sparse = False
        self._latest: int | None = None  # of the packets
        self._places: list[int] = []  # times of packets that no image has been given
        self._shown: deque[tuple[int, int]] = deque(maxlen=REORDERED_FRAMES)  # its own, and given

    @property
    def is_derived(self) -> bool:
        """Whether images are given other packets' times than their own."""
        return not self._goes_back and not self._is_sparse and self._decoder.reorder_depth > 0

    def note(self, packet: av.Packet) -> None:
        """Take a packet before it is decoded."""
        if self._uses_dts and packet.dts is not None:
            packet.pts = packet.dts
        self._is_sparse |= packet.pts is None and packet.size > 0
        if packet.pts is None or self._goes_back:
            return
        if self._latest is not None and packet.pts < self._latest:
            self._goes_back = True
            self._places.clear()
            return
        self._latest = packet.pts
        self._places.append(packet.pts)

    def time(self, image: av.VideoFrame) -> int | None:
        """Return when the next image that was decoded is shown, in ticks; None if not known."""
        own = image.pts
        if own is None or (self._is_sparse and self._next is not None and own < self._next):
            pts = self._next  # between known times, those that are known are not exact
        elif self.is_derived:
            pts = self._derived(own, bool(image.key_frame))
        else:
            del self._places[: bisect_left(self._places, own + 1)]
            pts = own
        if pts is not None:
            self._next = pts + (image.duration or self._step)
        return pts

    def _derived(self, own: int, is_key: bool) -> int:
        """Return the time of the packet whose turn it is.

        Packets that gave no image are passed over as soon as that is certain: a key frame is not
        shown before any packet that came before it, and others by no more than what is reordered.
        """
        places, earlier = self._places, bisect_left(self._places, own)
        if is_key or not self._shown:
            del places[:earlier]
            # Of the packets behind it, some are shown before it.
            leading = sum(o > own for o, _ in self._shown)
            taken = sum(given >= own for _, given in self._shown)
            del places[: max(0, leading - taken)]
        else:
            del places[: max(0, earlier - self._decoder.reorder_depth)]
        pts = places.pop(0) if places else own
        self._shown.append((own, pts))
        return pts


def until_next(
    items: Iterator[Frame | av.Packet], end: Callable[[int], int]
) -> Iterator[Frame | av.Packet]:
    """Yield a video's items, its frames one later, each to be shown until the next one.

    A container may say only how long it is from one image to the next in decoding order: what it
    says of an image that stays for long is then said of another one.

    Args:
        end: gives the tick at which the last frame ends, from the latest that any was said to.
    """
    held: Frame | None = None
    reached = 0
    for item in items:
        if not is_frame(item):
            yield item
            continue
        if held is not None:
            yield replace(held, duration=item.pts - held.pts)
        held, reached = item, max(reached, item.pts + item.duration)
    if held is not None:
        lasts = end(reached) - held.pts
        yield replace(held, duration=lasts if lasts > 0 else held.duration)


class HeldBack:
    """A video's packets, held back from the last key frame before a part's start on.

    Nothing before it has to be decoded.

    Args:
        is_before: whether a packet's image is not shown after the start.
    """

    def __init__(self, is_before: Callable[[av.Packet], bool]):
        self._is_before = is_before
        self._held: list[av.Packet] | None = []

    def __call__(self, packet: av.Packet) -> list[av.Packet]:
        """Return the packets to decode now."""
        if self._held is None:
            return [packet]
        is_before = self._is_before(packet)
        if is_before and packet.is_keyframe:
            self._held.clear()
        self._held.append(packet)
        if is_before and packet.size and len(self._held) < MAX_HELD_PACKETS:
            return []
        held, self._held = self._held, None
        return held
