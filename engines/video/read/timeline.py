"""One time line for all streams of an input: what follows a jump of the clock is joined on.

Clocks jump where they are set, where they wrap around, and where recordings were joined.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, NamedTuple

import av

from engines.errors import Say
from engines.video.read.times import (
    FILE_GAP,
    REORDERED_FRAMES,
    WITHOUT_DECODING_TIMES,
    has_broadcast_clock,
)

# A gap in everything, image and sound, of this length is a jump of the clock. Broadcasts have no
# such gaps; in other files times are part of the film, in which an image may stay for long.
BROADCAST_GAP = 5.0  # seconds; elsewhere `FILE_GAP`
SLOW_FRAMES = 20  # as long as these at the average rate no gap is a jump
TOLD_GAP = 5.0  # seconds without image and sound in a file: kept, and said
GAP_IMAGES = 4  # that come in such a gap, since they are decoded before its end
BACK_SECONDS = 0.1  # by which times may go back without a jump: clocks are not exact
OVERLAP_SECONDS = 1.0  # by which a stream may begin too early behind a jump of another one
LEADING_FRAMES = 8  # to read behind a jump, for those that are shown before a key frame
CLOCK_TURN = 2**33 / 90000  # seconds after which the clock of a broadcast begins anew
LOOK_SECONDS, LOOK_PACKETS = 2.0, 2000  # to read ahead, for other streams to jump as well
TOGETHER_SECONDS = 5.0  # between the jumps of streams that jump together
SOUND_OVERLAP = 0.1  # seconds in which sound is moved together, so that no image has to wait for it
MAX_SOUND_SECONDS = 5.0  # of one packet


class _Stamp(NamedTuple):
    """A packet's times by its own clock, in seconds."""

    dts: float | None  # order of decoding
    pts: float
    length: float  # as declared; 0 if it is not


@dataclass
class _Track:
    """What came of one stream so far, in joined seconds."""

    step: float  # that a packet without a sensible duration lasts
    back: float = BACK_SECONDS  # by which times of decoding may go back
    epoch: int = 0  # number of jumps behind it
    last: float = -math.inf  # the latest time of decoding
    given: float = -math.inf  # the latest time of display that a packet was given
    end: float | None = None  # when the latest image or sound ends


class Timeline:
    """One time line for all streams of an input, whatever their clocks do.

    A packet that goes back, or comes long after everything before it, image and sound, is behind a
    jump. Streams that jump together are shifted by one amount, the least with which none overlaps
    what it had before, but for a moment of sound; a stream that jumps alone is shifted alone. An
    image that stays while sound goes on is no jump: the sound comes as far as the next image.

    Args:
        container: an `av.container.InputContainer`.
        video: the stream of the images.
        audio: the streams of the sounds. All others follow these.
        rate: images a second; None if not known.
        name: of the input, for warnings.
        warn: told of the first jump.

    Attributes:
        reached: by stream index, the seconds by its own clock at which it ends so far.
        jumped: whether a clock has jumped.
    """

    def __init__(
        self,
        container: Any,
        video: Any,
        audio: Iterable[Any],
        rate: Fraction | None,
        name: str,
        warn: Say,
    ):
        self._name, self._warn = name, warn
        self._start = (container.start_time or 0) / av.time_base
        step = float(1 / rate) if rate else 0.04
        self._is_broadcast = has_broadcast_clock(container)
        self._gap = max(BROADCAST_GAP if self._is_broadcast else FILE_GAP, SLOW_FRAMES * step)
        self._video = video.index
        is_made_up = container.format.name in WITHOUT_DECODING_TIMES
        back = max(BACK_SECONDS, REORDERED_FRAMES * step * is_made_up)
        self._tracks = {video.index: _Track(step, back)}
        self._tracks |= {s.index: _Track(0.02) for s in audio}
        self._shifts = [Fraction(0)]  # seconds that are added, by epoch
        self._frontier = 0.0  # when everything so far ends
        self.reached: dict[int, float] = {}
        self.jumped = self._has_told_gap = False
        self._images = 0  # since the last sound
        self._packets: Iterator[av.Packet] = iter(())
        self._ahead: deque[av.Packet] = deque()  # packets that were read ahead
        self._fault: Exception | None = None  # and what came behind them

    def join(self, packets: Iterable[av.Packet]) -> Iterator[av.Packet]:
        """Yield packets in their order, with joined times; raise what their iterator raises."""
        self._packets = iter(packets)
        try:
            while (packet := self._next()) is not None:
                stamp, track = self._stamp(packet), self._tracks.get(packet.stream_index)
                if stamp is not None:
                    epoch = self._epoch(track, stamp)
                    if epoch is None:
                        epoch = self._look_ahead(packet)
                    self._place(packet, track, stamp, epoch)
                yield packet
        finally:
            self._packets = iter(())  # it refers to the source, which refers to this

    def _next(self) -> av.Packet | None:
        if self._ahead:
            return self._ahead.popleft()
        if self._fault is not None:
            raise self._fault
        return next(self._packets, None)

    def _stamp(self, packet: av.Packet) -> _Stamp | None:
        """Return a packet's times; None if it has none."""
        pts, dts, base = packet.pts, packet.dts, packet.time_base
        pts = dts if pts is None else pts
        if pts is None or base is None:
            return None
        time = None if dts is None else float(dts * base)
        return _Stamp(time, float(pts * base), float((packet.duration or 0) * base))

    def _epoch(self, track: _Track | None, stamp: _Stamp) -> int | None:
        """Return the epoch that times belong to; None if they are behind a new jump."""
        if track is None or track.end is None:  # subtitles, or a stream that begins
            away = [abs(stamp.pts + float(s) - self._frontier) for s in self._shifts]
            return away.index(min(away))
        epochs = range(max(0, track.epoch - 1), len(self._shifts))
        fitting = [e for e in epochs if self._fits(track, stamp, e)]
        return min(fitting, key=lambda e: self._distance(track, stamp, e), default=None)

    def _distance(self, track: _Track, stamp: _Stamp, epoch: int) -> float:
        """Return the seconds between the end of what a stream had and a packet of an epoch."""
        return abs(stamp.pts + float(self._shifts[epoch]) - (track.end or 0.0))

    def _fits(self, track: _Track, stamp: _Stamp, epoch: int, tolerance: float = 1.0) -> bool:
        """Return whether times follow on what a stream had, in an epoch."""
        assert track.end is not None
        shift = float(self._shifts[epoch])
        if epoch < track.epoch:  # decoded behind a jump, but shown before it
            return stamp.dts != stamp.pts and 0 < track.end - stamp.pts - shift <= self._gap
        if epoch > track.epoch:
            is_behind = stamp.pts + shift < track.end - OVERLAP_SECONDS
        else:
            is_behind = (
                stamp.dts is not None and stamp.dts + shift < track.last - track.back * tolerance
            )
        return not is_behind and stamp.pts + shift <= self._frontier + self._gap * tolerance

    def _place(self, packet: av.Packet, track: _Track | None, stamp: _Stamp, epoch: int) -> None:
        """Give a packet joined times, and note how far its stream has come."""
        i, base = packet.stream_index, packet.time_base
        self.reached[i] = max(self.reached.get(i, stamp.pts), stamp.pts + stamp.length)
        if track is not None:
            if i == self._video:
                self._images += 1
            elif track.end is not None:
                self._tell_gap(stamp.pts + float(self._shifts[epoch]), track.end)
            length = self._note(i, track, stamp, epoch)
            if length < stamp.length:  # in mp4, what comes before a jump lasts until after it
                packet.duration = round(Fraction(length) / base)
        shift = self._shifts[epoch]
        if track is not None and i != self._video:
            if self.jumped:
                shift += Fraction(max(0.0, track.given + track.step / 2 - stamp.pts - float(shift)))
            track.given = stamp.pts + float(shift)
        if ticks := round(shift / base):
            packet.pts = None if packet.pts is None else packet.pts + ticks
            packet.dts = None if packet.dts is None else packet.dts + ticks

    def _note(self, i: int, track: _Track, stamp: _Stamp, epoch: int) -> float:
        """Note how far stream i has come; return the seconds that its packet really lasts."""
        longest = self._gap if i == self._video else MAX_SOUND_SECONDS
        length = stamp.length if 0 < stamp.length <= longest else track.step
        if i != self._video:
            track.step = length
        shift = float(self._shifts[epoch])
        if track.end is None or epoch > track.epoch:
            track.epoch, track.last, track.end = epoch, -math.inf, -math.inf
        track.end = max(track.end, stamp.pts + length + shift)
        if stamp.dts is not None and epoch == track.epoch:
            track.last = max(track.last, stamp.dts + shift)
        self._frontier = max(self._frontier, track.end)
        return length

    def _tell_gap(self, begin: float, end: float) -> None:
        """Warn of a long gap in sound and images alike that is kept, once."""
        if begin - end > TOLD_GAP and self._images <= GAP_IMAGES and not self._has_told_gap:
            self._has_told_gap = True
            at = end - self._start
            self._warn(
                f"{self._name}: nothing comes for {begin - end:.0f} s after {at:.1f} s; kept"
            )
        self._images = 0

    def _look_ahead(self, first: av.Packet) -> int:
        """Return a packet's epoch, after reading whether other streams jump with it.

        It is a new one unless an image only stays while sound goes on: where images are reordered,
        the next one is decoded before that sound.
        """
        before, frontier = self._tracks, self._frontier
        self._tracks = {i: replace(t) for i, t in before.items()}
        begun = {i: t.end for i, t in before.items() if t.end is not None}
        jumps: dict[int, tuple[float, float]] = {}  # by stream: the jump's two sides, in seconds
        waiting = set(before)  # streams that have not come up to the jump
        queue, leading = list[av.Packet](), LEADING_FRAMES
        packet: av.Packet | None = first
        while packet is not None:
            queue.append(packet)
            i, stamp = packet.stream_index, self._stamp(packet)
            if stamp is not None and i in before and i not in begun:
                if stamp.pts + float(self._shifts[-1]) <= self._frontier + self._gap:
                    self._note(i, self._tracks[i], stamp, len(self._shifts) - 1)
                    begun[i] = self._tracks[i].end or 0.0
                else:
                    waiting.discard(i)
            elif stamp is not None and i in before:
                track = self._tracks[i]
                is_old = packet is not first and self._fits(track, stamp, track.epoch, 0.5)
                if is_old:
                    self._note(i, track, stamp, track.epoch)
                end, begin = track.end or 0.0, jumps[i][1] if i in jumps else stamp.pts
                if i in jumps or not is_old:
                    leading -= i == self._video
                    # Images that lead up to a key frame are shown before it.
                    is_leading = i == self._video and not is_old
                    jumps[i] = end, min(begin, stamp.pts) if is_leading else begin
                    waiting.discard(i)
                went_on = end - begun[i] if is_old else abs(stamp.pts - begin)
                if went_on > LOOK_SECONDS:
                    break
            is_known = not waiting and (self._video not in jumps or leading <= 0)
            if is_known or len(queue) >= LOOK_PACKETS:
                break
            try:
                packet = self._next()
            except Exception as e:  # it is raised behind what was read
                self._fault, packet = e, None
        goes_on = any(
            (self._tracks[i].end or 0.0) - begun[i] > LOOK_SECONDS / 2
            for i in begun.keys() - jumps.keys()
        )
        self._tracks, self._frontier = before, frontier
        self._ahead.extendleft(reversed(queue[1:]))
        epoch, stamp = before[first.stream_index].epoch, self._stamp(first)
        if goes_on and stamp is not None and self._stays(first.stream_index, stamp):
            return epoch
        end, begin = jumps[first.stream_index]
        if not self.jumped:
            self._tell_jump(begin + float(self._shifts[epoch]) - end, end)
        needed = {i: e - b for i, (e, b) in jumps.items()}
        together = {i: s for i, s in needed.items() if abs(s - end + begin) <= TOGETHER_SECONDS}
        shift = max(together.values())
        if self._video in together:
            shift = max(together[self._video], shift - SOUND_OVERLAP)
        self._shifts.append(Fraction(shift))
        self.jumped = True
        return len(self._shifts) - 1

    def _stays(self, i: int, stamp: _Stamp) -> bool:
        """Return whether only an image's time of display is far ahead, not that of decoding."""
        if i != self._video or stamp.dts == stamp.pts:
            return False
        track = self._tracks[i]
        return stamp.dts is None or self._fits(track, stamp._replace(pts=stamp.dts), track.epoch)

    def _tell_jump(self, by: float, at: float) -> None:
        way, at = "back" if by < 0 else "forward", at - self._start
        how = f"{way} by {abs(by):.1f} s"
        if self._is_broadcast and by > CLOCK_TURN / 2:
            how = "far"  # FFmpeg takes most ways back for a turn of the clock
        self._warn(f"{self._name}: times jump {how} after {at:.1f} s; what follows is joined on")
