from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.datasets.composites import choose_backgrounds, composite, cover, extend_foreground
from tests.engines.datasets.conftest import cutout


def test_composites_follow_equation_1() -> None:
    rgba = cutout()
    background = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    image, alpha = composite(rgba, background)
    assert (alpha == rgba[..., 3]).all()
    a = alpha[..., None] / 255
    colour = np.array([10, 20, 200])  # everywhere: the green edge is not to be seen again
    assert (image == np.floor(a * colour + (1 - a) * background + 0.5)).all()


def test_extended_foreground_keeps_what_is_opaque() -> None:
    rgba = cutout()
    rgba[20, 20, :3] = (1, 2, 3)
    extended = extend_foreground(rgba)
    solid = rgba[..., 3] >= 230
    assert (extended[solid] == rgba[solid]).all()
    assert (extended[..., 3] == rgba[..., 3]).all()
    assert (extended[0, 0, :3] == (10, 20, 200)).all()
    nobody = np.zeros((3, 3, 4), np.uint8)
    assert (extend_foreground(nobody) == nobody).all()


@pytest.mark.parametrize("size", [(30, 40), (333, 77), (1000, 900), (5, 5), (30, 400)])
def test_backgrounds_cover_the_frame_from_their_middle(size: tuple[int, int]) -> None:
    h, w = size
    image = np.zeros((h, w, 3), np.uint8)
    image[..., 0] = np.linspace(0, 255, w)
    image[..., 1] = np.linspace(0, 255, h)[:, None]
    covered = cover(image, 30, 40).astype(int)
    assert covered.shape == (40, 30, 3)
    # Symmetric about the middle, and no border is made up.
    assert np.abs(covered[..., 0] + covered[:, ::-1, 0] - 255).max() <= 20
    assert np.abs(covered[..., 1] + covered[::-1, :, 1] - 255).max() <= 20


def test_shrinking_averages() -> None:
    squares = np.indices((400, 300)).sum(0) % 2 * 255
    covered = cover(np.dstack([squares] * 3).astype(np.uint8), 30, 40)
    assert np.abs(covered.astype(int) - 128).max() <= 1


def test_the_choice_of_backgrounds_is_fixed() -> None:
    backgrounds = [Path(f"{i}.jpg") for i in range(20)]
    chosen = choose_backgrounds("set/anna", backgrounds)
    # A change here makes all earlier figures incomparable.
    assert [p.name for p in chosen] == ["6.jpg", "11.jpg", "10.jpg"]
    assert choose_backgrounds("set/anna", backgrounds[::-1]) == chosen
    assert choose_backgrounds("set/bert", backgrounds) != chosen
    rest = [p for p in backgrounds if p != chosen[0]]
    assert choose_backgrounds("set/anna", rest)[:2] == chosen[1:]
