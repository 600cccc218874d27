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
from functools import cached_property
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, U8, Plane

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
    """The edges of a small matte in a frame, and the colours on either side of them.

    `planes` are the frame's. `mask` is (h, w) bool; `bounds`, (h, w, 4) uint8, has the least and
    the greatest alpha in the neighbourhood of each pixel; two channels are unused. `person` and
    `background` are the local mean colours: smaller float32 images of four channels, one for each
    of the frame's planes in the scale of its samples, and one that is unused. They are 0 where no
    outline is near.
    """

    planes: Sequence[Plane]
    mask: NDArray[np.bool_]
    bounds: U8
    person: F32
    background: F32
    _points: dict[Shape, Points] = field(default_factory=dict)
    _colours: dict[Shape, tuple[F32, F32]] = field(default_factory=dict)
    _samples: dict[tuple[int, Shape], Plane] = field(default_factory=dict)

    def points(self, shape: Shape) -> Points:
        """Return the pixels of the outline in planes of a shape; they are found once."""
        if shape not in self._points:
            self._points[shape] = Points(self._runs, shape)
        return self._points[shape]

    def colours(self, shape: Shape) -> tuple[F32, F32]:
        """Return `person` and `background` at `points` of a shape, (3, N) each; found once."""
        if shape not in self._colours:
            points = self.points(shape)
            self._colours[shape] = points.split(self.person), points.split(self.background)
        return self._colours[shape]

    def samples(self, n: int, shape: Shape) -> Plane:
        """Return the frame's plane number n at `points` of a shape, (N,); found once."""
        if (n, shape) not in self._samples:
            points, plane = self.points(shape), self.planes[n]
            found = points.take(plane) if plane.shape == shape else points.look_up(plane)
            self._samples[n, shape] = found
        return self._samples[n, shape]

    @cached_property
    def _runs(self) -> Runs:
        return Runs(self.mask)


class Runs:
    """The runs of true pixels in the rows of a (h, w) mask, one after the other."""

    def __init__(self, mask: NDArray[np.bool_]):
        self.height, self.width = mask.shape
        padded = np.zeros((self.height, self.width + 2), np.bool_)
        padded[:, 1:-1] = mask
        # Where a run begins, where it ends, where the next begins …
        turns = np.flatnonzero(padded[:, 1:] != padded[:, :-1])
        rows, self._columns = np.divmod(turns, self.width + 1)
        self._found = np.bincount(rows[::2], minlength=self.height)
        self._before = np.cumsum(self._found)

    def scaled(self, shape: Shape) -> tuple[NDArray[np.int64], ...]:
        """Return the runs in a plane that is larger: rows, first columns, lengths."""
        columns = -(-self._columns * shape[1] // self.width)
        begins, lengths = columns[::2], columns[1::2] - columns[::2]
        # Each row of the plane has the runs of the mask's row that it lies in.
        row = np.arange(shape[0]) * self.height // shape[0]
        times = self._found[row]
        which = np.repeat(self._before[row] - np.cumsum(times), times)
        which += np.arange(which.size)
        return np.repeat(np.arange(shape[0]), times), begins[which], lengths[which]


class Points:
    """N pixels of planes of one shape, and the values of images of other sizes at these places.

    Args:
        runs: of a mask; the pixels are those that it covers, scaled to `shape`.
        shape: (H, W) of the planes.
    """

    def __init__(self, runs: Runs, shape: Shape):
        self._shape = shape
        self._row, begin, self._length = runs.scaled(shape)  # of each run
        self._shift = begin - (np.cumsum(self._length) - self._length)  # from number to column
        self._count = int(self._length.sum())
        # x and y in rows of `MAP_COLUMNS`, filled up with 0.
        self._places = np.zeros((2, -(-self._count // MAP_COLUMNS), MAP_COLUMNS), np.float32)
        x, y = self._places.reshape(2, -1)[:, : self._count]
        np.add(
            np.arange(self._count, dtype=np.float32),
            np.repeat(self._shift.astype(np.float32), self._length),
            out=x,
        )
        y[:] = np.repeat(self._row.astype(np.float32), self._length)
        self._indices: dict[int, NDArray[np.intp]] = {}
        self._maps: dict[Shape, F32] = {}

    def __len__(self) -> int:
        return self._count

    def take(self, plane: Plane) -> Plane:
        """Return the values of a plane at the pixels, (N,)."""
        return _flat(plane).take(self._index(plane))

    def put(self, values: Plane, plane: Plane) -> None:
        """Write (N,) values."""
        _flat(plane)[self._index(plane)] = values

    def look_up(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values of a (h, w) image of the whole frame there: (N,), bilinear."""
        return self._look_up(image).reshape(-1)[: len(self)]

    def split(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the first three channels of a (h, w, 4) image there: (3, N), bilinear."""
        # OpenCV looks up four channels in the time of one, and three in that of two.
        if not len(self):
            return np.empty((3, 0), image.dtype)
        found = self._look_up(image)
        channels = np.empty((3, *found.shape[:2]), image.dtype)
        cv2.mixChannels([found], list(channels), [0, 0, 1, 1, 2, 2])
        return channels.reshape(3, -1)[:, : len(self)]

    def _look_up(self, image: NDArray[Any]) -> NDArray[Any]:
        """Return the values there in rows of `MAP_COLUMNS`."""
        shape = image.shape[:2]
        if shape not in self._maps:
            down, across = (n / m for n, m in zip(shape, self._shape, strict=True))
            scale = np.array([across, down], np.float32).reshape(2, 1, 1)
            self._maps[shape] = self._places * scale
            self._maps[shape] += scale / 2 - np.float32(0.5)  # with centres aligned
        x, y = self._maps[shape]
        found: Any = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        return found

    def _index(self, plane: Plane) -> NDArray[np.intp]:
        """Return where the pixels are among all samples of a plane, those of `_flat`."""
        pitch = _pitch(plane)
        if pitch not in self._indices:
            index = np.repeat(self._row * pitch + self._shift, self._length)
            index += np.arange(self._count)
            self._indices[pitch] = index
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
    bounds: Any = cv2.merge([low, high, high, high])
    return Outline(planes, mask.view(np.bool_), bounds, person, background)


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
