"""What a container says of times, and how far that can be believed."""

from __future__ import annotations

import math
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
from av.format import Flags

from engines.video.config import Clip

FILE_GAP = 1800.0  # seconds without anything that are a jump of the clock, outside broadcasts
LATE_SECONDS = 10.0  # a clock that begins later says nothing about the film
# Containers that store no times of decoding, or none of display; FFmpeg makes them up.
WITHOUT_DECODING_TIMES = {"matroska,webm", "nut"}
WITHOUT_DISPLAY_TIMES = {"avi"}
DECLARED_FROM_0 = {*WITHOUT_DECODING_TIMES, "flv"}  # of its clock, whenever the first image comes
REORDERED_FRAMES = 17  # that an image is decoded ahead of, at most


def has_broadcast_clock(container: Any) -> bool:
    """Whether a container's clock begins anywhere, and may jump, as in MPEG-TS."""
    return bool(container.format.flags & Flags.ts_discont.value)


def has_clock(container: Any) -> bool:
    """Whether a container holds times at all; a raw stream of H.264 does not."""
    return not container.format.flags & Flags.no_timestamps.value


def starts_late(container: Any) -> bool:
    """Whether a film does not begin at 0 by its clock, and yet begins with its first image."""
    start = (container.start_time or 0) / av.time_base
    return has_broadcast_clock(container) or start > LATE_SECONDS


def declared_length(container: Any) -> Fraction | None:
    """Return the seconds that a container says it lasts, from its first time; None if not."""
    if not container.duration:
        return None
    length = Fraction(container.duration, av.time_base)
    start = Fraction(container.start_time or 0, av.time_base)
    counts_from_0 = container.format.name in DECLARED_FROM_0 and 0 < start < length
    return length - start if counts_from_0 else length


def stream_length(container: Any, stream: Any) -> Fraction | None:
    """Return the seconds that a stream lasts, or else its container; None if neither says so."""
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    return declared_length(container)


def expected_frames(container: Any, stream: Any, rate: Fraction | None, clip: Clip) -> int | None:
    """Return the number of frames of a part of a video; None if the container does not say."""
    if clip == Clip() and stream.frames:
        return int(stream.frames)
    length = stream_length(container, stream)
    if length is None or not rate:
        return None
    end = length if clip.end is None else min(length, clip.end)
    return max(1, math.ceil(float(end - clip.start) * float(rate) - 1e-3))


def read_and_declared(
    container: Any, video: Any, reached: dict[int, float]
) -> tuple[float, float] | None:
    """Return the seconds that were read of a file, and as many as there should be.

    Of the video if its container counts its frames, else of the longest stream. None if the
    container does not say how long it is.

    Args:
        reached: by stream index, the seconds at which it ended.
    """
    length = declared_length(container)
    if length is None or not reached:
        return None
    if video.frames and video.duration:
        begin = float((video.start_time or 0) * video.time_base)
        length = min(length, video.duration * video.time_base)
        return reached.get(video.index, begin) - begin, float(length)
    return max(reached.values()) - (container.start_time or 0) / av.time_base, float(length)


def nominal_rate(stream: Any) -> Fraction | None:
    """Return a video stream's images a second, on average without the time of jumps."""
    average, guessed = stream.average_rate or None, stream.guessed_rate or None
    if average and guessed and guessed > 2 * average and has_gap(stream):
        return Fraction(guessed)
    return average or guessed


def has_gap(stream: Any) -> bool:
    """Whether a stream's index, as far as it is read, has a gap that is a jump of the clock."""
    times = [entry.timestamp for entry in stream.index_entries]
    return any((b - a) * stream.time_base > FILE_GAP for a, b in pairwise(times))


def is_found_by_time(container: Any, stream: Any) -> bool:
    """Whether a time leads to the same image by a seek as by reading up to it.

    Not where the clock may jump before it, nor in ASF with B-frames. The container has to be at its
    beginning, and is left there.
    """
    if has_broadcast_clock(container):
        return False
    if container.format.name == "asf" and stream.codec_context.reorder_depth > 0:
        return False  # FFmpeg then makes up other times
    container.seek(container.start_time or 0)  # Matroska's index is read now
    return not has_gap(stream)
