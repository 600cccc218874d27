"""The outline of a person in a frame: its pixels, and the colours on either side.

The colours F̂ and B̂ are means of the frame around each place, as in Blur Fusion (Forte and Pitié,
"Approximate Fast Foreground Colour Estimation", 2021), but weighted by α² and (1 - α)² instead of α
and 1 - α, so that mixed pixels count little for either. They are smooth and hence computed at a
fraction of the frame's size; being linear, they are right in the planes of any colour space. Finer
detail comes back with the residual ``I - αF̂ - (1 - α)B̂``, by which `refine` corrects alpha and
`decontaminate` the person's colour.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, Plane

Shape = tuple[int, ...]

MIN_ALPHA_STEP = 16  # of 255: alpha's least range in a 3x3 neighbourhood that is an outline
MEAN_LINES = 192  # shorter edge of the means; half of alpha's if that is less
NEAR_PIXELS, FAR_PIXELS = 3, 17  # of the means: edges of the two boxes that they are taken over
FAR_WEIGHT = np.float32(0.05)  # of the far mean: it fills in where the near one has few pixels
MIN_WEIGHT = np.float32(1e-4)  # keeps the far mean defined where there is nothing to average
MAP_COLUMNS = 1024  # points in a row of a map: cv2.remap takes at most 32767


@dataclass(frozen=True)
class Outline:
    """The edges of a small matte, and the colours on either side of them.

    `mask` is (h, w) bool; `low` and `high`, (h, w) uint8, are the least and the greatest alpha
    in the neighbourhood of each pixel. `person` and `background` are the local mean colours: three
    smaller float32 planes each, one for each of the frame's planes and in the scale of its samples.
    """

    mask: NDArray[np.bool_]
    low: Plane
    high: Plane
    person: list[F32]
    background: list[F32]
    _points: dict[Shape, Points] = field(default_factory=dict)

    def points(self, shape: Shape) -> Points:
        """Return the pixels of the outline in planes of a shape; they are found once."""
        if shape not in self._points:
            self._points[shape] = Points(self.mask, shape)
        return self._points[shape]


class Points:
    """N pixels of planes of one shape, and the values of images of other sizes at these places.

    Args:
        mask: (h, w) bool; the pixels are those that it covers, scaled to `shape`.
        shape: (H, W) of the planes.
    """

    def __init__(self, mask: NDArray[np.bool_], shape: Shape):
        self._shape = shape
        rows, begin, end = _runs(mask, shape)
        length = end - begin
        first = np.cumsum(length) - length  # index of each run's first pixel among all pixels
        n = int(length.sum())
        self._rows = np.repeat(rows, length)
        self._columns = np.arange(n, dtype=np.int32) + np.repeat(begin - first, length)
        self._index = self._rows * shape[1] + self._columns
        self._maps: dict[Shape, tuple[F32, F32]] = {}

    def __len__(self) -> int:
        return self._index.size

    def take(self, plane: Plane) -> Plane:
        """Return the values of a plane at the pixels, (N,)."""
        return _flat(plane).take(self._places(plane))

    def put(self, values: F32, plane: Plane) -> None:
        """Write (N,) values, within the range of the plane's samples, rounded to the nearest."""
        _flat(plane)[self._places(plane)] = np.rint(values)

    def look_up(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a (h, w) image of the whole frame there: (N,), bilinear."""
        if image.shape not in self._maps:
            height, width = image.shape
            self._maps[height, width] = self._map(1, width), self._map(0, height)
        xy = self._maps[image.shape]
        values = cv2.remap(image, *xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return values.reshape(-1)[: len(self)]

    def _map(self, axis: int, length: int) -> F32:
        """Return the pixels' coordinates along an axis of an image of that `length`.

        Pixel centres are aligned.
        """
        rows = -(-len(self) // MAP_COLUMNS)
        places = np.zeros((rows, MAP_COLUMNS), np.float32)  # filled up with the corner
        inside = places.reshape(-1)[: len(self)]
        scale = length / self._shape[axis]
        np.multiply(self._columns if axis else self._rows, np.float32(scale), out=inside)
        inside += np.float32(scale / 2 - 0.5)
        return places

    def _places(self, plane: Plane) -> NDArray[np.integer[Any]]:
        pitch = _pitch(plane)
        return self._index if pitch == self._shape[1] else self._rows * pitch + self._columns


def find(planes: Sequence[Plane], alpha: F32, margin: int = 0) -> Outline:
    """Find the outline of a small matte in a frame.

    Args:
        planes: the frame's three, each of its own size.
        alpha: (h, w) float32 in [0, 1], of any size.
        margin: pixels of `alpha` by which to widen the outline, if it will be eroded or blurred.
    """
    levels = cv2.convertScaleAbs(alpha, alpha=255)
    around = np.ones((3, 3), np.uint8)
    low, high = cv2.erode(levels, around), cv2.dilate(levels, around)
    mask = ((high - low) > MIN_ALPHA_STEP).view(np.uint8)
    if margin:
        mask = cv2.dilate(mask, np.ones((2 * margin + 1, 2 * margin + 1), np.uint8))
    height, width = alpha.shape
    times = max(2, min(height, width) / MEAN_LINES)
    size = (max(1, round(width / times)), max(1, round(height / times)))
    small = [shrink(p, size).astype(np.float32) for p in planes]
    share = shrink(alpha, size)
    person, background = _mean(small, share * share), _mean(small, (1 - share) * (1 - share))
    return Outline(mask.view(np.bool_), low, high, person, background)


def shrink(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Scale a (H, W) image down to `size`, (width, height): bilinear, by half at a time."""
    while image.shape[1::-1] != size:
        width, height = image.shape[1] // 2, image.shape[0] // 2
        next_size = (width, height) if width >= size[0] and height >= size[1] else size
        image = cv2.resize(image, next_size, interpolation=cv2.INTER_LINEAR)
    return image


def _runs(mask: NDArray[np.bool_], shape: Shape) -> tuple[NDArray[np.int32], ...]:
    """Return the runs of a mask in the rows of a larger plane: rows, first columns, ends."""
    height, width = mask.shape
    padded = np.zeros((shape[0], width + 2), np.bool_)
    padded[:, 1:-1] = mask[np.arange(shape[0]) * height // shape[0]]
    # Where a run begins, where it ends, where the next begins …
    turns = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    rows, columns = np.divmod(turns.astype(np.int32), width + 1)
    columns = -(-columns * shape[1] // width)
    return rows[::2], columns[::2], columns[1::2]


def _pitch(plane: Plane) -> int:
    """Return the samples from the beginning of a row to that of the next."""
    return plane.strides[0] // plane.itemsize


def _flat(plane: Plane) -> Plane:
    """Return a view of all samples of a plane, padding between its rows included."""
    length = (plane.shape[0] - 1) * _pitch(plane) + plane.shape[1]
    return np.lib.stride_tricks.as_strided(plane, (length,), (plane.itemsize,))


def _mean(colour: list[F32], weight: F32) -> list[F32]:
    """Return weighted local means of (h, w) planes: in the near box, filled up from the far one."""
    height, width = weight.shape
    half = (-(-width // 2), -(-height // 2))

    def near(values: F32) -> F32:
        return cv2.blur(values, (NEAR_PIXELS, NEAR_PIXELS))

    def far(values: F32) -> F32:
        return cv2.blur(cv2.resize(values, half), (FAR_PIXELS // 2 + 1, FAR_PIXELS // 2 + 1))

    near_weight, far_weight = near(weight) + FAR_WEIGHT, far(weight) + MIN_WEIGHT
    means = []
    for c in colour:
        weighted = c * weight
        fill: Any = cv2.resize(far(weighted) / far_weight, (width, height))
        means.append((near(weighted) + FAR_WEIGHT * fill) / near_weight)
    return means
