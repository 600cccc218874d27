"""A frame on its way: the stream's own planes, and the time they are shown at."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeGuard

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from engines.arrays import Plane

# The formats that are composited in place, all planar: log2 of the horizontal and vertical chroma
# subsampling.
PLANAR: dict[str, tuple[int, int]] = {
    "yuv420p": (1, 1),
    "yuv422p": (1, 0),
    "yuv444p": (0, 0),
    "gbrp": (0, 0),
    "yuv420p10le": (1, 1),
    "yuv422p10le": (1, 0),
    "yuv444p10le": (0, 0),
}
DEEP = "10le"  # what FFmpeg's names of formats with 10 bits end in
BT709, UNSPECIFIED, BT601 = 1, 2, 6  # ISO/IEC 23091-2 matrix coefficients
LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)


def default_matrix(lines: int) -> int:
    """Return the matrix coefficients of untagged video: BT.709 from 720 lines on, else BT.601."""
    return BT709 if lines >= 720 else BT601


def with_bit_depth(pixels: str, bit_depth: int) -> str:
    """FFmpeg's name of a format, any but ``gbrp``, with 8 or 10 bits."""
    pixels = pixels.removesuffix(DEEP)
    return pixels + DEEP if bit_depth == 10 else pixels


@dataclass(frozen=True)
class FrameFormat:
    """What the pixels of a stream mean; the same for every frame of a run.

    `pix_fmt` is one of `PLANAR`. `matrix`, `primaries` and `transfer` are the code points of
    ISO/IEC 23091-2, `range` is `LIMITED` or `FULL`.
    """

    width: int
    height: int
    pix_fmt: str = "yuv420p"
    matrix: int = BT601
    range: int = LIMITED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED

    @property
    def bit_depth(self) -> int:
        """Of a code: 8 or 10."""
        return 10 if self.pix_fmt.endswith(DEEP) else 8

    @property
    def peak(self) -> int:
        """The greatest code."""
        return (1 << self.bit_depth) - 1

    @property
    def is_rgb(self) -> bool:
        return self.pix_fmt == "gbrp"

    @property
    def plane_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each plane; chroma of odd sizes is rounded up."""
        h_shift, v_shift = PLANAR[self.pix_fmt]
        chroma = (-(-self.width // (1 << h_shift)), -(-self.height // (1 << v_shift)))
        return (self.width, self.height), chroma, chroma

    def new_image(self) -> av.VideoFrame:
        """An uninitialised image of this format, tagged; never one an encoder may still hold."""
        image = av.VideoFrame(self.width, self.height, self.pix_fmt)
        self.tag(image)
        return image

    def tag(self, target: Any) -> None:
        """Write matrix, range, primaries and transfer on a frame or a codec context."""
        if not self.is_rgb:
            target.colorspace = self.matrix
        target.color_range = self.range
        target.color_primaries, target.color_trc = self.primaries, self.transfer


@dataclass(frozen=True)
class Frame:
    """One image and when it is shown: ``pts * time_base`` seconds.

    `image` has the planes of `fmt` and is never written to: a decoder may still refer to it.
    """

    image: av.VideoFrame
    format: FrameFormat
    pts: int
    time_base: Fraction
    duration: int = 0  # in ticks of the time base; 0 when unknown
    name: str = ""  # of the file it came from, without folder and ending; empty in a video
    arrived: float = 0.0  # `time.perf_counter()` when a live source gave it; 0 elsewhere


def is_frame(item: Frame | av.Packet) -> TypeGuard[Frame]:
    """Tell a frame from a packet of a stream that is copied; nothing else comes from a source."""
    return isinstance(item, Frame)


def planes(image: av.VideoFrame) -> list[Plane]:
    """The planes of a planar image as (H, W) uint8 or uint16 views, without a copy."""
    dtype: Any = np.uint16 if image.format.name.endswith(DEEP) else np.uint8
    views = []
    for plane in image.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        views.append(rows[:, : plane.width])
    return views


def scaler_threads(pixels: str) -> int | None:
    """How many threads libswscale may take to make images of a format; None leaves it to FFmpeg.

    In 10 bits it writes past a row's end, over the next one's first pixels: they are lost where
    that row is another thread's, which was there first.
    """
    return 1 if pixels.endswith(DEEP) else None


class RgbScaler:
    """RGB copies of frames of one format, small ones mostly, in one scaler call each.

    Several threads may call it at once.
    """

    def __init__(self, fmt: FrameFormat):
        self.format = fmt
        self._contexts = threading.local()  # one of libswscale's serves one thread

    def __call__(self, image: av.VideoFrame, width: int, height: int) -> Plane:
        """`image` as (height, width, 3) uint8 RGB, by its own matrix and range."""
        if not hasattr(self._contexts, "reformatter"):
            self._contexts.reformatter = VideoReformatter()
        how: dict[str, Any] = {}
        if not self.format.is_rgb:
            how = {"src_colorspace": self.format.matrix, "src_color_range": self.format.range}
        # To packed RGB libswscale takes twice as long, rounds down, and halves the chroma; where
        # nothing is scaled it has another way, which rounds down too unless told not to.
        rgb = self._contexts.reformatter.reformat(
            image,
            width,
            height,
            "gbrp",
            dst_color_range=FULL,
            interpolation=Interpolation.BILINEAR | Interpolation.ACCURATE_RND,
            threads=1,
            **how,
        )
        green, blue, red = planes(rgb)
        pixels: Any = cv2.merge([red, green, blue])
        return pixels


def from_rgb(rgb: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """(H, W, 3) uint8 RGB as an image of `fmt`, which has the same size."""
    source = av.VideoFrame.from_ndarray(np.ascontiguousarray(rgb), format="rgb24")
    how: dict[str, Any] = {}
    if not fmt.is_rgb:
        how = {"dst_colorspace": fmt.matrix, "dst_color_range": fmt.range}
    image = VideoReformatter().reformat(
        source,
        format=fmt.pix_fmt,
        src_color_range=FULL,
        interpolation=Interpolation.BICUBIC,
        threads=scaler_threads(fmt.pix_fmt),
        **how,
    )
    fmt.tag(image)
    return image
