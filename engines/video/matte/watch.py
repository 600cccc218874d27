"""Notice mattes that cannot be right: nobody in any frame, or one that stopped changing."""

from __future__ import annotations

import numpy as np

from engines.arrays import F32, U8
from engines.errors import Say

PERSON_ALPHA = 0.5  # from which somebody is there
MIN_CHANGE = 2.0  # mean difference of two images, of 255; noise alone makes less
FEW_ROWS_STEP = 16  # of the rows that are compared first
STALL_FRAMES = 100  # in a row with the same matte although the image changes


class Watch:
    """Checks the mattes of a run, frame by frame.

    Args:
        say: told, once, that the matte has stopped changing although the image changes.
        remedy: what to do about that.
    """

    def __init__(self, say: Say, remedy: str):
        self._say, self._remedy = say, remedy
        self._frames, self._same, self._somebody, self._told = 0, 0, False, False
        self._before: tuple[U8, F32] | None = None

    def __call__(self, rgb: U8, alpha: F32) -> None:
        """Check the next frame's matte.

        Args:
            rgb: (h, w, 3) uint8, the frame as the network saw it.
            alpha: (h, w) float32 in [0, 1], the network's matte of it.
        """
        self._frames += 1
        is_same = self._before is not None and _are_equal(alpha, self._before[1])
        somebody = bool((is_same or not self._somebody) and alpha.max() >= PERSON_ALPHA)
        self._somebody |= somebody
        if self._before is not None and is_same and somebody:
            change = np.abs(np.subtract(rgb, self._before[0], dtype=np.int16)).mean()
            # A static image is no evidence: neither count nor reset.
            self._same += bool(change > MIN_CHANGE)
        else:
            self._same = 0
        self._before = rgb, alpha
        if self._same == STALL_FRAMES and not self._told:
            self._told = True
            self._say(
                f"the matte has not changed for {STALL_FRAMES} frames although the image has; "
                f"{self._remedy}"
            )

    @property
    def nobody(self) -> str | None:
        """The warning that no frame has shown a person; None if one has."""
        if self._somebody or not self._frames:
            return None
        where = "the image" if self._frames == 1 else f"any of {self._frames} frames"
        return f"no person was found in {where}"


def _are_equal(alpha: F32, other: F32) -> bool:
    """Return whether two mattes are the same; a few rows tell that most are not."""
    few = slice(None, None, FEW_ROWS_STEP)
    return np.array_equal(alpha[few], other[few]) and np.array_equal(alpha, other)
