from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engines import images
from engines.colour import profile_of
from engines.datasets.layout import list_cutouts
from engines.datasets.read import read_alpha, read_cutout, read_image, read_label
from engines.errors import BadData
from tests.engines.datasets.conftest import write
from tests.pictures import HEIGHT, WIDTH, alphas, ramps


def test_a_label_with_alpha_is_its_alpha(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    rgba = np.full((4, 6, 4), 200, np.uint8)
    rgba[:, :3, 3] = 0
    cv2.imwrite(str(path), rgba)
    assert (read_label(path) == rgba[..., 3]).all()


def test_a_label_with_alpha_that_says_nothing_is_its_grey(tmp_path: Path) -> None:
    path = tmp_path / "1.png"
    rgba = np.zeros((4, 6, 4), np.uint8)
    rgba[..., 3] = 255
    rgba[:, :3, :3] = 255
    cv2.imwrite(str(path), rgba)
    assert (read_label(path) == rgba[..., 0]).all()


def test_a_cutout_is_rgba_whatever_holds_its_alpha(data: Path) -> None:
    for pair in list_cutouts(data, "train"):
        cutout = read_cutout(pair)
        assert (cutout.shape, cutout.dtype) == ((8, 12, 4), np.uint8)
        alpha = read_label(pair.label) if pair.label else read_image(pair.image)[..., 3]
        assert (cutout[..., 3] == alpha).all()
        assert (cutout[..., :3] == read_image(pair.image)[..., :3]).all()


def test_a_cutout_without_its_alpha_is_named(data: Path) -> None:
    write(data / "matte/c/rgba/1.png", 3)
    write(data / "matte/b/alphas/1.png", 1, 16, 8)
    pair, rgba = list_cutouts(data, "train")
    with pytest.raises(BadData, match=r"1\.jpg: 12x8, but .*1\.png is 16x8"):
        read_cutout(pair)
    with pytest.raises(BadData, match=r"rgba/1\.png: no alpha in it"):
        read_cutout(rgba)


def test_images_are_read_as_a_run_reads_them(tmp_path: Path) -> None:
    """Profile, turn and alpha, so that what is measured is what users get."""
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = Image.fromarray(ramps())
    wide.putalpha(Image.fromarray(alphas()))
    wide.save(tmp_path / "a.png", exif=exif, icc_profile=profile_of(12))
    wide.convert("RGB").save(tmp_path / "b.jpg", exif=exif, icc_profile=profile_of(12))
    rgb, alpha = images.read(tmp_path / "a.png")
    rgba = read_image(tmp_path / "a.png")
    assert rgba.shape == (WIDTH, HEIGHT, 4)
    assert (rgba[..., :3] == rgb).all()
    assert (rgba[..., 3] == alpha).all()
    assert (read_image(tmp_path / "b.jpg") == images.read(tmp_path / "b.jpg").rgb).all()


def test_labels_keep_their_values(tmp_path: Path) -> None:
    """A profile says nothing of a matte."""
    Image.fromarray(alphas()).save(tmp_path / "a.png", icc_profile=profile_of(12))
    assert (read_label(tmp_path / "a.png") == alphas()).all()


@pytest.mark.parametrize("person", [1, 127])
def test_a_label_without_a_white_pixel_is_named(data: Path, person: int) -> None:
    """Such as masks of classes, in which a person is 1: nobody would be learnt from them."""
    masked, cut = list_cutouts(data, "train")
    assert masked.label
    levels = np.zeros((8, 12), np.uint8)
    levels[2:6] = person
    cv2.imwrite(str(masked.label), levels)
    rgba = read_cutout(cut)
    rgba[..., 3] = levels
    Image.fromarray(rgba).save(cut.image)
    for pair in masked, cut:
        name = rf"1\.png: its brightest pixel is {person} of 255.*; save"
        with pytest.raises(BadData, match=name):
            read_cutout(pair)
    assert (read_alpha(masked.label) == levels).all()  # of a teacher that is not sure


def test_a_label_with_nobody_in_it_is_read(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((4, 6), np.uint8))
    assert not read_label(tmp_path / "1.png").any()
