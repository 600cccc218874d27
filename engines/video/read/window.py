"""The moments of a video that are read, and those of them whose frames are written."""

from __future__ import annotations

from fractions import Fraction

from engines.video.config import Clip, Segment


class Window:
    """A clip, or a segment of it with what leads in, in seconds from a video's first moment.

    Args:
        clip: the part of the video that is wanted.
        segment: of the clip, if that alone is wanted.
        tick: of the video's times, in seconds. Half of it is allowed for: a container's start is in
            whole microseconds, and a clip may be given in rounded decimals. No other frame is as
            near.

    Attributes:
        start: where reading begins; 0 or less means with whatever comes first.
        end: where it ends; None means with the video.
        written: the part whose frames are written.
    """

    def __init__(self, clip: Clip, segment: Segment | None, tick: Fraction):
        part, half = segment or Segment(), tick / 2
        begin = clip.start if part.begin is None else part.begin
        self.start = begin if part.lead_in is None else part.lead_in
        self.end = clip.end if part.end is None else part.end
        self.written = Clip(begin, None if self.end is None else self.end - begin)
        # Codecs' priming samples lie before the first moment.
        self._from = self.start - half if self.start > 0 else None
        self._until = None if self.end is None else self.end - half
        self._write_from = begin - half

    def is_begun(self, position: Fraction) -> bool:
        """Return whether it reaches back to a moment."""
        return self._from is None or position >= self._from

    def is_after(self, position: Fraction) -> bool:
        """Return whether a moment comes after it."""
        return self._until is not None and position >= self._until

    def leads_in(self, position: Fraction) -> bool:
        """Return whether a moment comes before the part that is written."""
        return self.start < self.written.start and position < self._write_from
