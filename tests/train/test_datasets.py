from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from engines.errors import BadData
from engines.measure.layout import list_backgrounds, list_cutouts, list_pairs
from train import augment
from train.config import Recipe, Stage
from train.datasets import Batches, Samples

RECIPE = Recipe("r18x0.25", (Stage(64, 4, 3), Stage(96, 2, 2)), composites=0.5, empty=0.1)


def test_layout_is_found_and_splits_are_kept_apart(dataset: Path, tmp_path: Path) -> None:
    assert [p.image.name for p in list_pairs(dataset, "seg", "train")] == [
        "1.jpg",
        "10.jpg",
        "2.jpg",
    ]
    assert len(list_cutouts(dataset, "train")) == 1
    assert len(list_backgrounds(dataset, "train")) == 2
    with pytest.raises(BadData, match="no val pictures"):
        list_pairs(dataset, "seg", "val")


def test_a_missing_mask_is_named(dataset: Path, tmp_path: Path) -> None:
    for folder in ("images", "masks"):
        (tmp_path / "seg/a" / folder).mkdir(parents=True)
    (tmp_path / "seg/a/images/lonely.jpg").write_bytes(b"")
    with pytest.raises(BadData, match=r"lonely\.jpg: no file of that name in .*masks"):
        list_pairs(tmp_path, "seg", "train")


def test_a_sample_follows_from_seed_and_index_alone(dataset: Path) -> None:
    one, two = Samples(dataset, RECIPE), Samples(dataset, RECIPE)
    for i in (0, 7, 31):
        for a, b in zip(one[(i, 64)], two[(i, 64)], strict=True):
            assert torch.equal(torch.as_tensor(a), torch.as_tensor(b))
    image, label, _ = one[(3, 96)]
    assert image.shape == (3, 96, 96)
    assert label.shape == (1, 96, 96)
    assert image.dtype == label.dtype == torch.uint8


def test_batches_resume_where_they_stopped() -> None:
    whole = list(Batches(RECIPE))
    assert [len(b) for b in whole] == [4, 4, 4, 2, 2]
    assert list(Batches(RECIPE, start=3)) == whole[3:]
    assert len(Batches(RECIPE, start=3)) == 2


def test_composite_is_equation_one() -> None:
    """Over a background of one colour, without photometric changes, I = αF + (1 - α)B."""
    rng = np.random.default_rng(0)
    rgba = np.zeros((60, 40, 4), np.uint8)
    rgba[10:50, 10:30] = (200, 100, 50, 255)
    background = np.full((80, 80, 3), 30, np.uint8)
    for _ in range(5):
        image, alpha = augment.composite(rng, [rgba], background, 64)
        outside = image[alpha == 0]
        assert len(outside)
        assert (outside == outside[0]).all()
        assert image.shape == (64, 64, 3)
        assert alpha.shape == (64, 64)


def test_colour_under_low_alpha_comes_from_the_opaque_part() -> None:
    rgba = np.zeros((32, 32, 4), np.uint8)
    rgba[..., :3] = (255, 0, 255)  # the old background
    rgba[8:24, 8:24] = (10, 200, 30, 255)
    rgba[6:8, 8:24, 3] = 120  # a soft edge that kept it
    extended = augment.extend_foreground(rgba)
    assert (np.abs(extended[6:8, 10:22, :3].astype(int) - (10, 200, 30)) <= 1).all()
    assert (extended[..., 3] == rgba[..., 3]).all()


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


def test_crop_keeps_label_and_picture_together() -> None:
    rng = np.random.default_rng(2)
    label = np.zeros((50, 90), np.uint8)
    label[10:40, 30:60] = 255
    image = np.repeat(label[..., None], 3, 2)
    for _ in range(20):
        crop, mask = augment.zoom_crop(rng, image, label, 48)
        assert (np.abs(crop[..., 0].astype(int) - mask) <= 1).all()
