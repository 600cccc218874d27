"""The size of a live source falls until the network keeps up."""

from __future__ import annotations

import pytest

from engines.video.matte.pace import MAX_DROPPED_SHARE, SETTLING_SECONDS, WINDOW_SECONDS, Pace

SIZES = [160, 192, 224, 256, 288, 320, 352, 384]


def sizes_over_time(taken: float, arriving: float = 30.0, seconds: int = 30) -> list[int]:
    """The size after each second, where so many frames a second are `taken` at 384 lines.

    The network's work goes with the square of the size.
    """
    pace, seen, frames, dropped = Pace(SIZES), [], 0.0, 0.0
    for tenth in range(1, 10 * seconds):
        rate = min(arriving, taken * (384 / pace.size) ** 2)
        frames, dropped = frames + rate / 10, dropped + (arriving - rate) / 10
        pace.step(tenth / 10, int(frames), int(dropped))
        seen.append(pace.size)
    return seen


@pytest.mark.parametrize(
    ("taken", "least"), [(40, 384), (29.5, 384), (20, 256), (10, 192), (2, 160)]
)
def test_the_size_falls_until_it_is_kept_up(taken: float, least: int) -> None:
    """It only falls, never below the smallest, and not further than need be."""
    seen = sizes_over_time(taken)
    assert seen == sorted(seen, reverse=True)
    settled = seen[-1]
    held = min(30.0, taken * (384 / settled) ** 2)
    assert held >= 30 * (1 - MAX_DROPPED_SHARE) or settled == SIZES[0]
    assert settled >= least


def test_what_waited_at_the_beginning_does_not_count() -> None:
    """Frames pile up while the network is loaded."""
    pace = Pace(SIZES)
    assert not pace.step(1.0, 1, 60)
    assert not pace.step(1.0 + SETTLING_SECONDS + WINDOW_SECONDS + 0.1, 60, 61)
    assert pace.size == 384
