"""Key the alpha of a clip with a green screen: the truth of a real sequence.

The key is the green excess, ``G - max(R, B)``, divided by the screen's. For a foreground without
green excess it is ``1 - alpha``, by I = αF + (1 - α)B. The limits below remove noise at both ends;
they are part of the measurement: other limits give other figures.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from engines.errors import BadData
from engines.measure.quality.cases import Case
from engines.measure.quality.clips import Part, read

MIN_EXCESS = 20  # of 255: a pixel with at least this green excess may belong to the screen
MIN_SCREEN_SHARE = 0.05  # of an image's pixels: with fewer, there is no green screen
OPAQUE_SHARE, CLEAR_SHARE = 0.15, 0.88  # of the screen's excess: alpha is 1 below, 0 above
MAX_BAR_VALUE = 32  # of 255: a row or column without a brighter pixel belongs to a black bar
BAR_EDGE_PIXELS = 2  # next to a bar, into which the codec has smeared it


def key(rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return the alpha of an image with an evenly lit green screen.

    The screen's excess is the median over the pixels that may belong to the screen, in each image.
    Green things on the person become more transparent than they are.

    Args:
        rgb: (H, W, 3) uint8, sRGB-encoded.

    Returns:
        (H, W) float32 in [0, 1]; exactly 0 on the screen and exactly 1 inside the person.

    Raises:
        BadData: too little green for a screen.
    """
    r, g, b = (rgb[..., i].astype(np.int16) for i in range(3))
    excess = g - np.maximum(r, b)
    screen = excess[excess >= MIN_EXCESS]
    if screen.size < MIN_SCREEN_SHARE * excess.size:
        raise BadData(
            f"no green screen in the image: {screen.size / excess.size:.1%} of it is green, "
            f"{MIN_SCREEN_SHARE:.0%} are needed"
        )
    share = excess.astype(np.float32) / np.float32(np.median(screen))
    # Dark hair in the screen's light is green too. But colour is never negative, so the screen's
    # part of a pixel cannot exceed the pixel in any channel: 1 - alpha <= I / B.
    colour = np.median(rgb[excess >= MIN_EXCESS], axis=0)
    share = np.minimum(share, (rgb / np.maximum(colour, 1)).min(axis=2))
    return np.clip((CLEAR_SHARE - share) / (CLEAR_SHARE - OPAQUE_SHARE), 0, 1).astype(np.float32)


def without_bars(rgb: NDArray[np.uint8]) -> tuple[slice, slice]:
    """Return the rows and columns of an image (H, W, 3), uint8, inside its black bars, if any.

    Raises:
        BadData: the whole image is black.
    """
    light = rgb.max(axis=2) > MAX_BAR_VALUE
    inside = []
    for lit in (light.any(axis=1), light.any(axis=0)):
        if not lit.any():
            raise BadData("the first image is black")
        first, end = int(lit.argmax()), len(lit) - int(lit[::-1].argmax())
        first += BAR_EDGE_PIXELS if first else 0
        end -= BAR_EDGE_PIXELS if end < len(lit) else 0
        inside.append(slice(first, end))
    return inside[0], inside[1]


def read_keyed(part: Part) -> Iterator[tuple[int, NDArray[np.uint8], NDArray[np.float32]]]:
    """Yield the images of a part of a clip without black bars, and their keyed alpha.

    Yields:
        The number in the clip, the image (H, W, 3) uint8 RGB, and the alpha (H, W) float32.

    Raises:
        CannotOpen, BadData: as `clips.read`; or an image has no green screen.
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
    """Yield the images of a keyed clip; their truth is the keyed alpha in 255 steps.

    Raises:
        CannotOpen, BadData: as `read_keyed`.
    """
    for i, rgb, alpha in read_keyed(part):
        yield part.case("green", i, rgb, np.rint(alpha * 255).astype(np.uint8))
