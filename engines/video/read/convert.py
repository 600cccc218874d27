"""Convert decoded images to the frame format of a run, and choose that format.

8-bit planar YUV stays as it is; anything else is converted once, and the run is told. Untagged
video has the matrix that its height suggests. HDR is refused.
"""

from __future__ import annotations

from fractions import Fraction

import av
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from engines.errors import BadData, Say
from engines.video import frame as fr
from engines.video.frame import FrameFormat

HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # transfer characteristics, ISO/IEC 23091-2
TO_SDR_REMEDY = (
    "convert it to SDR first: ffmpeg -i IN -vf zscale=t=linear:npl=100,tonemap=hable,"
    "zscale=t=bt709:m=bt709:p=bt709:r=tv,format=yuv420p OUT"
)


def frame_format(first: av.VideoFrame, bit_depth: int, name: object) -> FrameFormat:
    """Return the format that the frames of a video are processed in.

    Args:
        first: the first decoded image.
        bit_depth: of a sample, 8 or 10.
        name: of the video, for the error.

    Raises:
        BadData: the video is HDR.
    """
    if first.color_trc in HDR_TRANSFERS:
        raise BadData(
            f"{name}: HDR video ({HDR_TRANSFERS[first.color_trc]}) is not supported", TO_SDR_REMEDY
        )
    pixels = first.format.name
    quarter_turn = quarter_turns(first) % 2 == 1
    planar = next((f"yuv{s}p" for s in ("444", "422") if s in pixels), "yuv420p")
    if planar == "yuv422p" and quarter_turn:
        planar = "yuv420p"  # turned, 4:2:2 would be 4:4:0
    size = (first.height, first.width) if quarter_turn else (first.width, first.height)
    matrix = int(first.colorspace)
    if matrix in (0, fr.UNSPECIFIED):
        matrix = fr.default_matrix(first.height)
    is_full = "yuvj" in pixels or int(first.color_range) == fr.FULL
    return FrameFormat(
        *size,
        fr.with_bit_depth(planar, bit_depth),
        matrix,
        fr.FULL if is_full and not first.format.is_rgb else fr.LIMITED,
        int(first.color_primaries),
        int(first.color_trc),
    )


def upright_aspect(aspect: Fraction | None, first: av.VideoFrame) -> Fraction | None:
    """Return the sample aspect ratio of upright frames; None means square."""
    if not aspect or aspect == 1:
        return None
    return 1 / aspect if quarter_turns(first) % 2 == 1 else aspect


def quarter_turns(image: av.VideoFrame) -> int:
    """Return how many times to turn an image by 90°, counter-clockwise, so that it is upright."""
    return round(image.rotation / 90) % 4


class Converter:
    """Converts decoded images to the format of the run; those that have it stay untouched.

    Args:
        first: the first decoded image; later ones of another size are scaled to its size.
        warn: told, each text once, that something is converted.
    """

    def __init__(self, first: av.VideoFrame, fmt: FrameFormat, warn: Say):
        self._format, self._warn = fmt, warn
        self._turns = quarter_turns(first)
        self._size, self._pix_fmt = (first.width, first.height), first.format.name
        self._reformatter = VideoReformatter()
        self._as_is = self._pix_fmt.replace("yuvj", "yuv") == fmt.pix_fmt
        if not self._as_is:
            text = f"{self._pix_fmt} video is processed as {fmt.bit_depth}-bit {fmt.pix_fmt}"
            is_deep = first.format.components[0].bits > 8
            warn(text + "; --bits 10 keeps 10" * (is_deep and fmt.bit_depth == 8))

    def __call__(self, image: av.VideoFrame) -> av.VideoFrame:
        """Return an image in the run's format, upright."""
        same = (image.width, image.height) == self._size
        if not same or image.format.name != self._pix_fmt or not self._as_is:
            if not same:
                self._warn(
                    f"the image changes to {image.width}x{image.height} on the way; "
                    f"scaled to {self._size[0]}x{self._size[1]}"
                )
            is_rgb = image.format.is_rgb
            image = self._reformatter.reformat(
                image,
                *self._size,
                self._format.pix_fmt,
                src_colorspace=None if is_rgb else self._format.matrix,
                dst_colorspace=self._format.matrix,
                src_color_range=fr.FULL if is_rgb else self._format.range,
                dst_color_range=self._format.range,
                interpolation=Interpolation.BICUBIC,
                threads=fr.scaler_threads(self._format.pix_fmt),
            )
        if not self._turns:
            return image
        upright = self._format.new_image()
        for target, plane in zip(fr.planes(upright), fr.planes(image), strict=True):
            target[:] = np.rot90(plane, self._turns)
        return upright
