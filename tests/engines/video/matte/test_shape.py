"""Islands, size and softness of a matte."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.video.matte.shape import erode, feather, remove_islands


def disc(radius: int, side: int = 101) -> np.ndarray:
    """(side, side) uint8: 255 within `radius` of the middle."""
    plane = np.zeros((side, side), np.uint8)
    return cv2.circle(plane, (side // 2, side // 2), radius, 255, -1)


def radius_of(alpha: np.ndarray) -> float:
    return float(np.sqrt(alpha.sum(dtype=float) / 255 / np.pi))


def test_islands_go_and_persons_stay() -> None:
    """A part under the share goes with its faint rim, one over it stays as it is, to the bit."""
    alpha = np.zeros((80, 120), np.float32)
    alpha[10:70, 10:50] = 0.9  # 2400 pixels
    alpha[20:44, 70:90] = 0.8  # 480: a fifth
    alpha[60:64, 100:106] = 1.0  # 24: a hundredth
    alpha[64, 106] = 0.5  # touches it by a corner
    alpha[59, 100:106] = 0.05
    alpha[5, 60:110] = 0.08  # haze
    alpha[9, 10:50] = 0.04  # the large part's own rim
    for i in range(8):
        alpha[70 + i, 50 + i] = 0.9  # held by corners only
    assert remove_islands(alpha, 0) is alpha
    kept = remove_islands(alpha, 0.05)
    np.testing.assert_array_equal(kept[:, :60], alpha[:, :60])
    np.testing.assert_array_equal(kept[15:50, 60:95], alpha[15:50, 60:95])
    assert kept[55:, 95:].max() == 0
    assert kept[5].max() == 0
    alone = remove_islands(alpha, 0.5)
    np.testing.assert_array_equal(alone[:, :60], alpha[:, :60])
    assert alone[:, 60:].max() == 0


@pytest.mark.parametrize("level", [0.0, 0.05, 1.0])
def test_islands_of_an_even_matte(level: float) -> None:
    """Nobody stays nobody, haze alone goes, all person stays."""
    alpha = np.full((20, 30), level, np.float32)
    assert remove_islands(alpha, 0.01).max() == (1.0 if level == 1 else 0.0)


def test_more_parts_than_labels_of_16_bits() -> None:
    """A matte of nothing but specks keeps them all: they are alike."""
    alpha = np.zeros((600, 600), np.float32)
    alpha[::2, ::2] = 1
    np.testing.assert_array_equal(remove_islands(alpha, 0.5), alpha)


@pytest.mark.parametrize("pixels", [-7, -1, 0, 1, 2, 7])
def test_erode_moves_the_edge(pixels: int) -> None:
    """By so many pixels on every side; nothing is written to the matte itself."""
    alpha = disc(30)
    before = alpha.copy()
    moved = erode(alpha, pixels)
    np.testing.assert_array_equal(alpha, before)
    assert radius_of(alpha) - radius_of(moved) == pytest.approx(pixels, abs=0.6)
    top = int(np.flatnonzero(moved[:, 50])[0])
    assert top == 20 + pixels


@pytest.mark.parametrize("pixels", [0, 1, 4, 10])
def test_feather_fades_about_the_edge(pixels: int) -> None:
    """The edge stays in the middle of the fade; beyond `pixels` to either side 3 % or less."""
    alpha = np.zeros((60, 120), np.uint8)
    alpha[:, 60:] = 255
    soft = feather(alpha, pixels)[30].astype(int)
    if not pixels:
        np.testing.assert_array_equal(soft, alpha[30])
        return
    assert abs(soft[59] + soft[60] - 255) <= 2
    assert soft[60 - pixels - 1] <= 8
    assert soft[60 + pixels] >= 247
    assert (np.diff(soft) >= 0).all()
    assert ((soft > 0) & (soft < 255)).sum() >= pixels
