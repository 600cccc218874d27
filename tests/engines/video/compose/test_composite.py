"""The compositing rule is exact: before any encoder, through the parts a real run is made of."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Interpolation

from engines.engine import open_engine
from engines.video import frame as fr
from engines.video.blend import blend
from engines.video.compose.composite import composite
from engines.video.compose.open import open_background
from engines.video.matte.network import Network
from engines.video.matte.postprocess import MattePostprocessor
from engines.video.read.open import open_source
from tests.engines.video.compose.helpers import (
    FORMATS,
    KR_KB,
    NOTHING,
    SIZES,
    composites,
    noise,
    noise_image,
    originals,
)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("pix_fmt", "full"), FORMATS)
def test_all_person_is_the_input(
    tmp_path: Path, ones: Path, pix_fmt: str, full: bool, width: int, height: int
) -> None:
    """Alpha 1 everywhere: every sample of every plane is the input's."""
    clip, shown = noise(tmp_path, pix_fmt, width, height, full), 0
    bit_depth = fr.FrameFormat(1, 1, pix_fmt).bit_depth
    results = composites(clip, ones, "#ff0000", bit_depth=bit_depth)
    for before, result in zip(originals(clip, bit_depth), results, strict=True):
        fmt = result.frame.format
        assert (fmt.width, fmt.height, fmt.pix_fmt) == (width, height, pix_fmt)
        assert fmt.range == (fr.FULL if full else fr.LIMITED)
        assert result.alpha.min() == 255
        assert result.composite is not None
        for a, b in zip(before, fr.planes(result.composite), strict=True):
            np.testing.assert_array_equal(a, b)
        shown += 1
    assert shown == (1 if pix_fmt == "gbrp" else 3)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("pix_fmt", "full"), FORMATS)
def test_nobody_is_the_background(
    tmp_path: Path, zeros: Path, pix_fmt: str, full: bool, width: int, height: int
) -> None:
    """Alpha 0 everywhere: every sample of every plane is the background image's."""
    clip = noise(tmp_path, pix_fmt, width, height, full)
    behind = noise_image(tmp_path / "behind.png", width, height)
    rgb = np.ascontiguousarray(cv2.imread(str(behind))[..., ::-1])
    how = {} if pix_fmt == "gbrp" else {"dst_colorspace": fr.BT709}
    expected = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format=pix_fmt,
        src_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        threads=1,
        **how,
    )
    for result in composites(
        clip, zeros, str(behind), bit_depth=fr.FrameFormat(1, 1, pix_fmt).bit_depth
    ):
        assert result.alpha.max() == 0
        assert result.composite is not None
        for a, b in zip(fr.planes(expected), fr.planes(result.composite), strict=True):
            np.testing.assert_array_equal(a, b)
        if pix_fmt != "gbrp":
            fmt, (kr, kb) = result.frame.format, KR_KB[fr.BT709]
            luma = rgb @ np.array([kr, 1 - kr - kb, kb])
            steps = fmt.peak if full else 219 * (fmt.peak + 1) / 256
            levels = luma * steps / 255 + (0 if full else (fmt.peak + 1) / 16)
            assert np.abs(fr.planes(result.composite)[0] - levels).max() <= 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "gbrp"])
def test_nobody_on_a_colour_is_flat(tmp_path: Path, zeros: Path, pix_fmt: str, full: bool) -> None:
    """A colour has the standard's levels, to the last column and row of an odd size."""
    clip = noise(tmp_path, pix_fmt, 67, 49, full)
    red, green, blue = 0x33, 0x66, 0xCC
    kr, kb = KR_KB[fr.BT709]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if pix_fmt == "gbrp":
        levels: list[float] = [green, blue, red]
    elif full:
        levels = [luma, 128 + cb, 128 + cr]
    else:
        levels = [16 + luma * 219 / 255, 128 + cb * 224 / 255, 128 + cr * 224 / 255]
    for result in composites(clip, zeros, "#3366cc"):
        assert result.composite is not None
        for plane, level in zip(fr.planes(result.composite), levels, strict=True):
            assert np.abs(plane - level).max() <= 1


def test_decoded_frames_are_not_written_to(tmp_path: Path, brightness: Path) -> None:
    """The composite is a new image; the decoder's own stays as it was."""
    clip = noise(tmp_path, "yuv420p", 64, 48, full=False)
    network, postprocess = Network(open_engine(brightness), 64), MattePostprocessor(NOTHING)
    behind = open_background("blur")
    with open_source(clip) as source:
        for item in source.items():
            assert isinstance(item, fr.Frame)
            before = [p.copy() for p in fr.planes(item.image)]
            composite(postprocess(*network.infer(network.scale(item))), behind)
            for a, b in zip(before, fr.planes(item.image), strict=True):
                np.testing.assert_array_equal(a, b)


def test_blend_is_exact_for_every_level() -> None:
    """All 256³ of foreground, background and alpha, against integers, rounded to nearest."""
    foreground, background = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)
    out = np.empty_like(foreground)
    bias = 0.0
    for level in range(256):
        blend(foreground, background, np.full_like(foreground, level), out)
        sums = foreground.astype(np.int32) * level + background.astype(np.int32) * (255 - level)
        np.testing.assert_array_equal(out, (2 * sums + 255) // 510)
        bias += float((out - sums / 255).mean()) / 256
    assert abs(bias) <= 0.01


def test_blend_is_exact_in_ten_bits() -> None:
    """1024² of foreground and background under alphas from end to end, likewise."""
    foreground, background = np.meshgrid(*[np.arange(1024, dtype=np.uint16)] * 2)
    out = np.empty_like(foreground)
    for level in (0, 1, 64, 127, 128, 254, 255):
        blend(foreground, background, np.full(out.shape, level, np.uint8), out)
        sums = foreground.astype(np.int32) * level + background.astype(np.int32) * (255 - level)
        np.testing.assert_array_equal(out, (2 * sums + 255) // 510)


def test_blend_takes_views_and_any_number_of_rows() -> None:
    """Planes with padded rows, and heights on either side of a strip's, are done whole."""
    rng = np.random.default_rng(2)
    for height in (1, 63, 64, 65, 200):
        a, b, alpha = rng.integers(0, 256, (3, height, 50), np.uint8)
        wide = np.zeros((height, 64), np.uint8)
        blend(a, b, alpha, wide[:, :50])
        sums = a.astype(np.int32) * alpha + b.astype(np.int32) * (255 - alpha.astype(np.int32))
        np.testing.assert_array_equal(wide[:, :50], (2 * sums + 255) // 510)
        assert not wide[:, 50:].any()
