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
REACH_PIXELS = NEAR_PIXELS + FAR_PIXELS  # of the means: what lies further off has no part in one
FAR_WEIGHT = 0.05  # of the far mean: it fills in where the near one has few pixels
MIN_WEIGHT = np.float32(1e-4)  # keeps the far mean defined where there is nothing to average
MAP_COLUMNS = 1024  # points in a row of a map: cv2.remap takes at most 32767


@dataclass(frozen=True)
class Outline:
    """The edges of a small matte, and the colours on either side of them.

    `mask` is (h, w) bool; `low` and `high`, (h, w) uint8, are the least and the greatest alpha
    in the neighbourhood of each pixel. `person` and `background` are the local mean colours:
    smaller float32 images of four channels, one for each of the frame's planes in the scale of its
    samples, and one that is unused. They are 0 where no outline is near.
    """

    mask: NDArray[np.bool_]
    low: Plane
    high: Plane
    person: F32
    background: F32
    _points: dict[Shape, Points] = field(default_factory=dict)
    _colours: dict[Shape, tuple[list[F32], list[F32]]] = field(default_factory=dict)

    def points(self, shape: Shape) -> Points:
        """Return the pixels of the outline in planes of a shape; they are found once."""
        if shape not in self._points:
            self._points[shape] = Points(self.mask, shape)
        return self._points[shape]

    def colours(self, shape: Shape) -> tuple[list[F32], list[F32]]:
        """Return `person` and `background` at `points` of a shape, (N,) each; found once."""
        if shape not in self._colours:
            points = self.points(shape)
            self._colours[shape] = points.split(self.person), points.split(self.background)
        return self._colours[shape]


class Points:
    """N pixels of planes of one shape, and the values of images of other sizes at these places.

    Args:
        mask: (h, w) bool; the pixels are those that it covers, scaled to `shape`.
        shape: (H, W) of the planes.
    """

    def __init__(self, mask: NDArray[np.bool_], shape: Shape):
        self._shape = shape
        self._row, self._begin, end = _runs(mask, shape)  # of each run
        self._length = end - self._begin
        self._first = np.cumsum(self._length) - self._length  # its first pixel among all of them
        self._number = np.arange(int(self._length.sum()))
        columns = self._number + np.repeat(self._begin - self._first, self._length)
        rows = np.repeat(self._row.astype(np.float32), self._length)
        self._places = _in_rows(columns), _in_rows(rows)
        self._indices: dict[int, NDArray[np.intp]] = {}
        self._maps: dict[Shape, tuple[F32, F32]] = {}

    def __len__(self) -> int:
        return self._number.size

    def take(self, plane: Plane) -> Plane:
        """Return the values of a plane at the pixels, (N,)."""
        return _flat(plane).take(self._index(plane))

    def put(self, values: F32 | Plane, plane: Plane) -> None:
        """Write (N,) values, within the range of the plane's samples, rounded to the nearest."""
        if values.dtype != plane.dtype:
            values = np.rint(values).astype(plane.dtype)
        _flat(plane)[self._index(plane)] = values

    def look_up(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a (h, w) image of the whole frame there: (N,), bilinear."""
        return self._look_up(image).reshape(-1)[: len(self)]

    def split(self, image: F32) -> list[F32]:
        """Return the first three channels of a (h, w, 4) image there: (N,) each, bilinear."""
        # OpenCV looks up four channels in the time of one, and three in that of two.
        if not len(self):
            return [np.empty(0, np.float32)] * 3
        channels = cv2.split(self._look_up(image))[:3]
        return [channel.reshape(-1)[: len(self)] for channel in channels]

    def _look_up(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values there in rows of `MAP_COLUMNS`."""
        height, width = image.shape[:2]
        if (height, width) not in self._maps:
            x, y = self._places
            scaled = _aligned(x, width / self._shape[1]), _aligned(y, height / self._shape[0])
            self._maps[height, width] = scaled
        xy = self._maps[height, width]
        return cv2.remap(image, *xy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)

    def _index(self, plane: Plane) -> NDArray[np.intp]:
        """Return where the pixels are among all samples of a plane, those of `_flat`."""
        pitch = _pitch(plane)
        if pitch not in self._indices:
            before = self._row * pitch + self._begin - self._first
            self._indices[pitch] = self._number + np.repeat(before, self._length)
        return self._indices[pitch]


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
    share = shrink(alpha, size)
    near = _near(mask, size)
    weight = share[near]
    colours = [shrink(p, size)[near].astype(np.float32) for p in planes]
    person, background = (np.zeros((*share.shape, 4), np.float32) for _ in range(2))
    person[near] = _mean(colours, weight * weight)
    background[near] = _mean(colours, (1 - weight) * (1 - weight))
    return Outline(mask.view(np.bool_), low, high, person, background)


def _near(mask: Plane, size: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and columns of the means that the pixels of a mask take part in.

    Args:
        mask: (h, w) uint8.
        size: (width, height) of the means.
    """
    x, y, width, height = cv2.boundingRect(mask)
    spans = []
    for begin, length, whole, target in zip(
        (y, x), (height, width), mask.shape, size[::-1], strict=True
    ):
        # Even, as the far mean is taken at half the size.
        first = max(0, begin * target // whole - REACH_PIXELS) // 2 * 2
        last = -(-(begin + length) * target // whole) + REACH_PIXELS
        spans.append(slice(first, min(target, last + last % 2)))
    return spans[0], spans[1]


def shrink(image: NDArray[Any], size: tuple[int, int]) -> NDArray[Any]:
    """Scale a (H, W) image down to `size`, (width, height): bilinear, by half at a time."""
    while image.shape[1::-1] != size:
        width, height = image.shape[1] // 2, image.shape[0] // 2
        next_size = (width, height) if width >= size[0] and height >= size[1] else size
        image = cv2.resize(image, next_size, interpolation=cv2.INTER_LINEAR)
    return image


def _runs(mask: NDArray[np.bool_], shape: Shape) -> tuple[NDArray[np.int64], ...]:
    """Return the runs of a mask in the rows of a larger plane: rows, first columns, ends."""
    height, width = mask.shape
    padded = np.zeros((height, width + 2), np.bool_)
    padded[:, 1:-1] = mask
    # Where a run begins, where it ends, where the next begins …
    turns = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
    rows, columns = np.divmod(turns, width + 1)
    columns = -(-columns * shape[1] // width)
    # Each row of the plane has the runs of the mask's row that it lies in.
    found = np.bincount(rows[::2], minlength=height)
    row = np.arange(shape[0]) * height // shape[0]
    times = found[row]
    before = np.cumsum(found)[row] - np.cumsum(times)
    which = np.arange(int(times.sum())) + np.repeat(before, times)
    return np.repeat(np.arange(shape[0]), times), columns[::2][which], columns[1::2][which]


def _in_rows(places: NDArray[Any]) -> F32:
    """Return (N,) coordinates as rows of `MAP_COLUMNS`, filled up with 0."""
    rows = -(-places.size // MAP_COLUMNS)
    filled = np.zeros((rows, MAP_COLUMNS), np.float32)
    filled.reshape(-1)[: places.size] = places
    return filled


def _aligned(places: F32, scale: float) -> F32:
    """Return where pixels are in an image of another scale, with centres aligned."""
    scaled = places * np.float32(scale)
    scaled += np.float32(scale / 2 - 0.5)
    return scaled


def _pitch(plane: Plane) -> int:
    """Return the samples from the beginning of a row to that of the next."""
    return plane.strides[0] // plane.itemsize


def _flat(plane: Plane) -> Plane:
    """Return a view of all samples of a plane, padding between its rows included."""
    length = (plane.shape[0] - 1) * _pitch(plane) + plane.shape[1]
    return np.lib.stride_tricks.as_strided(plane, (length,), (plane.itemsize,))


def _mean(colour: list[F32], weight: F32) -> F32:
    """Return weighted local means of (h, w) planes: in the near box, filled up from the far one.

    They are the first channels of (h, w, 4).
    """
    height, width = weight.shape
    half = (-(-width // 2), -(-height // 2))

    def near(values: F32) -> F32:
        return cv2.blur(values, (NEAR_PIXELS, NEAR_PIXELS))

    def far(values: F32) -> F32:
        return cv2.blur(cv2.resize(values, half), (FAR_PIXELS // 2 + 1, FAR_PIXELS // 2 + 1))

    near_weight, far_weight = near(weight), far(weight)
    near_weight += np.float32(FAR_WEIGHT)
    far_weight += MIN_WEIGHT
    means = []
    for c in colour:
        weighted = c * weight
        fill = cv2.resize(far(weighted) / far_weight, (width, height))
        mean: Any = cv2.scaleAdd(fill, FAR_WEIGHT, near(weighted))
        mean /= near_weight
        means.append(mean)
    return cv2.merge([*means, near_weight])
