"""A frame of video: the stream's own planes, what their samples mean, and when it is shown."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeGuard

import av
import cv2
import numpy as np
from av.video.reformatter import ColorRange, Interpolation, VideoReformatter

from engines.arrays import U8, Plane

# The formats that frames are composited in, all planar, with log2 of their horizontal and vertical
# chroma subsampling.
PLANAR: dict[str, tuple[int, int]] = {
    "yuv420p": (1, 1),
    "yuv422p": (1, 0),
    "yuv444p": (0, 0),
    "gbrp": (0, 0),
    "yuv420p10le": (1, 1),
    "yuv422p10le": (1, 0),
    "yuv444p10le": (0, 0),
}
TEN_BIT_SUFFIX = "10le"  # of FFmpeg's names of formats
BT709, UNSPECIFIED, BT601 = 1, 2, 6  # ISO/IEC 23091-2 matrix coefficients
LIMITED, FULL = int(ColorRange.MPEG), int(ColorRange.JPEG)


def default_matrix(lines: int) -> int:
    """Return the matrix coefficients of untagged video: BT.709 from 720 lines on, else BT.601."""
    return BT709 if lines >= 720 else BT601


def with_bit_depth(pixels: str, bit_depth: int) -> str:
    """Return FFmpeg's name of a pixel format, any but ``gbrp``, with 8 or 10 bits a sample."""
    pixels = pixels.removesuffix(TEN_BIT_SUFFIX)
    return pixels + TEN_BIT_SUFFIX if bit_depth == 10 else pixels


@dataclass(frozen=True)
class FrameFormat:
    """Size, pixel format and colour description of frames; one for all frames of a video.

    `width` and `height` are in pixels, `pix_fmt` is one of `PLANAR`. `matrix`, `primaries` and
    `transfer` are code points of ISO/IEC 23091-2, `range` is `LIMITED` or `FULL`. `was_rgb` says
    that YUV of 10 bits was converted from RGB.
    """

    width: int
    height: int
    pix_fmt: str = "yuv420p"
    matrix: int = BT601
    range: int = LIMITED
    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    was_rgb: bool = False

    @property
    def bit_depth(self) -> int:
        """Bits of a sample: 8 or 10."""
        return 10 if self.pix_fmt.endswith(TEN_BIT_SUFFIX) else 8

    @property
    def peak(self) -> int:
        """The greatest value of a sample: 255 or 1023."""
        return (1 << self.bit_depth) - 1

    @property
    def is_rgb(self) -> bool:
        return self.pix_fmt == "gbrp"

    @property
    def plane_sizes(self) -> tuple[tuple[int, int], ...]:
        """(width, height) of each of the three planes; chroma of odd sizes is rounded up."""
        h_shift, v_shift = PLANAR[self.pix_fmt]
        chroma = (-(-self.width // (1 << h_shift)), -(-self.height // (1 << v_shift)))
        return (self.width, self.height), chroma, chroma

    def new_image(self) -> av.VideoFrame:
        """Return a new uninitialised image of this format, tagged.

        Images are never reused: an encoder may still hold them.
        """
        image = av.VideoFrame(self.width, self.height, self.pix_fmt)
        self.tag(image)
        return image

    def tag(self, target: Any) -> None:
        """Set matrix, range, primaries and transfer of an `av.VideoFrame` or a codec context."""
        if not self.is_rgb:
            target.colorspace = self.matrix
        target.color_range = self.range
        target.color_primaries, target.color_trc = self.primaries, self.transfer


@dataclass(frozen=True)
class Frame:
    """An image and when it is shown, at ``pts * time_base`` seconds.

    `image` is of `format` and is never written to: the decoder may still refer to it. `duration`
    is in ticks of the time base, 0 if unknown. `name` is that of the file it came from, without
    folder and suffix, and empty in a video. `arrived` is `time.perf_counter()` when a live source
    gave the frame, 0 for other sources. `alpha` is the input's own, (H, W) uint8 at the frame's
    size, 255 = opaque; None means opaque everywhere. An image with alpha has straight colours, and
    has gone through `blend.visible`: what lies hidden is not in it. A frame that `leads_in` is
    looked at for those that follow, and not written.
    """

    image: av.VideoFrame
    format: FrameFormat
    pts: int
    time_base: Fraction
    duration: int = 0
    name: str = ""
    arrived: float = 0.0
    alpha: Plane | None = None
    leads_in: bool = False


def is_frame(item: Frame | av.Packet) -> TypeGuard[Frame]:
    """Tell a frame from a packet of a stream that is copied; nothing else comes from a source."""
    return isinstance(item, Frame)


def planes(image: av.VideoFrame) -> list[Plane]:
    """Return the planes of a planar image as (H, W) uint8 or uint16 views, without a copy."""
    dtype: Any = np.uint16 if image.format.name.endswith(TEN_BIT_SUFFIX) else np.uint8
    views = []
    for plane in image.planes:
        rows = np.frombuffer(memoryview(plane), dtype).reshape(plane.height, -1)
        views.append(rows[:, : plane.width])
    return views


def scaler_threads(pixels: str) -> int | None:
    """Return how many threads libswscale may use to write a format; None leaves it to FFmpeg.

    In 10 bits it writes past the end of a row, over the first pixels of the next. They are lost if
    that row belongs to another thread that has already written it.
    """
    return 1 if pixels.endswith(TEN_BIT_SUFFIX) else None


class RgbScaler:
    """Makes RGB copies of frames of one format, mostly small ones, in one scaler call each.

    Several threads may call it at once.
    """

    def __init__(self, fmt: FrameFormat):
        self.format = fmt
        self._contexts = threading.local()  # a scaler context serves one thread

    def __call__(self, image: av.VideoFrame, width: int, height: int) -> U8:
        """Return an image as (height, width, 3) uint8 RGB, by its format's matrix and range."""
        if not hasattr(self._contexts, "reformatter"):
            self._contexts.reformatter = VideoReformatter()
        how: dict[str, Any] = {}
        if not self.format.is_rgb:
            how = {"src_colorspace": self.format.matrix, "src_color_range": self.format.range}
        # To packed RGB libswscale takes twice as long, rounds down, and halves the chroma. Without
        # scaling it takes another path, which rounds down as well unless told not to.
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


def from_rgb(rgb: U8, fmt: FrameFormat) -> av.VideoFrame:
    """Convert (H, W, 3) uint8 RGB to an image of a format of the same size, tagged."""
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
