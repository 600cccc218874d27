"""The rule by which a mask and a finer alpha become a label and its weight."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from train.config import load
from train.data.blend import MAX_HEIGHT, BlendRule, blend, near_edge

RULE = BlendRule.of(load("paper", "student"))
PERSON = np.s_[40:440, 100:260]  # 400 pixels high: a radius of 6
RADIUS = 6.0


@pytest.fixture
def mask() -> np.ndarray:
    """Return a standing block in an image of 480×360."""
    image = np.zeros((480, 360), np.uint8)
    image[PERSON] = 255
    return image


def soft(mask: np.ndarray, sigma: float = 4.0) -> np.ndarray:
    """Return an alpha that falls off around the mask's edge."""
    return cv2.GaussianBlur(mask, (0, 0), sigma)


def stretched(alpha: np.ndarray) -> np.ndarray:
    """Return an alpha as the rule reads it: 3 and 97 % are its ends."""
    return np.clip((alpha / 255 - 0.03) / 0.94, 0, 1) * 255


def test_along_an_edge_the_alpha_counts_up_to_the_radius(mask: np.ndarray) -> None:
    """In the middle of the left edge, the distance of a column is known."""
    fine = soft(mask)
    label, weight = blend(mask, fine, RULE)
    assert (weight == 255).all()
    columns = np.arange(360)
    distance = np.abs(columns + 0.5 - 100)
    share = np.clip((1.4 * RADIUS - distance) / (0.4 * RADIUS), 0, 1)
    s, m = mask[240].astype(float), stretched(fine[240])
    left = slice(60, 140)
    assert np.abs(label[240, left] - (share * m + (1 - share) * s)[left]).max() <= 1.5
    assert (label[240, 95:105] == np.rint(m[95:105])).all()
    far = (columns < 100 - 9) | ((columns >= 100 + 9) & (columns < 180))
    assert (label[240, far] == mask[240, far]).all()


def test_levels_of_a_mask_are_person_or_not(mask: np.ndarray) -> None:
    grey = np.where(mask > 0, 128, 127).astype(np.uint8)
    for found, expected in zip(
        blend(grey, soft(mask), RULE), blend(mask, soft(mask), RULE), strict=True
    ):
        assert (found == expected).all()


@pytest.mark.parametrize(("inside", "shirt"), [(True, 0), (False, 255)])
def test_where_they_mean_different_things_pixels_have_no_weight(
    mask: np.ndarray, inside: bool, shirt: int
) -> None:
    """The alpha drops a shirt, or adds a chair, on the left of the lower half."""
    fine = soft(mask)
    part = np.s_[300:400, 100:180] if inside else np.s_[300:400, 20:100]
    fine[part] = shirt
    label, weight = blend(mask, fine, RULE)
    near = np.s_[320:380, 94:106]
    assert (weight[near] == 0).all()
    assert (label[near] == mask[near]).all(), "the label is the mask there"
    beyond = np.s_[320:380, 108:117] if inside else np.s_[320:380, 83:92]
    assert (weight[beyond] == 0).all(), "up to three radii on the side that differs"
    assert (weight[320:380, 119:180] == 255).all()
    assert (weight[320:380, 20:81] == 255).all(), "deep inside a chair the mask is right"
    assert (weight[:270] == 255).all()
    assert (label[:270] == blend(mask, soft(mask), RULE)[0][:270]).all()
    half = blend(mask, fine, replace(RULE, doubt=0.5))
    assert (half[0] == label).all()
    assert (half[1] == np.where(weight == 0, 128, 255)).all()


def test_without_agreement_the_alpha_counts_near_every_edge(mask: np.ndarray) -> None:
    fine = soft(mask)
    fine[300:400, 100:180] = 0
    label, weight = blend(mask, fine, replace(RULE, agreement=0.0))
    near = np.s_[320:380, 95:105]
    assert (label[near] == np.rint(stretched(fine[near]))).all()
    assert (weight[near] == 255).all()


def test_the_alpha_alone_is_a_rule_too(mask: np.ndarray) -> None:
    """For comparison: a radius of the whole person, nothing asked, nothing doubted."""
    fine = soft(mask)
    fine[300:400, 100:180] = 0
    label, weight = blend(mask, fine, BlendRule(1.0, 0.0, 1.0))
    assert np.abs(label - stretched(fine)).max() < 0.51  # rounded
    assert (weight == 255).all()


@pytest.mark.parametrize(
    ("height", "radius"), [(40, 3.0), (200, 3.0), (400, 6.0), (800, 12.0), (1500, 14.0)]
)
def test_the_radius_follows_the_tallest_person(height: int, radius: float) -> None:
    """A grey alpha shows how far it reaches; a small person beside a tall one has her radius."""
    mask = np.zeros((1600, 400), np.uint8)
    mask[20 : 20 + height, 200:380] = 255
    mask[20:40, 60:100] = 255
    label, _ = blend(mask, np.full_like(mask, 128), replace(RULE, agreement=0.0))
    row = 20 + height // 2
    reach = [x for x in range(150, 200) if label[row, x] == 128]
    assert 200 - reach[0] == int(radius + 0.5)
    assert round(MAX_HEIGHT * 0.015, 6) == 14


@pytest.mark.parametrize("value", [0, 255])
def test_nobody_and_nothing_but_somebody_have_no_edge(value: int) -> None:
    mask = np.full((30, 20), value, np.uint8)
    label, weight = blend(mask, 255 - mask, RULE)
    assert (label == mask).all()
    assert (weight == 255).all()
    assert not near_edge(mask).any()


def test_thin_limbs_are_trusted_where_the_alpha_has_them(mask: np.ndarray) -> None:
    """An arm thinner than a radius has no inside to ask; what is left of it must do."""
    mask[200:206, 260:340] = 255
    weight = blend(mask, soft(mask, 1.0), RULE)[1]
    assert (weight[190:216, 275:330] == 255).all()
    without = mask.copy()
    without[190:216, 270:340] = 0
    weight = blend(mask, soft(without, 1.0), RULE)[1]
    assert (weight[198:208, 285:330] == 0).all()


def test_beyond_the_radius_a_difference_counts_where_the_alpha_hardly_does(
    mask: np.ndarray,
) -> None:
    """A very soft edge: pixels that are mostly alpha may teach, those that are mask may not."""
    fine = soft(mask, 15.0)
    weight = blend(mask, fine, replace(RULE, agreement=0.6))[1][240]
    distance = 100 - (np.arange(360) + 0.5)
    far = np.abs(stretched(fine[240]) - mask[240]) > 0.25 * 255
    assert (weight[(distance > 0) & (distance < 1.2 * RADIUS)] == 255).all()
    assert (weight[(distance > 1.2 * RADIUS + 0.5) & far] == 0).all()
    assert ((distance > 1.2 * RADIUS + 0.5) & far).any()
    assert (weight[(distance > 0) & ~far] == 255).all()


def test_a_single_pixel_deep_inside_decides_nothing(mask: np.ndarray) -> None:
    """A dot that is hardly wider than two radii, of whose middle the alpha knows nothing."""
    mask[300:313, 300:313] = 255
    fine = mask.copy()
    fine[305:308, 305:308] = 0
    weight = blend(mask, fine, RULE)[1]
    assert (weight[290:304, 290:323] == 255).all()


def test_the_edge_is_as_wide_as_asked(mask: np.ndarray) -> None:
    assert np.flatnonzero(near_edge(mask)[240, :180]).tolist() == [97, 98, 99, 100, 101, 102]
