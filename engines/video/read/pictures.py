"""Sources of images: one by itself, and a folder of them, by themselves or as a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import NamedTuple

import av
import cv2

from engines import images
from engines.arrays import Plane
from engines.errors import BadData, CannotOpen, Say, reading, silent
from engines.files import listed, natural_key, some
from engines.image_files import IMAGE_SUFFIXES, is_hidden, is_image
from engines.video import frame as fr
from engines.video.blend import visible
from engines.video.frame import Frame, FrameFormat
from engines.video.read.source import FrameSource


def rgb_format(width: int, height: int) -> FrameFormat:
    """Return the format of images by themselves."""
    return FrameFormat(width, height, "gbrp", matrix=0, range=fr.FULL)


class FrameImage(NamedTuple):
    """An image, its format and its alpha, as in `Frame`."""

    image: av.VideoFrame
    format: FrameFormat
    alpha: Plane | None


def frame_image(picture: images.Picture) -> FrameImage:
    """Convert a picture to an 8-bit ``gbrp`` image with nothing in it that is hidden."""
    height, width = picture.rgb.shape[:2]
    fmt = rgb_format(width, height)
    image, alpha = fr.from_rgb(picture.rgb, fmt), picture.alpha
    if alpha is None or alpha.min() == 255:
        return FrameImage(image, fmt, None)
    return FrameImage(visible(image, alpha, fmt), fmt, alpha)


def converted(shown: FrameImage, fmt: FrameFormat) -> FrameImage:
    """Scale an image to the size of a format, and convert it to that."""
    if shown.format == fmt:
        return shown
    size, alpha = (fmt.width, fmt.height), shown.alpha
    if alpha is not None and alpha.shape != size[::-1]:
        alpha = cv2.resize(alpha, size, interpolation=cv2.INTER_AREA)
    return FrameImage(fr.from_rgb(fr.RgbScaler(shown.format)(shown.image, *size), fmt), fmt, alpha)


class ImageSource(FrameSource):
    """One image as one frame.

    Args:
        image: what is in the file, if that was decoded already.

    Raises:
        CannotOpen, BadData: see `images.read`.
    """

    def __init__(self, path: Path, warn: Say = silent, image: FrameImage | None = None):
        super().__init__(warn)
        self.path, self.total = path, 1
        self._image = image or frame_image(images.read(path, self._warn))
        self.format = self._image.format

    def items(self) -> Iterator[Frame]:
        image, fmt, alpha = self._image
        yield Frame(image, fmt, 0, self.time_base, name=self.path.stem, alpha=alpha)


class ImageFolderSource(FrameSource):
    """The images of a folder in natural order.

    Each is at its own size; in a video, all are at that of the first.

    Args:
        fps: images a second of the video they make; None for images by themselves.
        pattern: shell pattern of their names; all images when None.
        bit_depth: of the video's frames, 8 or 10.
        warn: told of images of another size, and of those that cannot be read.

    Raises:
        CannotOpen, BadData: the folder cannot be read, or holds no image that can.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction | None = None,
        pattern: str | None = None,
        bit_depth: int = 8,
        warn: Say = silent,
    ):
        super().__init__(warn)
        self.path = path
        with reading(path):
            named = [p for p in path.iterdir() if fnmatch(p.name, pattern or "*")]
            found = [p for p in named if p.is_file() and is_image(p)]
        self._files = sorted(found, key=partial(natural_key, ignore_case=True))
        if not self._files:
            which = f"of the name {pattern} " * bool(pattern)
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise BadData(f"{path}: no images {which}in this folder ({kinds})")
        left_out = [p for p in sorted({*named} - {*found}) if not is_hidden(p)]
        if left_out:
            self._warn(f"{path}: left out {listed(left_out)}: no images")
        self.total = len(self._files)
        stems = Counter(p.stem for p in self._files)
        self._names = [p.stem if stems[p.stem] == 1 else p.name for p in self._files]
        self.format = self._first_readable()
        self._is_video = fps is not None
        if fps is not None:
            self.rate, self.time_base = fps, 1 / fps
            width, height = self.format.width, self.format.height
            pixels = fr.with_bit_depth("yuv420p", bit_depth)
            self.format = FrameFormat(width, height, pixels, fr.default_matrix(height))

    def _first_readable(self) -> FrameFormat:
        for path in self._files:
            try:
                height, width = images.read(path).rgb.shape[:2]
                return rgb_format(width, height)
            except (BadData, CannotOpen):
                continue  # named when its turn comes
        raise BadData(f"{self.path}: none of its {self.total} images can be read")

    def items(self) -> Iterator[Frame]:
        bad = []
        for index, (path, name) in enumerate(zip(self._files, self._names, strict=True)):
            try:
                shown = frame_image(images.read(path, self._warn))
            except (BadData, CannotOpen) as e:
                self._warn(str(e))
                bad.append(path.name)
                continue
            if self._is_video:
                shown, name = self._in_video(shown), ""
            image, fmt, alpha = shown
            yield Frame(image, fmt, index, self.time_base, int(self._is_video), name, alpha=alpha)
        if bad:
            self.fault = (
                f"{self.path}: {len(bad)} of {self.total} images could not be read: {some(bad)}"
            )

    def _in_video(self, shown: FrameImage) -> FrameImage:
        size = self.format.width, self.format.height
        if (shown.format.width, shown.format.height) != size:
            self._warn(f"{self.path}: images of another size are scaled to {size[0]}x{size[1]}")
        return converted(shown, self.format)
