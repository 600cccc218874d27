"""Cut a clip into segments whose frames are those of one run."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from fractions import Fraction

from engines.video.config import Segment
from engines.video.read.packets import PacketSource

# Of alpha, by what smoothing does not know of the frames before. The tenth of a code: where the
# network changes its mind, refinement makes more of it.
MAX_ERROR = 0.1 / 255
MIN_FRAMES = 2  # that lead in: a frame is deinterlaced by the one before it


def lead_in_frames(smooth: float) -> int:
    """Return how many frames before a segment are looked at.

    Smoothing is a mean in which the past has at most the weight `smooth` from frame to frame: after
    so many frames, what came before them weighs less than `MAX_ERROR`.
    """
    smoothed = math.ceil(math.log(MAX_ERROR) / math.log(smooth)) if smooth else 0
    return max(MIN_FRAMES, smoothed)


def split(source: PacketSource, seconds: Fraction, lead_in: int) -> list[Segment]:
    """Return segments of about so many seconds, together the whole clip.

    What leads in to a segment begins with a key frame, so that nothing is decoded in vain; the
    segment begins `lead_in` frames later. Where key frames are further apart than `seconds`,
    segments are longer.

    Args:
        source: just opened; its packets are read to the end.
    """
    times, keys = array("q"), array("q")
    for packet in source.packets():
        if packet.stream.type == "video" and packet.pts is not None:
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    shown = sorted(times)
    tick = source.time_base
    cuts: list[tuple[Fraction, Fraction]] = []  # where each segment leads in and begins
    last = shown[0] if shown else 0
    for key in sorted(keys):
        place = bisect_left(shown, key) + lead_in
        if place >= len(shown) or (shown[-1] - shown[place]) * tick < seconds / 2:
            break
        if (shown[place] - last) * tick >= seconds:
            last = shown[place]
            cuts.append((source.moment(key), source.moment(last)))
    ends: list[Fraction | None] = [*(begin for _, begin in cuts), None]
    segments = [Segment(end=ends[0])]
    for (key_at, begin), end in zip(cuts, ends[1:], strict=True):
        segments.append(Segment(begin, end, key_at))
    return segments
