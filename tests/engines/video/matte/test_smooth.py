"""A matte over time: calm where the image is, never late where it is not."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines import models
from engines.engine import open_engine
from engines.measure.quality.clips import Part, read
from engines.measure.quality.metrics import mad, unchanged
from engines.preprocess import fit
from engines.video.matte.smooth import Smoother
from tests.outlines import PERSON, WALL, over, soft_person, textured

STRENGTH = 0.8


def trembling(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(H, W) uint8 alpha as a network might give it: float32 with errors of its own each time."""
    error = cv2.GaussianBlur(rng.normal(size=alpha.shape).astype(np.float32), (0, 0), 2)
    edge = cv2.GaussianBlur(((alpha > 0) & (alpha < 255)).astype(np.float32), (0, 0), 2)
    return np.clip(alpha / np.float32(255) + edge * error, 0, 1).astype(np.float32)


def flicker(alphas: list[np.ndarray]) -> float:
    return float(np.mean([mad(b, a) for a, b in pairwise(alphas)]))


def still(rng: np.random.Generator, noise: float = 1.0) -> np.ndarray:
    """An image of a person, as a camera that stands sees it: a little noise is new each time."""
    alpha = soft_person()
    height, width = alpha.shape
    rgb = over(alpha, textured(PERSON, width, height, 0), textured(WALL, width, height, 1))
    return np.clip(rgb + rng.normal(0, noise, rgb.shape), 0, 255).astype(np.uint8)


def test_what_stands_still_is_calm() -> None:
    """Errors that are new each time are averaged away: half the flicker goes, and error too."""
    rng, alpha, smooth = np.random.default_rng(0), soft_person(), Smoother(STRENGTH)
    raw = [trembling(alpha, rng) for _ in range(20)]
    calm = [smooth(still(rng), a) for a in raw]
    assert flicker(calm[5:]) < 0.5 * flicker(raw[5:])
    assert mad(calm[-1], alpha / 255) < 0.8 * mad(raw[-1], alpha / 255)


@pytest.mark.parametrize("speed", [1, 3, 9])
def test_what_moves_is_not_late(speed: int) -> None:
    """A person who walks, in pixels of a small matte each frame: MAD is at most 2 % worse."""
    rng, alpha, smooth = np.random.default_rng(1), soft_person(), Smoother(STRENGTH)
    height, width = alpha.shape
    wall, person = textured(WALL, width, height, 1), textured(PERSON, width, height, 0)
    error: tuple[list[float], list[float]] = [], []
    for t in range(16):
        shift = (t - 8) * speed
        truth = np.roll(alpha, shift, axis=1)
        rgb = over(truth, np.roll(person, shift, axis=1), wall)
        raw = trembling(truth, rng)
        for own, seen in zip(error, (raw, smooth(rgb, raw)), strict=True):
            own.append(mad(seen, truth / 255))
    assert np.mean(error[1]) < 1.02 * np.mean(error[0])


def test_beside_much_motion_the_past_counts_less() -> None:
    """Where nothing moves, a new alpha is taken up sooner the nearer and the larger a motion is."""
    taken = {}
    for moving in (0, 60):
        rng, smooth = np.random.default_rng(4), Smoother(STRENGTH)
        for level in (0.0, 0.1):
            rgb = np.full((120, 240, 3), 90, np.uint8)
            rgb[:, :moving] = rng.integers(0, 256, (120, moving, 3), np.uint8)
            calm = smooth(rgb, np.full((120, 240), level, np.float32))
        taken[moving] = calm[60]
    assert np.ptp(taken[0]) == 0
    assert taken[60][80] > 2 * taken[0][80]
    assert taken[60][239] == pytest.approx(taken[0][239])
    assert (np.diff(taken[60][70:]) <= 1e-6).all()


def test_nothing_is_left_after_a_cut() -> None:
    """The first frame, and the first of another scene, are what the network said to the bit."""
    rng, smooth = np.random.default_rng(2), Smoother(STRENGTH)
    alphas = [trembling(soft_person(), rng) for _ in range(6)]
    scenes = [still(rng), 255 - still(rng)]
    for i, alpha in enumerate(alphas):
        calm = smooth(scenes[i // 3], alpha)
        assert np.array_equal(calm, alpha) == (i % 3 == 0)


def test_a_frame_of_another_size_begins_anew() -> None:
    """A size that changes, back and forth and down to one pixel, starts from the frame itself."""
    rng, smooth = np.random.default_rng(3), Smoother(STRENGTH)
    for width, height in ((64, 48), (48, 64), (1, 1), (2, 3), (64, 48)):
        rgb = rng.integers(0, 256, (height, width, 3), np.uint8)
        for is_first in (True, False):
            alpha = rng.random((height, width)).astype(np.float32)
            before = alpha.copy()
            calm = smooth(rgb, alpha)
            assert calm.shape == alpha.shape
            assert np.array_equal(calm, alpha) == is_first
            np.testing.assert_array_equal(alpha, before)


def test_strength_nothing_changes_nothing() -> None:
    """The same arrays come back."""
    smooth, rgb = Smoother(0), np.zeros((8, 8, 3), np.uint8)
    for level in (0.0, 1.0):
        alpha = np.full((8, 8), level, np.float32)
        assert smooth(rgb, alpha) is alpha


def test_a_change_of_mind_is_followed() -> None:
    """Alpha that goes to another value and stays there, without any motion, gets there."""
    smooth, rgb = Smoother(STRENGTH), np.full((32, 32, 3), 90, np.uint8)
    smooth(rgb, np.zeros((32, 32), np.float32))
    calm = [smooth(rgb, np.ones((32, 32), np.float32)).mean() for _ in range(12)]
    assert calm == sorted(calm)
    assert calm[0] < 0.3
    assert calm[-1] > 0.99


def test_a_newsreader(shared_data: Path) -> None:
    """Ten frames of Akiyo: three tenths of the shipped model's flicker go."""
    clip = shared_data / "video/person/akiyo_cif.mp4"
    engine, smooth = open_engine(models.find(None)), Smoother(STRENGTH)
    before = None
    change: tuple[list[float], list[float]] = [], []
    for _, rgb in read(Part(clip, 0, 9)):
        f = fit(rgb.shape[1], rgb.shape[0], engine.spec.size, engine.spec.stride)
        small = f.shrink(rgb)
        raw = f.unpad(engine(small[np.newaxis])[0])
        now = raw, smooth(f.unpad(small), raw)
        if before is not None:
            at_rest = unchanged(before[0], f.unpad(small))
            for own, a, b in zip(change, before[1], now, strict=True):
                own.append(mad(b, a, at_rest))
        before = f.unpad(small), now
    assert np.mean(change[1]) < 0.7 * np.mean(change[0])
