"""The compositing rule, ``I = αF + (1 - α)B``, in the frame's own planes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import av
import cv2

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.blend import at_planes, blend
from engines.video.compose.background import Background
from engines.video.compose.extend import extend
from engines.video.config import Save
from engines.video.frame import Frame, FrameFormat
from engines.video.matte.postprocess import Matted

# Alpha, of 255, up to which a foreground shows nothing of the frame, and from which on it shows the
# frame's colour alone. Networks leave a haze of a few levels over a tenth of a room: it is hardly
# seen, but the room can be made out in it.
HAZE_ALPHA, SOLID_ALPHA = 4, 16


@dataclass(frozen=True)
class Composited:
    """A frame with everything that may be written of it.

    Attributes:
        frame: the frame with its time; its `image` is the composite, or else the foreground, so
            that what waits to be encoded does not hold the decoded image too: 12 MB in 4K. The
            input's alpha is in `alpha`.
        alpha: (H, W) uint8 at the frame's size, 255 = person.
        foreground: F, the person's colours with nothing of the room; None where no output has it.
        composite: αF + (1 - α)B; None where there is no background.
    """

    frame: Frame
    alpha: Plane
    foreground: av.VideoFrame | None
    composite: av.VideoFrame | None

    def of(self, save: Save) -> tuple[av.VideoFrame | None, Plane | None]:
        """Return the colours and the alpha of an output; None for what it does not have.

        A composite without a background is the foreground with its alpha.
        """
        if save is Save.alpha:
            return None, self.alpha
        if save is Save.composite and self.composite is not None:
            return self.composite, None
        assert self.foreground is not None
        return self.foreground, self.alpha


def composite(
    matted: Matted, background: Background | None, *, keep_foreground: bool = False
) -> Composited:
    """Put a background behind the person; None leaves the composite out.

    Args:
        keep_foreground: whether an output has the foreground, for which it must be free of the
            room also where alpha is 0.
    """
    frame, alphas = matted.frame, matted.alphas
    foreground, image = None, None
    if keep_foreground:
        foreground = without_room(matted.foreground, alphas[0], frame.format)
    if background is not None:
        image = frame.format.new_image()
        behind = background.planes(frame, alphas)
        colours = fr.planes(matted.foreground)
        for planes in zip(colours, behind, alphas, fr.planes(image), strict=True):
            blend(*planes)
    shown = replace(frame, image=image or foreground or matted.foreground, alpha=None)
    return Composited(shown, alphas[0], foreground, image)


def without_room(foreground: av.VideoFrame, alpha: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """Return a new image of a foreground with nothing of the room in it, not even under α = 0.

    A pixel keeps its colour where alpha is `SOLID_ALPHA` or more. Below, it fades into the person's
    colours as they are extended, which is all there is where alpha is `HAZE_ALPHA` or less.

    Args:
        alpha: (H, W) uint8, 255 = person.
    """
    image, planes = fmt.new_image(), fr.planes(foreground)
    scale = 255 / (SOLID_ALPHA - HAZE_ALPHA)
    share = cv2.convertScaleAbs(cv2.subtract(alpha, HAZE_ALPHA), alpha=scale)
    shares = at_planes(share, fmt)
    for parts in zip(planes, extend(planes, alpha), shares, fr.planes(image), strict=True):
        blend(*parts)
    return image
