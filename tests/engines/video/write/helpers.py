"""A source of plain frames at any times, for outputs that are tried without a run."""

from __future__ import annotations

from collections.abc import Iterator
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

SIZE = 64, 48


class PlainSource(FrameSource):
    """A source that says how its frames are; `plain` makes them."""

    def __init__(self, time_base: Fraction, rate: Fraction = Fraction(30), pixels: str = "yuv420p"):
        super().__init__()
        self.path, self.total = Path("in.mkv"), None
        self.format = FrameFormat(*SIZE, pixels)
        self.time_base, self.rate = time_base, rate

    def items(self) -> Iterator[Frame | av.Packet]:
        return iter(())

    def plain(self, pts: int, duration: int = 0) -> Composited:
        """A frame whose brightness is its own."""
        image = self.format.new_image()
        for plane in fr.planes(image):
            plane[:] = 16 + pts % 200
        alpha = np.zeros(SIZE[::-1], np.uint8)
        return Composited(
            Frame(image, self.format, pts, self.time_base, duration), alpha, image, image
        )


def open_video(path: Path, source: FrameSource, codec: str | None = None, **how: Any) -> VideoSink:
    """A video file as an output of composites."""
    options: dict[str, Any] = {"alpha": False, "copies": False, "stop": Stop()} | how
    return VideoSink(path, path.suffix, Save.composite, source, Encoding(codec), **options)
