"""Take the old background's colour out of the person's outline.

A pixel of the outline shows ``I = αF + (1 - α)B``. Composited as it is over another background, it
leaves a fringe of the old one. ``F = F̂ + α(I - αF̂ - (1 - α)B̂)`` with the smooth means F̂, B̂ of
`outline`: Blur Fusion's estimate.
"""

from __future__ import annotations

from collections.abc import Sequence

import av
import numpy as np

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.frame import Frame
from engines.video.matte.outline import Outline


def decontaminate(frame: Frame, alphas: Sequence[Plane], outline: Outline) -> av.VideoFrame:
    """Return a copy of the frame's image with the person's own colour on the outline.

    Args:
        alphas: the frame's alpha at the size of each of the three planes, (H, W) uint8.
        outline: of this frame; it may have been found with another alpha.
    """
    image = frame.format.new_image()
    planes = zip(fr.planes(frame.image), fr.planes(image), alphas, strict=True)
    for n, (source, target, alpha) in enumerate(planes):
        np.copyto(target, source)
        points = outline.points(source.shape)
        if not len(points):
            continue
        a = points.take(alpha) * np.float32(1 / 255)
        person, behind = outline.colours(source.shape)
        f, b = person[n], behind[n]
        # F̂ + α(I - B̂ - α(F̂ - B̂))
        colour = outline.samples(n, source.shape) - b
        colour -= a * (f - b)
        colour *= a
        colour += f
        np.clip(colour, 0, frame.format.peak, out=colour)
        points.put(np.rint(colour, out=colour).astype(target.dtype), target)
    return image
