"""What lies hidden under an input's own alpha: it is seen nowhere, and what is seen is kept."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from engines.video import frame as fr
from engines.video.blend import NEUTRAL, at_planes, over, visible
from engines.video.compose.background import BlurredBackground
from engines.video.frame import Frame, FrameFormat
from tests.outlines import FORMATS

GREEN, SKIN = (0, 255, 0), (200, 150, 130)


def half_hidden(pix_fmt: str, alpha_left: int = 0) -> tuple[Frame, FrameFormat]:
    """A frame whose left half is green and has that alpha, its right half opaque skin."""
    rgb = np.full((48, 64, 3), SKIN, np.uint8)
    rgb[:, :32] = GREEN
    alpha = np.full((48, 64), 255, np.uint8)
    alpha[:, :32] = alpha_left
    fmt = FrameFormat(64, 48, pix_fmt, fr.BT601, fr.FULL if pix_fmt == "gbrp" else fr.LIMITED)
    image = fr.from_rgb(rgb, fmt)
    return Frame(image, fmt, 0, Fraction(1), alpha=alpha), fmt


@pytest.mark.parametrize("pix_fmt", FORMATS)
@pytest.mark.parametrize("alpha", [0, 3])  # lossy codecs leave a little
def test_what_is_hidden_is_grey(pix_fmt: str, alpha: int) -> None:
    frame, fmt = half_hidden(pix_fmt, alpha)
    assert frame.alpha is not None
    seen = fr.RgbScaler(fmt)(visible(frame.image, frame.alpha, fmt), 64, 48).astype(int)
    assert np.abs(seen[:, :30] - NEUTRAL).max() <= 2
    assert np.abs(seen[:, 34:] - SKIN).max() <= 3


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_what_is_seen_in_part_keeps_its_colour(pix_fmt: str) -> None:
    """Straight alpha: how much of it is seen, the matte says."""
    frame, fmt = half_hidden(pix_fmt, 128)
    assert frame.alpha is not None
    for before, after in zip(
        fr.planes(frame.image), fr.planes(visible(frame.image, frame.alpha, fmt)), strict=True
    ):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_over_a_colour(pix_fmt: str) -> None:
    frame, fmt = half_hidden(pix_fmt, 64)
    assert frame.alpha is not None
    done = over(frame.image, at_planes(frame.alpha, fmt), (250, 20, 90), fmt)
    rgb = fr.RgbScaler(fmt)(done, 64, 48).astype(int)
    mixed = (64 * np.array(GREEN) + 191 * np.array((250, 20, 90))) / 255
    assert np.abs(rgb[:, :30] - mixed).max() <= 4
    assert np.abs(rgb[:, 34:] - SKIN).max() <= 3


@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_a_blur_shows_no_more_than_the_input(pix_fmt: str) -> None:
    """What is hardly seen in the input is hardly seen behind the person."""
    frame, fmt = half_hidden(pix_fmt, 20)
    assert frame.alpha is not None
    frame = replace(frame, image=visible(frame.image, frame.alpha, fmt))
    nobody = at_planes(np.zeros((48, 64), np.uint8), fmt)
    behind = fmt.new_image()
    for target, plane in zip(
        fr.planes(behind), BlurredBackground(3).planes(frame, nobody), strict=True
    ):
        target[:] = plane
    rgb = fr.RgbScaler(fmt)(behind, 64, 48).astype(int)
    expected = (20 * np.array(GREEN) + 235 * np.array(NEUTRAL)) / 255
    assert np.abs(rgb[:, :16] - expected).max() <= 4
