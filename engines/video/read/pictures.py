"""Sources of images: one by itself, and a folder of them, by themselves or as a video."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from fnmatch import fnmatch
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np

from engines.errors import BadData, CannotOpen, Say, reading, silent
from engines.files import MAX_PIXELS, natural_key
from engines.image_files import IMAGE_SUFFIXES, is_image
from engines.video import frame as fr
from engines.video.frame import Frame, FrameFormat
from engines.video.read.source import FrameSource

MAX_NAMED_FILES = 5  # of those that cannot be read


def read_image_frame(path: Path) -> tuple[av.VideoFrame, FrameFormat]:
    """Read an image file as an 8-bit ``gbrp`` frame, turned as its EXIF data says.

    Raises:
        CannotOpen, BadData: it cannot be read, or is no image.
    """
    with reading(path):
        data = np.fromfile(path, np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as e:
        if "MAX_IMAGE" in e.err:
            raise BadData(f"{path}: over {MAX_PIXELS >> 20} megapixels", "make it smaller") from e
        raise BadData(f"{path}: not a readable image ({e.err})") from e
    if bgr is None:
        raise BadData(f"{path}: not a readable image", "it may be empty, damaged or another kind")
    height, width = bgr.shape[:2]
    fmt = FrameFormat(width, height, "gbrp", matrix=0, range=fr.FULL)
    return fr.from_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), fmt), fmt


class ImageSource(FrameSource):
    """One image as one frame."""

    def __init__(self, path: Path, warn: Say = silent):
        super().__init__(warn)
        self.path, self.total = path, 1
        self._image, self.format = read_image_frame(path)

    def items(self) -> Iterator[Frame]:
        yield Frame(self._image, self.format, 0, self.time_base, name=self.path.stem)


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
            named = (p for p in path.iterdir() if fnmatch(p.name, pattern or "*"))
            found = [p for p in named if is_image(p) and p.is_file()]
        self._files = sorted(found, key=partial(natural_key, ignore_case=True))
        if not self._files:
            which = f"of the name {pattern} " * bool(pattern)
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise BadData(f"{path}: no images {which}in this folder ({kinds})")
        self.total = len(self._files)
        stems = Counter(p.stem for p in self._files)
        self._names = [p.stem if stems[p.stem] == 1 else p.name for p in self._files]
        _, self.format = self._first_readable()
        self._is_video = fps is not None
        if fps is not None:
            self.rate, self.time_base = fps, 1 / fps
            width, height = self.format.width, self.format.height
            pixels = fr.with_bit_depth("yuv420p", bit_depth)
            self.format = FrameFormat(width, height, pixels, fr.default_matrix(height))

    def _first_readable(self) -> tuple[av.VideoFrame, FrameFormat]:
        for path in self._files:
            try:
                return read_image_frame(path)
            except (BadData, CannotOpen):
                continue  # named when its turn comes
        raise BadData(f"{self.path}: none of its {self.total} images can be read")

    def _converted(self, image: av.VideoFrame, fmt: FrameFormat) -> av.VideoFrame:
        size = self.format.width, self.format.height
        if (fmt.width, fmt.height) != size:
            self._warn(f"{self.path}: images of another size are scaled to {size[0]}x{size[1]}")
        return fr.from_rgb(fr.RgbScaler(fmt)(image, *size), self.format)

    def items(self) -> Iterator[Frame]:
        bad = []
        for index, (path, name) in enumerate(zip(self._files, self._names, strict=True)):
            try:
                image, fmt = read_image_frame(path)
            except (BadData, CannotOpen) as e:
                self._warn(str(e))
                bad.append(path.name)
                continue
            if self._is_video:
                image, fmt, name = self._converted(image, fmt), self.format, ""
            yield Frame(image, fmt, index, self.time_base, int(self._is_video), name)
        if bad:
            self.fault = (
                f"{self.path}: {len(bad)} of {self.total} images could not be read: "
                + ", ".join(bad[:MAX_NAMED_FILES])
                + (" …" if len(bad) > MAX_NAMED_FILES else "")
            )
