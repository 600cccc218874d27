"""An animated image (GIF, APNG, WebP, AVIF) as a video."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

from engines import images
from engines.errors import BadData, Say, silent
from engines.video.config import Clip
from engines.video.frame import Frame
from engines.video.read.convert import ten_bit_rgb
from engines.video.read.pictures import converted, frame_image, rgb_format
from engines.video.read.source import FrameSource


class AnimationSource(FrameSource):
    """All pictures of an animation, each shown for as long as the file says, once.

    Args:
        clip: the part of it to give.
        bit_depth: of the frames' samples, 8 or 10.
        warn: told what cannot be used of the file.

    Raises:
        CannotOpen, BadData: no picture of the clip can be read.
    """

    time_base = Fraction(1, 1000)

    def __init__(
        self, path: Path, clip: Clip | None = None, bit_depth: int = 8, warn: Say = silent
    ):
        super().__init__(warn)
        self.path, self._clip = path, clip or Clip()
        self._pictures = self._of_the_clip(path)
        self._first = next(self._pictures, None)
        if self._first is None:
            raise BadData(f"{path}: ends before --start {float(self._clip.start):g} s")
        _, milliseconds, (rgb, _) = self._first
        height, width = rgb.shape[:2]
        self.format = rgb_format(width, height)
        if bit_depth > 8:
            self.format = ten_bit_rgb(width, height)
        self.rate = Fraction(1000, milliseconds)
        self.total = images.count(path) if self._clip == Clip() else None

    def _of_the_clip(self, path: Path) -> Iterator[tuple[int, int, images.Picture]]:
        """Yield when each picture is shown and for how long, in ms from the clip's start."""
        start, end = (None if t is None else t * 1000 for t in (self._clip.start, self._clip.end))
        time = 0
        for picture, milliseconds in images.pictures(path):
            if end is not None and time >= end:
                return
            if time >= (start or 0):
                yield time - round(start or 0), milliseconds, picture
            time += milliseconds

    def items(self) -> Iterator[Frame]:
        given = 0
        try:
            while self._first is not None:
                time, milliseconds, picture = self._first
                image, fmt, alpha = converted(frame_image(picture), self.format)
                yield Frame(image, fmt, time, self.time_base, milliseconds, alpha=alpha)
                given += 1
                self._first = next(self._pictures, None)
        except BadData as e:
            self.fault = f"{e.message}; what could be read was kept"

    def close(self) -> None:
        self._first = None
