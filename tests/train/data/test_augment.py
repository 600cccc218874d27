"""Crops, composites and photometric changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.train.data.recipes import recipe
from train.data import augment
from train.data.augment import Labelled
from train.data.samples import Samples


def test_composite_is_equation_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without photometric changes, I = αF + (1 - α)B at every pixel, soft edges included."""
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    rgba = np.zeros((60, 40, 4), np.uint8)
    rgba[..., :3] = (200, 100, 50)
    rgba[10:50, 10:30, 3] = 255
    rgba[..., 3] = cv2.GaussianBlur(rgba[..., 3], (0, 0), 3)
    background = np.full((80, 80, 3), 30, np.uint8)
    soft = exact = 0
    for seed in range(20):
        image, alpha, _ = augment.composite(np.random.default_rng(seed), [rgba], background, 64)
        assert image.shape == (64, 64, 3)
        assert alpha.shape == (64, 64)
        assert (image[alpha == 0] == 30).all()
        a = alpha[..., None] / 255
        off = np.abs(image - (a * np.array([200.0, 100.0, 50.0]) + (1 - a) * 30))
        exact += int(off.max() <= 1)  # the light of the place is not pulled in half of them
        soft += int(((alpha > 20) & (alpha < 235)).any())
    assert soft >= 15
    assert 5 <= exact <= 18


def low_contrast(
    monkeypatch: pytest.MonkeyPatch, people: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield 20 composites on grey 30, whose background is shifted, and their alpha."""
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    rgba = np.full((60, 40, 4), (230, 130, 80, 0), np.uint8)
    rgba[10:50, 10:30, 3] = 255
    background = np.full((80, 80, 3), 30, np.uint8)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = augment.composite(rng, [rgba] * people, background, 64, low_contrast=1.0)
        yield made.image, made.alpha


def test_low_contrast_shifts_the_background_towards_the_person(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By 0.3 to 0.9 of the way, and alpha is still exact."""
    for image, alpha in low_contrast(monkeypatch, people=1):
        assert (alpha == 255).any()
        person, behind = image[alpha == 255][0].astype(float), image[alpha == 0].astype(float)
        way = (behind - 30) / (person - 30)
        assert 0.25 < way.min() <= way.max() < 0.95
        assert np.ptp(way) < 0.1


def test_low_contrast_keeps_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The background is shifted before the first person is on it, not over the others."""
    for image, alpha in low_contrast(monkeypatch, people=3):
        behind = image[alpha == 0]
        if len(behind):
            assert not (image[alpha == 255] == behind[0]).all(1).any()


def test_contrast_is_of_foreground_and_background(monkeypatch: pytest.MonkeyPatch) -> None:
    """With it, alpha and background make the composite again: |I - B| = α |F - B|."""
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    people = []
    for grey in (200, 120):
        rgba = np.full((60, 40, 4), grey, np.uint8)
        rgba[..., 3] = 0
        rgba[10:50, 10:30, 3] = 230
        rgba[..., 3] = cv2.GaussianBlur(rgba[..., 3], (0, 0), 3)
        people.append(rgba)
    background, overlapping = np.full((80, 80, 3), 30, np.uint8), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        made = augment.composite(rng, people, background, 64, with_contrast=True)
        assert made.contrast is not None
        again = 30 + made.alpha / 255.0 * made.contrast
        seen = made.alpha > 0
        overlapping += int((np.unique(made.contrast[seen]).size) > 3)
        assert np.abs(again - made.image.mean(2))[seen].max() <= 1.5
    assert overlapping >= 5


def test_flat_edges_go_to_the_border_of_the_frame() -> None:
    rng = np.random.default_rng(1)
    rgba = np.zeros((60, 40, 4), np.uint8)
    rgba[20:, 8:32] = 255  # cut flat at the chest
    assert augment.flat_edges(rgba[..., 3]) == (False, False, True)
    for _ in range(30):
        _, alpha = augment.place(rng, rgba, 64)
        if alpha.any():
            columns = (alpha > 200).any(0)
            assert (alpha[-1, columns] > 100).all()


def test_crop_keeps_label_and_image_together() -> None:
    rng = np.random.default_rng(2)
    label = np.zeros((50, 90), np.uint8)
    label[10:40, 30:60] = 255
    image = np.repeat(label[..., None], 3, 2)
    for _ in range(20):
        crop = augment.zoom_crop(rng, Labelled(image, label, 255 - label), 48)
        assert (np.abs(crop.image[..., 0].astype(int) - crop.label) <= 1).all()
        assert (np.abs(255 - crop.weight.astype(int) - crop.label) <= 1).all()


def test_a_squashed_image_is_stretched_back_with_its_label_and_weight() -> None:
    rng = np.random.default_rng(2)
    label = np.zeros((60, 60), np.uint8)
    label[10:50, 20:40] = 255
    photo = Labelled(np.repeat(label[..., None], 3, 2), label, 255 - label)
    shapes = []
    for _ in range(200):
        found = augment.unsquash(rng, photo, 4 / 3)
        assert (np.abs(found.image[..., 0].astype(int) - found.label) <= 1).all()
        assert (np.abs(255 - found.weight.astype(int) - found.label) <= 1).all()
        assert found.label.mean() == pytest.approx(label.mean(), rel=0.02)
        shapes.append(found.label.shape)
    assert set(shapes) == {(60, 80), (80, 60)}
    assert 0.55 < np.mean([w > h for h, w in shapes]) < 0.75


def pasted(seed: int, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """White persons of a black photograph, pasted into a grey crop with nobody in it."""
    crop, nobody = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64), np.uint8)
    photo = np.repeat(mask[..., None], 3, 2)
    found = augment.paste(
        np.random.default_rng(seed), Labelled(crop, nobody), Labelled(photo, mask)
    )
    assert found.weight is None
    return found.image, found.label


def test_what_is_pasted_brings_its_own_weight_and_has_none_at_its_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The crop weighs 100, the person 200, and the person's upper half nothing."""
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    mask = np.zeros((50, 90), np.uint8)
    mask[10:40, 30:60] = 255
    own = np.full((50, 90), 200, np.uint8)
    own[:25] = 0
    photo = Labelled(np.repeat(own[..., None], 3, 2), mask, own)
    hundred = np.full((64, 64), 100, np.uint8)
    crop = Labelled(np.repeat(hundred[..., None], 3, 2), np.zeros_like(hundred), hundred)
    edges = 0
    for seed in range(30):
        found = augment.paste(np.random.default_rng(seed), crop, photo)
        wide = cv2.dilate(found.label, None) != cv2.erode(found.label, None)
        assert (found.weight[wide] == 0).all()
        near = cv2.dilate(found.label, None, iterations=3) != cv2.erode(
            found.label, None, iterations=3
        )
        # The image shows the weights that were painted there.
        off = np.abs(found.weight.astype(int) - found.image[..., 0])
        assert off[~near].max() <= 1
        edges += int(wide.sum())
    assert edges > 1000


def test_pasted_persons_are_where_the_label_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    mask = np.zeros((50, 90), np.uint8)
    mask[10:40, 30:60] = 255
    mask[20:30, 60:80] = 255  # not symmetric
    sizes = set()
    for seed in range(30):
        image, label = pasted(seed, mask)
        edge = cv2.dilate(label, None, iterations=3) != cv2.erode(label, None, iterations=3)
        assert (image[(label == 0) & ~edge] == 90).all()
        assert (image[(label == 255) & ~edge] == 255).all()
        sizes.add(int((label > 0).sum()))
    assert min(sizes) < 500 < 1500 < max(sizes)


def test_a_pasted_person_stays_cut_off_where_its_photograph_ended() -> None:
    mask = np.zeros((60, 40), np.uint8)
    mask[20:, 8:32] = 255
    for seed in range(30):
        _, label = pasted(seed, mask)
        columns = (label > 200).any(0)
        assert (label[-1, columns] > 200).all()


def test_pasting_adds_to_those_who_are_there_and_needs_somebody(dataset: Path) -> None:
    before = np.full((32, 32), 255, np.uint8)
    image = np.full((32, 32, 3), 7, np.uint8)
    for mask in (np.zeros((20, 20), np.uint8), np.full((20, 20), 255, np.uint8)):
        photo = np.zeros((20, 20, 3), np.uint8)
        found = augment.paste(
            np.random.default_rng(0), Labelled(image, before), Labelled(photo, mask)
        )
        assert (found.label == 255).all()
    samples = Samples(dataset, recipe(paste=0.5))
    count = [len(samples[(i, 64)]["name"].split()) for i in range(40)]
    assert 8 < count.count(2) < 32
    assert set(count) == {1, 2}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (7, 5)])
def test_the_smallest_and_narrowest_images_can_be_cropped(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 9, np.uint8)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        crop = augment.zoom_crop(rng, Labelled(image, np.full(size, 255, np.uint8)), 64)
        assert (crop.image == 9).all()
        assert (crop.label == 255).all()
        assert crop.weight is None


def test_strong_augmentation_keeps_the_frame() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, 0).repeat(3, 2)
    for seed in range(30):
        out = augment.strong(np.random.default_rng(seed), ramp)
        assert out.shape == ramp.shape
        assert out.dtype == np.uint8
        assert out[:, 40:].mean() > out[:, :24].mean()
