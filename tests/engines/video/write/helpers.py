"""A source of plain frames at any times, for outputs that are tried without a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import Encoding, Save
from engines.video.frame import Frame, FrameFormat
from engines.video.pipeline import Stop
from engines.video.read.source import FrameSource
from engines.video.write.video import VideoSink


class PlainSource(FrameSource):
    """A source that says how its frames are; `plain` makes them."""

    def __init__(
        self,
        time_base: Fraction,
        rate: Fraction = Fraction(30),
        pixels: str = "yuv420p",
        size: tuple[int, int] = (64, 48),
    ):
        super().__init__()
        self.path, self.total = Path("in.mkv"), None
        self.format = FrameFormat(*size, pixels)
        if self.format.is_rgb:
            self.format = replace(self.format, range=fr.FULL)
        self.time_base, self.rate = time_base, rate

    def items(self) -> Iterator[Frame | av.Packet]:
        return iter(())

    def grey(self, pts: int) -> float:
        """The grey of a frame, from 0 for black to 255 for white."""
        level = self._level(pts)
        return level if self.format.is_rgb else (level - 16) * 255 / 219

    def _level(self, pts: int) -> int:
        return 30 + round(pts * self.time_base * 300) % 200

    def plain(self, pts: int, duration: int = 0, alpha: bool = False) -> Composited:
        """A grey frame; its person is everything, where the output has `alpha`."""
        image = self.format.new_image()
        scale = (self.format.peak + 1) // 256
        for n, plane in enumerate(fr.planes(image)):
            plane[:] = (128 if n and not self.format.is_rgb else self._level(pts)) * scale
        matte = np.full((self.format.height, self.format.width), 255, np.uint8)
        frame = Frame(image, self.format, pts, self.time_base, duration)
        return Composited(frame, matte, image, None if alpha else image)


def open_video(path: Path, source: FrameSource, codec: str | None = None, **how: Any) -> VideoSink:
    """A video file as an output of composites."""
    options: dict[str, Any] = {"alpha": False, "copies": False, "stop": Stop()} | how
    return VideoSink(path, path.suffix, Save.composite, source, Encoding(codec), **options)
