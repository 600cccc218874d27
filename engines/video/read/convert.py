"""Convert decoded images to the frame format of a run, and choose that format.

8-bit planar YUV and RGB stay as they are; anything else is converted once, and the run is told.
In 10 bits RGB becomes YUV that has all its chroma.
Untagged video has the matrix that its height suggests. HDR is refused.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from engines.arrays import Plane
from engines.colour import HDR_TRANSFERS
from engines.errors import BadData, Say
from engines.video import frame as fr
from engines.video.blend import visible
from engines.video.frame import FrameFormat
from engines.video.read.orientation import Orientation, OrientationReader
from engines.video.read.video_stream import Crop

TO_SDR_REMEDY = (
    "convert it to SDR first: ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,"
    "zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p OUT"
)
SUBSAMPLINGS = {(0, 0): "yuv444p", (1, 0): "yuv422p"}  # any other becomes yuv420p


def frame_format(
    first: av.VideoFrame, bit_depth: int, name: object, turn: Orientation, crop: Crop
) -> FrameFormat:
    """Return the format that the frames of a video are processed in.

    Args:
        first: the first decoded image.
        bit_depth: of a sample, 8 or 10.
        name: of the video, for the error.
        turn: the first image's.
        crop: what is cut from stored images.

    Raises:
        BadData: the video is HDR.
    """
    if first.color_trc in HDR_TRANSFERS:
        raise BadData(
            f"{name}: HDR video ({HDR_TRANSFERS[first.color_trc]}) is not supported", TO_SDR_REMEDY
        )
    size = turn.size(first.width - crop.across, first.height - crop.down)
    tags = int(first.color_primaries), int(first.color_trc)
    if is_rgb(first.format):
        if bit_depth == 8:
            return FrameFormat(*size, "gbrp", 0, fr.FULL, *tags)
        return ten_bit_rgb(*size, *tags)
    planar = _planar(first.format)
    if planar == "yuv422p" and turn.transposed:
        planar = "yuv420p"  # turned, 4:2:2 would be 4:4:0
    matrix = int(first.colorspace)
    if matrix in (0, fr.UNSPECIFIED):
        matrix = fr.default_matrix(first.height)
    is_full = "yuvj" in first.format.name or int(first.color_range) == fr.FULL
    return FrameFormat(
        *size,
        fr.with_bit_depth(planar, bit_depth),
        matrix,
        fr.FULL if is_full else fr.LIMITED,
        *tags,
    )


def ten_bit_rgb(
    width: int, height: int, primaries: int = fr.UNSPECIFIED, transfer: int = fr.UNSPECIFIED
) -> FrameFormat:
    """Return the format that RGB is processed in with 10 bits a sample."""
    matrix = fr.default_matrix(height)
    return FrameFormat(
        width, height, "yuv444p10le", matrix, fr.LIMITED, primaries, transfer, was_rgb=True
    )


def upright_aspect(aspect: Fraction | None, turn: Orientation) -> Fraction | None:
    """Return the sample aspect ratio of upright frames; None means square."""
    if not aspect or aspect == 1:
        return None
    return 1 / aspect if turn.transposed else aspect


def is_rgb(pixels: av.VideoFormat) -> bool:
    """Return whether a pixel format holds RGB, by a palette or not, or XYZ."""
    return pixels.is_rgb or pixels.has_palette or pixels.name.startswith("xyz")


def has_alpha(pixels: av.VideoFormat) -> bool:
    """Return whether a pixel format has an alpha channel."""
    return pixels.has_palette or pixels.components[-1].is_alpha


def _planar(pixels: av.VideoFormat) -> str:
    """Return the 8-bit planar YUV format with the subsampling of a YUV or grey format."""
    if len(pixels.components) < 3:
        return "yuv420p"
    shifts = 16 // pixels.chroma_width(16) - 1, 16 // pixels.chroma_height(16) - 1
    return SUBSAMPLINGS.get(shifts, "yuv420p")


class Converter:
    """Converts decoded images to the format of the run; those that have it stay untouched.

    Args:
        first: the first decoded image; later ones of another size are scaled to its size.
        fmt: of the run, see `frame_format`.
        turn: reads the images' orientations.
        crop: what is cut from stored images.
        opaque: whether an alpha channel in the images means nothing.
        warn: told, each text once, that something is converted.
    """

    def __init__(
        self,
        first: av.VideoFrame,
        fmt: FrameFormat,
        turn: OrientationReader,
        crop: Crop,
        opaque: bool,
        warn: Say,
    ):
        self._format, self._turn, self._crop, self._opaque = fmt, turn, crop, opaque
        self._warn = warn
        self._pixels = first.format.name
        self._reformatter, self._alpha_reformatter = VideoReformatter(), VideoReformatter()
        self._as_is = self._pixels.replace("yuvj", "yuv") == fmt.pix_fmt
        is_deep = first.format.components[0].bits > 8
        if not self._as_is and (is_deep or not fmt.is_rgb):
            text = f"{self._pixels} video is processed as {fmt.bit_depth}-bit {fmt.pix_fmt}"
            warn(text + "; --bits 10 keeps 10" * (is_deep and fmt.bit_depth == 8))

    def __call__(self, image: av.VideoFrame) -> tuple[av.VideoFrame, Plane | None]:
        """Return an image in the run's format, upright, and its alpha as in `Frame`."""
        fmt, crop = self._format, self._crop
        turn = self._turn(image)
        width, height = turn.size(fmt.width, fmt.height)
        stored = replace(fmt, width=width + crop.across, height=height + crop.down)
        if turn.transposed and fmt.pix_fmt.startswith("yuv422p"):  # of images that turn on the way
            stored = replace(stored, pix_fmt=fr.with_bit_depth("yuv444p", fmt.bit_depth))
        alpha = None if self._opaque else self._alpha(image)
        image = self._converted(image, stored, turn)
        if turn == Orientation() and crop == Crop():
            upright = image
        else:
            upright = replace(stored, width=fmt.width, height=fmt.height).new_image()
            for target, plane in zip(fr.planes(upright), fr.planes(image), strict=True):
                target[:] = turn.upright(self._cut(plane, stored))
            if stored.pix_fmt != fmt.pix_fmt:
                upright = self._reformatter.reformat(upright, format=fmt.pix_fmt)
        if alpha is None:
            return upright, None
        self._warn("the video has alpha of its own: the matte is multiplied by it")
        scaled: Any = alpha
        if alpha.shape != (stored.height, stored.width):
            scaled = cv2.resize(alpha, (stored.width, stored.height))
        alpha = np.ascontiguousarray(turn.upright(self._cut(scaled, stored)))
        return visible(upright, alpha, fmt), alpha

    def _converted(
        self, image: av.VideoFrame, stored: FrameFormat, turn: Orientation
    ) -> av.VideoFrame:
        """Return an image in the size and the pixel format of the stored ones."""
        same = (image.width, image.height) == (stored.width, stored.height)
        if same and self._as_is and image.format.name == self._pixels:
            return image
        if not same:
            now, first = turn.size(image.width, image.height), self._format
            self._warn(
                f"the image changes to {now[0]}x{now[1]} on the way; "
                f"scaled to {first.width}x{first.height}"
            )
        from_rgb, interpolation = is_rgb(image.format), Interpolation.BICUBIC
        how: dict[str, Any] = {}
        if not from_rgb:
            how["src_colorspace"] = stored.matrix or fr.default_matrix(image.height)
        if not stored.is_rgb:
            how["dst_colorspace"] = stored.matrix
        if from_rgb is not stored.is_rgb:
            interpolation |= Interpolation.ACCURATE_RND  # else chroma is rounded down
        return self._reformatter.reformat(
            image,
            stored.width,
            stored.height,
            stored.pix_fmt,
            src_color_range=fr.FULL if from_rgb else stored.range,
            dst_color_range=stored.range,
            interpolation=interpolation,
            threads=fr.scaler_threads(stored.pix_fmt),
            **how,
        )

    def _cut(self, plane: Plane, stored: FrameFormat) -> Plane:
        """Return a view of a plane of stored images without what is cropped."""
        crop = self._crop
        if crop == Crop():
            return plane
        across, down = plane.shape[1] < stored.width, plane.shape[0] < stored.height
        left, top = crop.left >> across, crop.top >> down
        width, height = stored.width - crop.across, stored.height - crop.down
        return plane[top : top + -(-height >> down), left : left + -(-width >> across)]

    def _alpha(self, image: av.VideoFrame) -> Plane | None:
        """Return the alpha of a stored image as (H, W) uint8; None if it is opaque."""
        pixels = image.format
        if not has_alpha(pixels):
            return None
        bits = pixels.components[-1].bits
        if not pixels.is_planar or bits > 16 or pixels.is_big_endian or len(pixels.components) < 4:
            bits = 8 if bits <= 8 else 16
            planar = "gbrap" if bits == 8 else "gbrap16le"
            image = self._alpha_reformatter.reformat(image, format=planar, threads=1)
        dtype: Any = np.uint8 if bits == 8 else np.uint16
        rows = np.frombuffer(memoryview(image.planes[3]), dtype)
        alpha: Plane = rows.reshape(image.height, -1)[:, : image.width]
        if bits > 8:
            alpha = np.asarray(cv2.convertScaleAbs(alpha, alpha=255 / ((1 << bits) - 1)))
        return None if alpha.min() == 255 else alpha
