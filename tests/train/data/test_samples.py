from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from engines.datasets import read as reading
from engines.errors import BadData
from tests.train.data.recipes import recipe
from train.config import Config, Stage
from train.data import samples as datasets
from train.data.samples import Batches, Samples, quiet_worker

MIXED = {"composites": 0.4, "empty": 0.2}
EVERY_KIND = [
    recipe("pretrain"),
    recipe("teacher"),
    recipe("student"),
    recipe("pretrain", **MIXED),
    recipe("student", **MIXED),
    recipe("student", method="supervised"),
    recipe("student", method="imitate"),
    recipe("student", paste=1.0),
]


def assert_same(a: dict[str, Any], b: dict[str, Any]) -> None:
    assert a.keys() == b.keys()
    for key, value in a.items():
        same = torch.equal(value, b[key]) if isinstance(value, torch.Tensor) else value == b[key]
        assert same, key


@pytest.fixture
def own(dataset: Path, tmp_path: Path) -> Path:
    """A copy of the data set, to be spoilt."""
    return shutil.copytree(dataset, tmp_path / "own")


# ---- one sample


@pytest.mark.parametrize("c", EVERY_KIND, ids=lambda c: f"{c.kind}-{c.method}-{c.composites}")
def test_what_an_item_holds(dataset: Path, c: Config) -> None:
    samples, two_views = Samples(dataset, c), c.method != "supervised"
    seen = set()
    for i in range(24):
        item = samples[(i, 96)]
        assert set(item) - {"weak"} == {"image", "label", "has_alpha", "name"}
        assert ("weak" in item) == two_views
        for key in item.keys() & {"image", "weak"}:
            assert item[key].shape == (3, 96, 96)
            assert item[key].dtype == torch.uint8
        assert item["label"].shape == (1, 96, 96)
        assert item["label"].dtype == torch.uint8
        assert isinstance(item["has_alpha"], bool)
        seen.add((item["has_alpha"], bool(item["label"].any())))
        suffixes = {word.rpartition(".")[2] for word in item["name"].split()}
        assert suffixes <= {"jpg", "png"}
    assert {has_alpha for has_alpha, _ in seen} == (
        {False, True} if 0 < c.composites < 1 else {c.composites == 1}
    )


def test_empty_images_have_nobody_in_them(dataset: Path) -> None:
    samples = Samples(dataset, recipe(composites=0.0, empty=1.0))
    for i in range(8):
        item = samples[(i, 64)]
        assert item["has_alpha"]
        assert not item["label"].any()
        assert item["name"] in ("coffee.jpg", "stars.jpg")


@pytest.mark.parametrize("c", EVERY_KIND, ids=lambda c: f"{c.kind}-{c.method}-{c.composites}")
def test_a_sample_follows_from_seed_and_index_alone(dataset: Path, c: Config) -> None:
    one, two, other = Samples(dataset, c), Samples(dataset, c), Samples(dataset, replace(c, seed=1))
    for i in (9, 0, 31, 10**12):
        assert_same(one[(i, 64)], two[(i, 64)])
    assert not torch.equal(one[(3, 96)]["image"], one[(4, 96)]["image"])
    assert not torch.equal(one[(3, 96)]["image"], other[(3, 96)]["image"])


@pytest.fixture
def _no_threads() -> Iterator[None]:
    """Turn off OpenCV's threads, as the trainer does: they do not survive a fork."""
    before = cv2.getNumThreads()
    cv2.setNumThreads(1)
    yield
    cv2.setNumThreads(before)


@pytest.mark.usefixtures("_no_threads")
@pytest.mark.parametrize("workers", [1, 2])
def test_workers_change_nothing(dataset: Path, workers: int) -> None:
    c = recipe("student", **MIXED)
    samples = Samples(dataset, c)

    def batches(n: int) -> list[dict[str, Any]]:
        return list(
            DataLoader(
                samples,
                batch_sampler=Batches(c),
                num_workers=n,
                worker_init_fn=quiet_worker if n else None,
            )
        )

    for a, b in zip(batches(0), batches(workers), strict=True):
        assert_same(a, b)


def test_the_weak_view_is_the_same_crop_unaltered(dataset: Path) -> None:
    """Strong augmentation touches neither the crop nor what the teacher sees of it."""
    plain = Samples(dataset, recipe("student", strong=False))
    strong = Samples(dataset, recipe("student"))
    altered = 0
    for i in range(12):
        a, b = plain[(i, 64)], strong[(i, 64)]
        assert torch.equal(a["image"], a["weak"])
        assert torch.equal(a["weak"], b["weak"])
        assert torch.equal(a["label"], b["label"])
        altered += not torch.equal(b["image"], b["weak"])
    assert altered >= 8


def test_without_a_teacher_strong_augmentation_can_be_left_out(dataset: Path) -> None:
    plain = Samples(dataset, recipe("student", method="supervised", strong=False))
    weak = Samples(dataset, recipe("student"))
    assert torch.equal(plain[(5, 64)]["image"], weak[(5, 64)]["weak"])


# ---- which files


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine masks of two sets, six cut-outs, one background; each of a different grey."""
    root = tmp_path_factory.mktemp("many")
    for folder in (
        "seg/a/images",
        "seg/a/masks",
        "seg/b/images",
        "seg/b/masks",
        "matte/c/rgba",
        "background",
    ):
        (root / folder).mkdir(parents=True)
    for i in range(9):
        of = "seg/a" if i < 6 else "seg/b"
        cv2.imwrite(str(root / of / f"images/{i}.png"), np.full((40, 40, 3), 20 * i, np.uint8))
        cv2.imwrite(str(root / of / f"masks/{i}.png"), np.eye(40, dtype=np.uint8) * 255)
    for i in range(6):
        cv2.imwrite(str(root / f"matte/c/rgba/{i}.png"), np.full((40, 30, 4), 200, np.uint8))
    cv2.imwrite(str(root / "background/0.png"), np.zeros((40, 40, 3), np.uint8))
    return root


@pytest.mark.parametrize("count", [1, 4, 8])
def test_a_number_of_masks_is_chosen_reproducibly(many: Path, count: int) -> None:
    def chosen(seed: int) -> list[str]:
        photos = Samples(many, recipe(masks=count, seed=seed)).photos
        return [p.image.name for p in photos]

    assert len(set(chosen(0))) == count
    assert chosen(0) == chosen(0) == sorted(chosen(0))
    assert any(chosen(0) != chosen(seed) for seed in range(1, 6))


def test_a_number_of_mattes_is_chosen_reproducibly(many: Path) -> None:
    def chosen(seed: int) -> list[str]:
        return [p.image.name for p in Samples(many, recipe("teacher", mattes=2, seed=seed)).people]

    assert len(set(chosen(0))) == 2
    assert chosen(0) == chosen(0)
    assert any(chosen(0) != chosen(seed) for seed in range(1, 6))


@pytest.mark.parametrize("count", [0, 9, 100])
def test_all_masks_are_used_where_no_fewer_are_asked_for(many: Path, count: int) -> None:
    assert len(Samples(many, recipe(masks=count)).photos) == 9


def test_only_chosen_files_are_drawn(many: Path) -> None:
    samples = Samples(many, recipe(masks=2))
    names = {p.image.name for p in samples.photos}
    assert {samples[(i, 32)]["name"] for i in range(40)} == names


def test_a_set_weighs_its_share_however_many_files_it_has(many: Path) -> None:
    """Six of a and three of b; unnamed weighs 1."""
    samples = Samples(many, recipe(mask_sources={"b": 3.0}))
    np.testing.assert_allclose(samples.photo_weight, [1 / 24] * 6 + [1 / 4] * 3)
    drawn = [samples[(i, 32)]["name"] for i in range(200)]
    assert 0.65 < np.mean([int(name[0]) >= 6 for name in drawn]) < 0.85


def test_shares_that_leave_nothing_are_refused(many: Path) -> None:
    """The shares of all sets in the data are 0, though not all shares are."""
    with pytest.raises(BadData, match=r"a.*b"):
        Samples(many, recipe(mask_sources={"a": 0.0, "b": 0.0, "c": 1.0}))


def test_without_memory_files_are_read_on_demand(
    dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    c = recipe("student", **MIXED)
    kept = Samples(dataset, c)
    reads: list[Path] = []
    read = reading.read_image

    def read_image(path: Path) -> np.ndarray:
        reads.append(path)
        return read(path)

    monkeypatch.setattr(datasets, "_free_memory", lambda: 0)
    for module in (reading, datasets):
        monkeypatch.setattr(module, "read_image", read_image)
    lean = Samples(dataset, c)
    reads.clear()
    for i in range(12):
        assert_same(kept[(i, 64)], lean[(i, 64)])
    assert len(reads) >= 8


def test_what_fits_the_budget_is_kept() -> None:
    """Items of 100 bytes; with 250 free two fit, and 50 are left for what comes next."""
    read: list[int] = []

    def load(i: int) -> tuple[np.ndarray]:
        read.append(i)
        return (np.full(100, i, np.uint8),)

    get, left = datasets._cached(range(2), load, 250)
    assert left == 50
    assert [int(get(i)[0]) for i in (0, 1, 0)] == [0, 1, 0]
    assert sorted(read) == [0, 1]
    read.clear()
    get, left = datasets._cached(range(5), load, 250)
    assert left == 0
    assert [int(get(i)[0]) for i in range(5)] == list(range(5))
    assert len(read) == 5 + 3


# ---- broken files


def test_broken_files_are_all_named_at_once(own: Path) -> None:
    for name in ("2", "10"):
        (own / f"seg/a/images/{name}.jpg").write_bytes(b"no image")
    with pytest.raises(BadData, match=r"^2 files cannot be used:") as error:
        Samples(own, recipe())
    for name in ("2", "10"):
        assert str(own / f"seg/a/images/{name}.jpg") in str(error.value)
    assert len(str(error.value).splitlines()) == 3


def test_a_label_of_another_size_is_named(own: Path) -> None:
    cv2.imwrite(str(own / "seg/a/masks/2.png"), np.full((64, 100), 255, np.uint8))
    with pytest.raises(BadData, match=r"masks/2\.png: 100x64, its image is 128x128"):
        Samples(own, recipe())


def test_a_cutout_without_alpha_is_named(own: Path) -> None:
    cv2.imwrite(str(own / "matte/b/rgba/2.png"), np.zeros((64, 64, 3), np.uint8))
    with pytest.raises(BadData, match=r"rgba/2\.png"):
        Samples(own, recipe("teacher"))
    Samples(own, recipe())  # masks alone need none


@pytest.mark.parametrize(
    ("kind", "folder", "what"),
    [
        ("pretrain", "seg", "seg/"),
        ("teacher", "matte", "matte/"),
        ("teacher", "background", "background"),
        ("student", "seg", "seg/"),
    ],
)
def test_what_is_missing_is_named(own: Path, kind: str, folder: str, what: str) -> None:
    shutil.rmtree(own / folder)
    with pytest.raises(BadData, match=what):
        Samples(own, recipe(kind))


def test_nobody_in_a_mask_is_no_fault(own: Path) -> None:
    cv2.imwrite(str(own / "seg/a/masks/2.png"), np.zeros((128, 128), np.uint8))
    samples = Samples(own, recipe())
    assert any(not samples[(i, 32)]["label"].any() for i in range(20))


# ---- batches


@pytest.mark.parametrize("seed", [0, 1])
def test_batches_resume_where_they_stopped(seed: int) -> None:
    c = recipe(seed=seed)
    whole = list(Batches(c))
    assert [len(b) for b in whole] == [4, 4, 4, 2, 2, 2, 2]
    assert [i for batch in whole for i, _ in batch] == list(range(20))
    for start in range(8):
        assert list(Batches(c, start)) == whole[start:]
        assert len(Batches(c, start)) == len(whole) - start


@pytest.mark.parametrize("start", [0, 2])
def test_processes_share_each_batch(start: int) -> None:
    whole = list(Batches(recipe(), start))
    shares = [list(Batches(recipe(), start, rank, 2)) for rank in range(2)]
    for batch, *of_ranks in zip(whole, *shares, strict=True):
        assert sorted(of_ranks[0] + of_ranks[1]) == batch
        assert not set(of_ranks[0]) & set(of_ranks[1])
        assert len({size for share in of_ranks for _, size in share}) == 1


def test_crop_sizes_are_drawn_from_the_stage() -> None:
    c = replace(recipe(), stages=(Stage(5, 2, (64,)), Stage(60, 2, (96, 128, 160))))
    sizes = [{size for _, size in batch} for batch in Batches(c)]
    assert sizes[:5] == [{64}] * 5
    assert all(len(s) == 1 for s in sizes)
    later = [size for s in sizes[5:] for size in s]
    assert all(10 <= later.count(size) <= 30 for size in (96, 128, 160))
    assert sizes != [{size for _, size in b} for b in Batches(replace(c, seed=1))]
