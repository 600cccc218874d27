"""Keep the network in pace with a live source: the sizes it may use, and when to use a smaller."""

from __future__ import annotations

from collections.abc import Sequence

from engines.contract import ModelSpec

MIN_SIZE_LINES = 160  # with fewer, people are missed
SETTLING_SECONDS = 0.5  # at the beginning, when frames that have piled up are dropped
WINDOW_SECONDS = 2.0  # over which dropped frames are counted
MAX_DROPPED_SHARE = 0.05  # of the frames of a window, without a change of size


def sizes(spec: ModelSpec) -> list[int]:
    """Return the shorter edges to choose from, in pixels, ascending.

    They are multiples of the stride from `MIN_SIZE_LINES` on, and the model's own size at the end.
    """
    smallest = -(-min(MIN_SIZE_LINES, spec.size) // spec.stride) * spec.stride
    return [*range(smallest, spec.size, spec.stride), spec.size]


class Pace:
    """The size at which the network keeps up with a live source. It only ever falls.

    Args:
        sizes: shorter edges to choose from, in pixels, ascending; the last is the first choice.
    """

    def __init__(self, sizes: Sequence[int]):
        self._sizes = sizes
        self._at, self._since = len(sizes) - 1, (0.0, 0, 0)

    @property
    def size(self) -> int:
        """Shorter edge of what the network sees, in pixels."""
        return self._sizes[self._at]

    def step(self, now: float, frames: int, dropped: int) -> bool:
        """Choose a smaller size if too many frames were dropped; return whether `size` changed.

        Args:
            now: seconds, by any clock.
            frames: how many the network has taken since the beginning.
            dropped: how many were dropped since then.
        """
        before, taken, lost = self._since
        if not before:
            self._since = now + SETTLING_SECONDS, frames, dropped
            return False
        if now - before < WINDOW_SECONDS or not self._at:
            return False
        taken, lost = frames - taken, dropped - lost
        self._since = now, frames, dropped
        share = taken / max(1, taken + lost)
        if 1 - share <= MAX_DROPPED_SHARE:
            return False
        # The network's work grows with the square of the size.
        wanted = self.size * max(0.5, share**0.5)
        self._at = max((i for i in range(self._at) if self._sizes[i] <= wanted), default=0)
        return True
