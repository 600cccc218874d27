"""Mattes that cannot be right: nobody in any frame, or one that does not follow the image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from engines.arrays import Plane

PERSON = 0.5  # alpha from which somebody is there
CHANGED = 2.0  # mean difference of two images, of 255, that more than noise makes
LONGEST = 100  # frames in a row that may have one and the same matte while the image changes


class Watch:
    """Looks at the mattes of a run, frame by frame.

    Args:
        note: told, once, that the matte has stopped following the image.
        remedy: what to do about that.
    """

    def __init__(self, note: Callable[[str], None], remedy: str):
        self._note, self._remedy = note, remedy
        self._frames, self._same, self._somebody, self._told = 0, 0, False, False
        self._before: tuple[Plane, NDArray[np.float32]] | None = None

    def __call__(self, rgb: Plane, alpha: NDArray[np.float32]) -> None:
        """Look at the next one.

        Args:
            rgb: (h, w, 3) uint8, the frame as the network saw it.
            alpha: (h, w) float32 in [0, 1], what it made of it.
        """
        self._frames += 1
        somebody = bool(alpha.max() >= PERSON)
        self._somebody |= somebody
        if self._before is not None and somebody and np.array_equal(alpha, self._before[1]):
            change = np.abs(np.subtract(rgb, self._before[0], dtype=np.int16)).mean()
            self._same += bool(change > CHANGED)  # still images say nothing either way
        else:
            self._same = 0
        self._before = rgb, alpha
        if self._same == LONGEST and not self._told:
            self._told = True
            self._note(
                f"the matte has not changed for {LONGEST} frames although the image has; "
                f"{self._remedy}"
            )

    @property
    def nobody(self) -> str | None:
        """What to say at the end where no frame has shown a person."""
        if self._somebody or not self._frames:
            return None
        where = "the image" if self._frames == 1 else f"any of {self._frames} frames"
        return f"no person was found in {where}"
