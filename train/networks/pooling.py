"""Max-pooling of overlapping windows that says where its maxima were, and un-pooling.

PyTorch's ``max_unpool2d`` has no form that converters take, and where several windows name the same
pixel, its value on a GPU depends on which thread writes last. Here places are masks, one for each
of a window's nine pixels, and a pixel takes the value of the last window in reading order that
names it, as PyTorch does on a CPU.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

Places = list[Tensor]
SIDE = 3  # of a window, in pixels
# For an even and an odd row (or column), the windows it is in, in reading order: which of their
# rows it is, and how many windows further than half its number.
WINDOWS = [(1, 0)], [(2, 0), (0, 1)]


def max_pool_3x3(x: Tensor) -> tuple[Tensor, Places]:
    """Halve x by the maxima of windows of 3×3 with a padding of 1, and say where they were.

    Args:
        x: (N, C, H, W), not negative, H and W even.

    Returns:
        The maxima (N, C, H/2, W/2), and nine masks of that shape, one for each pixel of a window
        in reading order: 1 in the windows whose first maximum is there, 0 in the others.
    """
    pooled = F.max_pool2d(x, SIDE, 2, 1)
    padded = F.pad(x.detach(), (1, 0, 1, 0), value=-1.0)
    places: Places = []
    free: Tensor | None = None  # windows whose maximum is not placed yet
    for i in range(SIDE**2):
        top, left = divmod(i, SIDE)
        rows, columns = (slice(j, -1 if j == 0 else None, 2) for j in (top, left))
        place = (padded[:, :, rows, columns] >= pooled).to(x.dtype)
        place = place if free is None else place * free
        free = 1 - place if free is None else free - place
        places.append(place)
    return pooled, places


def max_unpool_3x3(x: Tensor, places: Places) -> Tensor:
    """Return (N, C, 2H, 2W) with each value of x (N, C, H, W) at its place, and 0 elsewhere."""
    phases = []  # the pixels of even and odd rows and columns
    for rows in WINDOWS:
        for columns in WINDOWS:
            phase = None
            for top, down in rows:
                for left, right in columns:
                    place = _moved(places[top * SIDE + left], down, right)
                    value = _moved(x, down, right) * place
                    phase = value if phase is None else phase * (1 - place) + value
            assert phase is not None
            phases.append(phase)
    return F.pixel_shuffle(torch.stack(phases, 2).flatten(1, 2), 2)


def _moved(x: Tensor, down: int, right: int) -> Tensor:
    """Return at each position the value `down` and `right` of it, and 0 beyond the border."""
    return F.pad(x, (0, right, 0, down))[:, :, down:, right:] if down or right else x
