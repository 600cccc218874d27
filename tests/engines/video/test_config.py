"""What a run is asked for."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from engines.video.config import Clip


def test_a_clip_is_exact() -> None:
    """A decimal is taken as it is written, and a fraction as it is; ends add up."""
    clip = Clip(0.1, 0.2)
    assert (clip.start, clip.duration, clip.end) == (
        Fraction(1, 10),
        Fraction(1, 5),
        Fraction(3, 10),
    )
    third = Clip(Fraction(1, 3), Fraction(1001, 30000))
    assert third.end == Fraction(1, 3) + Fraction(1001, 30000)
    assert replace(third, duration=None) == Clip(Fraction(1, 3))


def test_a_clip_without_duration_has_no_end() -> None:
    assert Clip() == Clip(0, None)
    assert Clip(5).end is None
