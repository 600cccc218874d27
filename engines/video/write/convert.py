"""The images of a video output: the part of a frame that is written, as an encoder takes it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import av
import cv2
import numpy as np
from av.video.reformatter import Interpolation, VideoReformatter

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import Save
from engines.video.frame import FrameFormat
from engines.video.write.encoders import RGB_ALPHA_FORMAT, Encoder

NEUTRAL_CHROMA = 128
TO_TEN_BITS = np.rint(np.arange(256) * (1023 / 255)).astype(np.uint16)  # by 8-bit sample


class EncodedImages:
    """A converter from composited frames to the images that an encoder is given.

    Args:
        save: what of a frame is written.
        fmt: size, matrix and range of the images.
        pixels: their pixel format.
        alpha: whether they have an alpha channel (straight).
    """

    def __init__(self, save: Save, fmt: FrameFormat, pixels: str, alpha: bool):
        self._save, self._format, self._pixels, self._has_alpha = save, fmt, pixels, alpha
        self._reformatter, self._packer = VideoReformatter(), VideoReformatter()

    def __call__(self, item: Composited) -> av.VideoFrame:
        """Return the image of a frame, tagged."""
        fmt, pixels = self._format, self._pixels
        source = item.frame.format
        image, alpha = item.of(self._save)
        if image is None:
            source, image = matte_format(source), _matte_image(item.alpha, source)
        if (fmt.width, fmt.height) != (source.width, source.height):
            padded = replace(source, width=fmt.width, height=fmt.height).new_image()
            for target, plane in zip(fr.planes(padded), fr.planes(image), strict=True):
                target[:] = _padded(plane, target.shape[1], target.shape[0])
            image = padded
        planar = "gbrap" if self._has_alpha and pixels == RGB_ALPHA_FORMAT else pixels
        if source.pix_fmt != planar or source.range != fmt.range:
            image = self._reformatter.reformat(
                image,
                format=planar,
                src_color_range=source.range,
                dst_color_range=fmt.range,
                threads=fr.scaler_threads(planar),
                **_conversion(source, fmt),
            )
        if self._has_alpha:
            assert alpha is not None
            _set_alpha(image, _padded(alpha, fmt.width, fmt.height))
            if planar != pixels:
                image = self._packer.reformat(image, format=pixels)
        fmt.tag(image)
        return image


def _conversion(source: FrameFormat, target: FrameFormat) -> dict[str, Any]:
    """Return what the scaler is told of the colours of two formats, besides their range."""
    if target.is_rgb:
        return {}
    # By default chroma is softer, and from RGB it is rounded down.
    accurate = {"interpolation": Interpolation.BICUBIC | Interpolation.ACCURATE_RND}
    if source.is_rgb:
        return {"dst_colorspace": target.matrix, **accurate}
    matrices = {"src_colorspace": source.matrix, "dst_colorspace": target.matrix}
    return matrices | (accurate if source.was_rgb else {})


def matte_format(fmt: FrameFormat) -> FrameFormat:
    """Return the format of mattes for frames of `fmt`: YUV of 8 bits in full range."""
    if fmt.is_rgb or fmt.was_rgb:
        matrix = fr.default_matrix(fmt.height)
        return replace(fmt, pix_fmt="yuv420p", matrix=matrix, range=fr.FULL, was_rgb=False)
    return replace(fmt, pix_fmt=fr.with_bit_depth(fmt.pix_fmt, 8), range=fr.FULL)


def _matte_image(alpha: Plane, fmt: FrameFormat) -> av.VideoFrame:
    """Return a grey image of (H, W) uint8 alpha for frames of `fmt`."""
    image = matte_format(fmt).new_image()
    luma, *chroma = fr.planes(image)
    luma[:] = alpha
    for plane in chroma:
        plane[:] = NEUTRAL_CHROMA
    return image


def _set_alpha(image: av.VideoFrame, alpha: Plane) -> None:
    """Write (H, W) uint8 alpha into the last plane of an image of 8 or 10 bits."""
    rows = fr.planes(image)[-1]
    rows[:] = alpha if rows.dtype == np.uint8 else TO_TEN_BITS[alpha]


def _padded(plane: Plane, width: int, height: int) -> Plane:
    """Return (height, width), the last column and row repeated where the plane is smaller."""
    bottom, right = height - plane.shape[0], width - plane.shape[1]
    if not bottom and not right:
        return plane
    padded: Any = cv2.copyMakeBorder(plane, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    return padded


def encoded_format(encoder: Encoder, given: FrameFormat, warnings: list[str]) -> FrameFormat:
    """Return the size, range and tags in which frames of a format are encoded.

    Its `pix_fmt` is still the frame's; the encoder may be given another, see `Encoder.pixels`.

    Args:
        warnings: is appended to, a line for what has to change.
    """
    codec, fmt = encoder.codec, encoder.format(given)
    pixels = encoder.pixels(fmt)
    if given.is_rgb or given.was_rgb:
        has_all_chroma = given.was_rgb and (encoder.alpha or pixels == given.pix_fmt)
        if not fmt.is_rgb and not has_all_chroma:
            warnings.append(f"RGB video is encoded as {pixels} by {codec.encoder}")
    elif not encoder.alpha and pixels not in (fmt.pix_fmt, "nv12", "p010le"):
        warnings.append(f"{codec.encoder} takes no {fmt.pix_fmt}; encoded as {pixels}")
    width, height = encoder.size(fmt)
    if (width, height) != (fmt.width, fmt.height):
        warnings.append(
            f"{fmt.width}x{fmt.height} is odd, which {codec.encoder} cannot hold in "
            f"{pixels}: padded to {width}x{height} by repeating the last column or row"
        )
    color_range = fr.LIMITED if codec.limited_range_only else fmt.range
    return replace(fmt, width=width, height=height, range=color_range)
