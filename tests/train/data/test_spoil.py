"""The spoilt twin of a fine mask."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from train.data.spoil import spoilt


def fine(width: int = 160, height: int = 192) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 3, height // 3), 0, 0, 360, 255, -1)
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), width / 80), np.uint8)


def test_each_way_has_its_share_and_a_mask_stays_one() -> None:
    mask = fine()
    grew = shrank = hard = same = 0
    for seed in range(400):
        twin = spoilt(np.random.default_rng(seed), mask)
        assert twin.shape == mask.shape
        assert twin.dtype == np.uint8
        both, either = np.minimum(twin, mask).sum(), np.maximum(twin, mask).sum()
        assert 0.8 < both / either <= 1, seed
        change = twin.mean() / mask.mean()
        grew, shrank = grew + (change > 1.02), shrank + (change < 0.98)
        hard += set(np.unique(twin)) == {0, 255}
        same += np.array_equal(twin, mask)
    assert 40 < grew < 160
    assert 40 < shrank < 160
    assert 60 < hard < 140, "thresholded, and not enlarged again"
    assert 10 < same < 45, "a sixteenth"


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_it_is_as_strong_at_another_size(scale: float) -> None:
    def loss(mask: np.ndarray) -> float:
        twins = [spoilt(np.random.default_rng(seed), mask) for seed in range(100)]
        return float(np.mean([np.abs(twin.astype(int) - mask).mean() for twin in twins]))

    assert loss(fine(round(160 * scale), round(192 * scale))) == pytest.approx(
        loss(fine()), rel=0.1
    )


def test_an_empty_mask_stays_empty() -> None:
    empty = np.zeros((16, 16), np.uint8)
    assert not any(spoilt(np.random.default_rng(seed), empty).any() for seed in range(30))
