"""RGB copies of frames."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from engines.video import frame as fr
from tests.engines.video.compose.helpers import (
    KR_KB,
)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [fr.BT601, fr.BT709])
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (48, 21), (100, 70)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_rgb_copies_have_the_standards_colours(
    pix_fmt: str, size: tuple[int, int], matrix: int, full: bool
) -> None:
    """Flat colours at any size: to the nearest level, neither rounded down nor lifted."""
    fmt = fr.FrameFormat(64, 64, pix_fmt, matrix, fr.FULL if full else fr.LIMITED)
    one = (fmt.peak + 1) // 256  # level of 8 bits
    scaler, rng, errors = fr.RgbScaler(fmt), np.random.default_rng(0), []
    kr, kb = KR_KB[matrix]
    for _ in range(100):
        image = fmt.new_image()
        levels = rng.integers(np.array([60, 112, 112]) * one, np.array([180, 145, 145]) * one)
        for plane, level in zip(fr.planes(image), levels, strict=True):
            plane[:] = level
        levels = levels - np.array([0 if full else 16, 128, 128]) * one
        y, cb, cr = levels / (fmt.peak if full else np.array([219, 224, 224]) * one)
        red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        rgb = scaler(image, *size)
        assert rgb.shape == (*size[::-1], 3)
        errors.append(rgb - 255 * np.array([red, green, blue]))
    assert np.abs(errors).max() <= 1
    white = 1020 if full and fmt.bit_depth == 10 else fmt.peak  # as libswscale has it
    assert np.abs(np.mean(errors, (0, 1, 2))).max() <= 0.2 + 128 * (fmt.peak / white - 1)


def test_rgb_copies_are_the_same_from_several_threads() -> None:
    """One scaler called by four threads at once gives what it gives one."""
    fmt = fr.FrameFormat(320, 240)
    images = []
    for seed in range(4):
        images.append(fmt.new_image())
        for plane in fr.planes(images[-1]):
            plane[:] = np.random.default_rng(seed).integers(16, 236, plane.shape, np.uint8)
    sizes = [(64 + 13 * i, 64 + 7 * i) for i in range(8)]
    scaler = fr.RgbScaler(fmt)
    alone = {(i, s): scaler(p, *s) for i, p in enumerate(images) for s in sizes}
    with ThreadPoolExecutor(4) as pool:
        given = [*alone] * 8
        for (i, s), rgb in zip(
            given, pool.map(lambda g: scaler(images[g[0]], *g[1]), given), strict=True
        ):
            np.testing.assert_array_equal(rgb, alone[i, s])
