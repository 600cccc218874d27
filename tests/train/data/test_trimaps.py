from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engines.datasets.layout import list_cutouts
from engines.datasets.trimap import make_trimap
from engines.errors import BadData
from train import config
from train.config import Config
from train.data.trimaps import TrimapSamples, crop, held_out, turn, with_epochs


def recipe(**more: Any) -> Config:
    return replace(config.load("paper", "dim"), **more)


def pictures(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Portraits of 60×80: an ellipse on noise."""
    rng, made = np.random.default_rng(0), []
    for i in range(count):
        alpha = np.zeros((80, 60), np.uint8)
        cv2.ellipse(alpha, (30, 50), (12 + i % 7, 30), 0, 0, 360, 255, -1)
        image = rng.integers(0, 120, (80, 60, 3), np.uint8)
        image[alpha > 0] = 255 - 3 * i
        made.append((image, cv2.GaussianBlur(alpha, (0, 0), 1.5)))
    return made


@pytest.fixture(scope="module")
def aisegment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Thirty portraits as AISegment's are published: JPEG beside PNG with alpha, in groups."""
    root = tmp_path_factory.mktemp("aisegment")
    for i, (image, alpha) in enumerate(pictures(30)):
        group, clip = f"{1803151818 + i // 10}", f"{i % 2:08d}"
        photos = root / f"matte/aisegment/clip_img/{group}/clip_{clip}"
        mattes = root / f"matte/aisegment/matting/{group}/matting_{clip}"
        for folder in (photos, mattes):
            folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(photos / f"{group}-{i:08d}.jpg"), image)
        cv2.imwrite(str(mattes / f"{group}-{i:08d}.png"), np.dstack([image, alpha]))
    return root


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs with alpha, two cut-outs, three backgrounds; a third of each is ``val``."""
    root = tmp_path_factory.mktemp("mixed")
    for folder in ("matte/a/images", "matte/a/alphas", "matte/b/rgba", "background"):
        (root / folder).mkdir(parents=True)
    val = []
    for i, (image, alpha) in enumerate(pictures(6)):
        if i % 2:
            cv2.imwrite(str(root / f"matte/a/images/{i}.png"), image)
            cv2.imwrite(str(root / f"matte/a/alphas/{i}.png"), alpha)
        else:
            cv2.imwrite(str(root / f"matte/b/rgba/{i}.png"), np.dstack([image, alpha]))
        cv2.imwrite(str(root / f"background/{i}.png"), np.full((50, 70, 3), 40 * i, np.uint8))
    val = ["matte/a/images/5.png", "matte/b/rgba/4.png", "background/0.png", "background/3.png"]
    (root / "val.txt").write_text("\n".join(val))
    return root


def test_published_layout_is_split_four_to_one_and_stays_so(aisegment: Path) -> None:
    samples = TrimapSamples(aisegment, recipe())
    names = {p.image.name for p in samples.photos}
    others = {p.image.name for p in samples.left_out.photos}
    assert len(names | others) == 30
    assert not names & others
    assert len(others) == 6
    assert {p.name for p in held_out(aisegment)} == others
    (aisegment / "val.txt").write_text(
        "\n".join(p.relative_to(aisegment).as_posix() for p in held_out(aisegment))
    )
    try:
        named = TrimapSamples(aisegment, recipe())
    finally:
        (aisegment / "val.txt").unlink()
    assert {p.image.name for p in named.left_out.photos} == others
    assert named.fingerprint == samples.fingerprint


def test_val_images_are_left_out_where_the_data_name_them(mixed: Path) -> None:
    samples = TrimapSamples(mixed, recipe(backgrounds_each=5))
    assert held_out(mixed) == []
    assert [p.image.name for p in samples.photos] == ["1.png", "3.png"]
    assert [p.image.name for p in samples.cutouts] == ["0.png", "2.png"]
    assert len(samples) == 2 + 2 * 5
    assert samples.contents == "2 photographs with alpha, 2 cut-outs, 4 backgrounds"
    seen = {samples.left_out.plain(i, 28)["name"] for i in range(len(samples.left_out))}
    assert {name.split()[0] for name in seen} == {"5.png", "4.png"}
    assert {name.split()[1] for name in seen if " " in name} == {"0.png", "3.png"}


def test_each_picture_is_seen_once_in_a_pass_in_another_order(mixed: Path) -> None:
    samples = TrimapSamples(mixed, recipe(backgrounds_each=5))
    passes = [
        [samples[(i, 28)]["name"].split()[0] for i in range(n * 12, n * 12 + 12)] for n in range(2)
    ]
    assert passes[0] != passes[1]
    for names in passes:
        assert sorted(names) == sorted(["1.png", "3.png"] + ["0.png", "2.png"] * 5)


def test_whole_pictures_are_stretched_and_composites_are_eq_1(mixed: Path) -> None:
    """Shrunk before they are composited, which changes them by rounding and little more."""
    samples = TrimapSamples(mixed, recipe(backgrounds_each=1))
    for place in range(len(samples)):
        item = samples.plain(place, 28)
        assert item["image"].shape == (3, 28, 28)
        assert item["label"].shape == item["trimap"].shape == (1, 28, 28)
        name = item["name"].split()[0]
        image, alpha = pictures(6)[int(name[0])]
        small = cv2.resize(alpha, (28, 28), interpolation=cv2.INTER_AREA)
        assert np.abs(item["label"][0].numpy().astype(int) - small).max() <= 1
        found = item["image"].permute(1, 2, 0).numpy().astype(int)
        inside = item["label"][0].numpy() == 255
        expected = cv2.resize(image, (28, 28), interpolation=cv2.INTER_AREA)[..., ::-1]
        assert np.abs(found - expected)[inside].max() <= 3
        if " " in item["name"]:
            shade = 40 * int(item["name"].split()[1][0])
            assert np.abs(found[item["label"][0].numpy() == 0] - shade).max() <= 1


def test_trimap_is_of_the_label_as_it_is_shown(mixed: Path) -> None:
    samples = TrimapSamples(mixed, recipe(turned=1.0, trimap_min=2, trimap_max=2))
    for i in range(8):
        item = samples[(i, 28)]
        assert np.array_equal(item["trimap"][0], make_trimap(item["label"][0].numpy(), 2))


def test_share_of_pictures_is_turned(mixed: Path) -> None:
    """A turned picture is another one than without; image and alpha turn alike."""
    samples = {s: TrimapSamples(mixed, recipe(turned=s, backgrounds_each=15)) for s in (0, 0.5, 1)}
    labels = {s: [own[(i, 28)]["label"] for i in range(32)] for s, own in samples.items()}
    half = [torch.equal(a, b) for a, b in zip(labels[0], labels[0.5], strict=True)]
    assert 0.2 < np.mean(half) < 0.8
    assert not any(torch.equal(a, b) for a, b in zip(labels[0], labels[1], strict=True))
    rng, alpha = np.random.default_rng(1), cv2.resize(pictures(1)[0][1], (64, 64))
    alpha = np.pad(alpha[:, :50], ((0, 0), (14, 0)))
    image, turned = turn(rng, cv2.merge([alpha] * 3), alpha)
    assert np.array_equal(image[..., 0], turned)
    assert turned[:, :32].mean() > 1.2 * turned[:, 32:].mean()  # mirrored: it was on the right


def test_crops_are_square_and_hold_an_unknown_pixel() -> None:
    image, alpha = pictures(1)[0]
    big, soft = (cv2.resize(x, (600, 800)) for x in (image, alpha))
    for seed in range(12):
        shown, label = crop(np.random.default_rng(seed), big, soft, 320)
        assert shown.shape == (320, 320, 3)
        assert ((label > 0) & (label < 255)).any()
    assert crop(np.random.default_rng(0), image, alpha, 320)[1].shape == (320, 320)
    nobody = np.zeros((80, 60), np.uint8)
    assert crop(np.random.default_rng(0), image, nobody, 32)[1].shape == (32, 32)


def test_epochs_become_steps(mixed: Path, aisegment: Path) -> None:
    made = with_epochs(recipe(epochs=10, backgrounds_each=20), mixed)
    assert made.steps == -(-10 * (2 + 2 * 20) // 64)
    count = len(TrimapSamples(aisegment, recipe()))
    assert with_epochs(recipe(epochs=3), aisegment).steps == -(-3 * count // 64)
    assert with_epochs(recipe(epochs=0), mixed).steps == recipe().steps


def test_what_is_missing_is_named(mixed: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no train images with alpha"):
        TrimapSamples(tmp_path, recipe())
    (tmp_path / "matte").symlink_to(mixed / "matte")
    with pytest.raises(BadData, match="images in background, and cut-outs need some"):
        TrimapSamples(tmp_path, recipe())
    without = recipe(matte_sources={"b": 0.0, "a": 1.0})
    (tmp_path / "val.txt").symlink_to(mixed / "val.txt")
    assert TrimapSamples(tmp_path, without).sets == ["a"]
    assert len(list_cutouts(tmp_path, "train")) == 4
