"""A clip before a green screen, and the alpha keyed from it: truth for a real sequence.

The key is the green excess, ``G - max(R, B)``, as a share of the screen's own: over colour that
has none it is ``1 - alpha`` by I = αF + (1 - α)B. The limits below cut noise off both ends; they
are part of the measurement and stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engines.errors import BadData
from engines.measure.quality.cases import Case
from engines.measure.quality.clips import Part, read

MIN_EXCESS = 20  # of 255: a pixel with at least this much may belong to the screen
MIN_SCREEN = 0.05  # share of an image's pixels that must, for it to be a green screen at all
SOLID, CLEAR = 0.15, 0.88  # share of the screen's excess up to which alpha is 1, from which it is 0
BLACK = 32  # of 255: a row or column that is nowhere brighter belongs to a black bar
BAR_EDGE = 2  # pixels beside a bar into which the codec has smeared it


def key(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Alpha of an image before an evenly lit green screen.

    The screen's excess is the median over the pixels that may belong to it, in each image anew.
    Green things on the person come out more transparent than they are.

    Args:
        rgb: (H, W, 3) uint8, stored values.

    Returns:
        (H, W) float32 in [0, 1]; exactly 0 on the screen and exactly 1 inside the person.

    Raises:
        BadData: too little green for a screen.
    """
    r, g, b = (rgb[..., i].astype(np.int16) for i in range(3))
    excess = g - np.maximum(r, b)
    screen = excess[excess >= MIN_EXCESS]
    if screen.size < MIN_SCREEN * excess.size:
        raise BadData(
            f"no green screen in the image: {screen.size / excess.size:.1%} of it is green, "
            f"{MIN_SCREEN:.0%} are needed"
        )
    share = excess.astype(np.float32) / np.float32(np.median(screen))
    # Dark hair under the screen's light is green too. But colour is never negative, so the screen's
    # part of a pixel is in no channel more than the pixel: 1 - alpha <= I / B.
    colour = np.median(rgb[excess >= MIN_EXCESS], axis=0)
    share = np.minimum(share, (rgb / np.maximum(colour, 1)).min(axis=2))
    return np.clip((CLEAR - share) / (CLEAR - SOLID), 0, 1).astype(np.float32)


def without_bars(rgb: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Rows and columns of a (H, W, 3) uint8 image inside its black bars, if it has any.

    Raises:
        BadData: the whole image is black.
    """
    light = rgb.max(axis=2) > BLACK
    inside = []
    for lit in (light.any(axis=1), light.any(axis=0)):
        if not lit.any():
            raise BadData("the first image is black")
        first, end = int(lit.argmax()), len(lit) - int(lit[::-1].argmax())
        first += BAR_EDGE if first else 0
        end -= BAR_EDGE if end < len(lit) else 0
        inside.append(slice(first, end))
    return inside[0], inside[1]


def read_keyed(part: Part) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """As `clips.read`, without black bars: number, image (H, W, 3) uint8 RGB and keyed alpha.

    Raises:
        CannotOpen, BadData: the clip; no green screen in it; it ends early.
    """
    inside = None
    for i, rgb in read(part):
        try:
            inside = inside or without_bars(rgb)
            rgb = np.ascontiguousarray(rgb[inside])
            alpha = key(rgb)
        except BadData as e:
            raise BadData(f"{part.path}, image {i}: {e}") from e
        yield i, rgb, alpha


def cases(part: Part) -> Iterator[Case]:
    """The images of a keyed clip as one sequence; truth is the keyed alpha in 255 steps.

    Raises:
        CannotOpen, BadData: as `read_keyed`.
    """
    for i, rgb, alpha in read_keyed(part):
        yield part.case("green", i, rgb, np.rint(alpha * 255).astype(np.uint8))
