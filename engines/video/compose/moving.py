"""A video as a background: at its own rate, repeated whenever it ends."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from engines import images
from engines.arrays import Plane
from engines.errors import Say
from engines.video import frame as fr
from engines.video.blend import at_planes, over
from engines.video.compose.background import BLACK, Box, Colour, fitted
from engines.video.config import BackgroundFit, Clip
from engines.video.frame import Frame, FrameFormat
from engines.video.read.animation import AnimationSource
from engines.video.read.source import FrameSource
from engines.video.read.video import VideoSource

MAX_GAP_SECONDS = 30  # without a frame; after a longer gap the background goes on where it was
SCALER_BT601 = 5  # the scaler takes the other code point of that matrix for "unspecified"


class VideoBackground:
    """A video that begins with the clip's first frame and is repeated.

    Args:
        sample_aspect: width to height of the clip's pixels, 1 when None.
        say: told when the video ends before it should.
        bit_depth: bits a sample of the clip's frames, 8 or 10.
        colour: RGB, of 255, where it is transparent or does not reach.

    Raises:
        CannotOpen, BadData: the video cannot be used.
    """

    def __init__(
        self,
        path: Path,
        sample_aspect: Fraction | None,
        fit: BackgroundFit,
        say: Say,
        bit_depth: int,
        colour: Colour = BLACK,
    ):
        self._path, self._fit, self._aspect = path, fit, float(sample_aspect or 1)
        self._say, self._bit_depth, self._colour = say, bit_depth, colour
        self._source = self._opened()
        self._frames = self._repeated()
        self._now = next(self._frames)
        self._next: tuple[Fraction, Frame] | None = next(self._frames, None)
        self._begin: Fraction | None = None  # seconds at which the clip's first frame is shown
        self._reformatter = VideoReformatter()
        self._latest: tuple[Frame, FrameFormat, list[Plane]] | None = None

    def _opened(self) -> FrameSource:
        if images.is_animation(self._path):
            return AnimationSource(self._path, bit_depth=self._bit_depth)
        return VideoSource(self._path, Clip(), bit_depth=self._bit_depth)

    def _repeated(self) -> Iterator[tuple[Fraction, Frame]]:
        """Yield times in seconds and frames, without end unless the video has only one frame."""
        begin = Fraction(0)
        while True:
            end, count, first = begin, 0, None
            for frame in self._source.frames():
                time = frame.pts * frame.time_base
                first = time if first is None else first
                yield begin + time - first, frame
                end = begin + time - first + max(1, frame.duration) * frame.time_base
                count += 1
            if self._source.fault and not begin:
                self._say(f"--bg {self._source.fault}")
            if count == 1:
                return
            begin = end
            self._source.close()
            self._source = self._opened()

    def planes(self, frame: Frame, alphas: list[Plane]) -> list[Plane]:
        time = frame.pts * frame.time_base
        self._begin = time if self._begin is None else self._begin
        if self._next is not None and (gap := time - self._begin - self._next[0]) > MAX_GAP_SECONDS:
            self._begin += gap
        while self._next is not None and self._next[0] <= time - self._begin:
            self._now, self._next = self._next, next(self._frames, None)
        shown = self._now[1]
        made = self._latest
        if made is None or made[0] is not shown or made[1] != frame.format:
            made = self._latest = shown, frame.format, self._fitted(shown, frame.format)
        return made[2]

    def _fitted(self, shown: Frame, fmt: FrameFormat) -> list[Plane]:
        """Return the planes of a frame of the video, scaled and converted to `fmt`."""
        source = shown.format
        if shown.alpha is not None:
            flat = over(shown.image, at_planes(shown.alpha, source), self._colour, source)
            shown = replace(shown, image=flat, alpha=None)
        aspect = float(self._source.sample_aspect or 1) / self._aspect
        part, (left, top, width, height) = fitted(
            (source.width, source.height), (fmt.width, fmt.height), self._fit, aspect, step=2
        )
        image = self._reformatter.reformat(
            _cut(shown, part),
            width,
            height,
            fmt.pix_fmt,
            src_colorspace=source.matrix,
            src_color_range=source.range,
            dst_colorspace=SCALER_BT601 if fmt.matrix == fr.BT601 else fmt.matrix,
            dst_color_range=fmt.range,
            threads=1,
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
        )
        planes = fr.planes(image)
        if (width, height) == (fmt.width, fmt.height):
            return planes
        empty = np.full((fmt.height, fmt.width, 3), self._colour, np.uint8)
        bars = [p.copy() for p in fr.planes(fr.from_rgb(empty, fmt))]
        h_shift, v_shift = fr.PLANAR[fmt.pix_fmt]
        for i, (bar, plane) in enumerate(zip(bars, planes, strict=True)):
            x, y = (left >> h_shift, top >> v_shift) if i else (left, top)
            bar[y : y + plane.shape[0], x : x + plane.shape[1]] = plane
        return bars

    def close(self) -> None:
        self._source.close()


def _cut(frame: Frame, part: Box) -> av.VideoFrame:
    """Return a part of a frame's image; left and top are even."""
    left, top, width, height = part
    if (width, height) == (frame.format.width, frame.format.height):
        return frame.image
    cut = replace(frame.format, width=width, height=height).new_image()
    h_shift, v_shift = fr.PLANAR[frame.format.pix_fmt]
    pairs = zip(fr.planes(frame.image), fr.planes(cut), strict=True)
    for i, (plane, target) in enumerate(pairs):
        x, y = (left >> h_shift, top >> v_shift) if i else (left, top)
        target[:] = plane[y : y + target.shape[0], x : x + target.shape[1]]
    return cut
