"""The compositing rule, ``I = αF + (1 - α)B``, in the frame's own planes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import av
import cv2
import numpy as np

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.compose.background import Background
from engines.video.compose.extend import extend
from engines.video.frame import Frame, FrameFormat
from engines.video.matte.postprocess import Matted, at_planes

# Of 255, where a person's cut-out begins to show a pixel's own colour, and where it shows no other.
# Networks leave a haze of a few codes over a tenth of a room: hardly seen, but the room is in it.
HAZE, OWN = 4, 16
STRIP = 64  # rows blended at a time, so that the wider products stay in the cache


@dataclass(frozen=True)
class Composited:
    """A frame with its matte, what is behind the person replaced.

    `alpha` is (H, W) uint8 at the frame's size, 255 = person. `person` is the person cut out, and
    `image` the finished one where there is a background. What waits to be encoded holds no more
    than that, as an image of 4K has 12 MB: `frame` shows it, not what it came with.
    """

    frame: Frame
    alpha: Plane
    person: av.VideoFrame | None
    image: av.VideoFrame | None


def blend(foreground: Plane, background: Plane, alpha: Plane, out: Plane) -> None:
    """``out = (α·F + (255 - α)·B) / 255``, rounded to nearest; all (H, W).

    α is uint8; the others are uint8, or uint16 of 10 bits. Exact: α = 255 gives F, α = 0 gives B.
    """
    wide: Any = np.uint16 if out.dtype == np.uint8 else np.uint32
    for row in range(0, out.shape[0], STRIP):
        strip = slice(row, row + STRIP)
        a = alpha[strip].astype(wide)
        mix = foreground[strip].astype(wide)
        rest = background[strip].astype(wide)
        mix *= a
        a ^= 255  # 255 - α
        rest *= a
        mix += rest
        mix += 127
        mix //= 255  # which NumPy does by multiplying
        out[strip] = mix


def composite(
    matted: Matted, background: Background | None, *, cut_out: bool = False
) -> Composited:
    """Put `background` behind the person, or nothing for None.

    Args:
        cut_out: whether the person is wanted alone as well, with nothing of what was behind them.
    """
    frame, alphas = matted.frame, matted.alphas
    person = alone(matted.person, alphas[0], frame.format) if cut_out else None
    image = None
    if background is not None:
        image = frame.format.new_image()
        behind = background.planes(frame, alphas)
        for planes in zip(fr.planes(matted.person), behind, alphas, fr.planes(image), strict=True):
            blend(*planes)
    shown = replace(frame, image=image or person or matted.person)
    return Composited(shown, alphas[0], person, image)


def alone(person: av.VideoFrame, alpha: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """An image of the person in which nothing else is left, also where nobody looks.

    A pixel keeps its colour where alpha is `OWN` or more. Below, it fades into what the person's
    colours are extended to, and where alpha is `HAZE` or less there is nothing but that.

    Args:
        alpha: (H, W) uint8, 255 = person.
    """
    image, planes = fmt.new_image(), fr.planes(person)
    share = cv2.convertScaleAbs(cv2.subtract(alpha, HAZE), alpha=255 / (OWN - HAZE))
    own = at_planes(share, fmt)
    for parts in zip(planes, extend(planes, alpha), own, fr.planes(image), strict=True):
        blend(*parts)
    return image
