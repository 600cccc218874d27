from __future__ import annotations

import contextlib
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
from train.data import cache
from train.data import samples as datasets
from train.data.blend import BlendRule
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
    recipe("context-aware"),
    recipe("qun"),
    recipe("bshm"),
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
    samples, two_views = Samples(dataset, c), c.method in ("mlb", "imitate")
    seen = set()
    for i in range(24):
        item = samples[(i, 96)]
        extras = {"weak", "masks", "contrast"}
        assert set(item) - extras == {"image", "label", "has_alpha", "name"}
        assert ("weak" in item) == two_views
        assert ("masks" in item) == (c.kind == "qun")
        assert ("contrast" in item) == (c.kind == "bshm")
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


def test_a_mask_has_its_spoilt_twin_beside_it(dataset: Path) -> None:
    samples, differing = Samples(dataset, recipe("qun")), 0
    for i in range(8):
        item = samples[(i, 96)]
        fine, twin = item["masks"].float()
        assert item["masks"].shape == (2, 24, 24)
        quarter = torch.nn.functional.avg_pool2d(item["label"].float(), 4)[0]
        assert (fine - quarter).abs().max() <= 1
        differing += bool((fine - twin).any())
    assert differing >= 4


def test_contrast_is_that_of_the_composite(dataset: Path) -> None:
    samples = Samples(dataset, recipe("bshm"))
    found = [samples[(i, 64)]["contrast"] for i in range(8)]
    assert {x.shape for x in found} == {(1, 64, 64)}
    assert torch.stack(found).float().mean() > 20


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


# ---- fine labels


@pytest.fixture
def labelled(own: Path) -> Path:
    """Return the data set with fine labels: one that agrees, and one of somebody else."""
    mask = cv2.imread(str(own / "seg/a/masks/1.png"), cv2.IMREAD_GRAYSCALE)
    (own / "seg/a/fine").mkdir()
    cv2.imwrite(str(own / "seg/a/fine/1.webp"), cv2.GaussianBlur(mask, (0, 0), 1.5))
    cv2.imwrite(str(own / "seg/a/fine/2.png"), np.roll(mask, 40, axis=1))
    return own


PLAIN: dict[str, Any] = {"composites": 0.0, "empty": 0.0}


def test_a_fine_label_is_blended_with_its_mask_and_weighted(labelled: Path) -> None:
    samples = Samples(labelled, recipe(**PLAIN))
    assert samples.fine_count == 2
    soft, doubted = set(), set()
    for i in range(60):
        item = samples[(i, 96)]
        name, weight = item["name"], item["weight"]
        assert weight.shape == item["label"].shape
        assert weight.dtype == torch.uint8
        assert item["has_alpha"] == (name in ("1.jpg", "2.jpg"))
        if (weight < 128).sum() > 50:
            doubted.add(name)
        if len(item["label"].unique()) > 40 and bool((weight == 255).all()):
            soft.add(name)
    assert doubted == {"2.jpg"}
    assert "1.jpg" in soft


def test_label_and_weight_are_of_the_same_pixels_as_the_image(
    labelled: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through every crop, flip and stretch: with an image that is painted of both."""
    rgb, label, weight = datasets._read_photo(
        next(p for p in Samples(labelled, recipe()).photos if p.image.stem == "2"),
        BlendRule.of(recipe()),
    )
    assert (weight == 0).any()
    painted = np.dstack([label, weight, rgb[..., 2]])
    cv2.imwrite(str(labelled / "seg/a/images/2.jpg"), painted)
    monkeypatch.setattr(datasets, "_read_photo", lambda pair, rule: (painted, label, weight))
    c = recipe(**PLAIN, strong=False, squashed={"a": 4 / 3}, mask_sources={"a": 1.0})
    samples = Samples(labelled, c)
    for i in range(40):
        item = samples[(i, 96)]
        image = item["image"].int()
        assert (image[0] - item["label"][0]).abs().max() <= 1
        assert (image[1] - item["weight"][0]).abs().max() <= 1


@pytest.mark.parametrize("more", [{"fine_radius": 0.0}, {"method": "imitate"}])
def test_fine_labels_that_are_not_used_change_nothing(
    dataset: Path, labelled: Path, more: dict[str, Any]
) -> None:
    c = recipe("student", **PLAIN | {"method": "supervised"} | more)
    without, unused = Samples(dataset, c), Samples(labelled, c)
    assert unused.fine_count == 0
    assert unused.fingerprint == without.fingerprint
    for i in range(6):
        assert_same(without[(i, 64)], unused[(i, 64)])


def test_fine_labels_change_what_a_run_is_made_of(dataset: Path, labelled: Path) -> None:
    """Crops and names stay, the label of those that have one is another, and so is the run."""
    c = recipe(**PLAIN)
    without, fine = Samples(dataset, c), Samples(labelled, c)
    assert fine.fingerprint != without.fingerprint
    for i in range(12):
        a, b = without[(i, 64)], fine[(i, 64)]
        assert a["name"] == b["name"]
        assert torch.equal(a["image"], b["image"])
        if a["name"] == "10.jpg":
            assert torch.equal(a["label"], b["label"])
            assert (b["weight"] == 255).all()


def test_a_run_with_fine_labels_weights_every_kind_of_sample(labelled: Path) -> None:
    samples = Samples(labelled, recipe("student", **MIXED))
    for i in range(30):
        item = samples[(i, 64)]
        assert {"weight", "weak"} <= set(item)
        if not item["name"].endswith(".jpg") or item["name"] in ("coffee.jpg", "stars.jpg"):
            assert (item["weight"] == 255).all()
    pasting = Samples(labelled, recipe("student", **PLAIN, paste=1.0))
    items = [pasting[(i, 64)] for i in range(60)]
    at_edges = {item["name"] for item in items if (item["weight"] == 0).any()}
    assert {"10.jpg 1.jpg", "1.jpg 10.jpg", "10.jpg 10.jpg"} <= at_edges


def test_a_fine_label_of_another_size_is_named(labelled: Path) -> None:
    cv2.imwrite(str(labelled / "seg/a/fine/2.png"), np.zeros((64, 100), np.uint8))
    (labelled / "seg/a/fine/1.webp").write_bytes(b"no image")
    with pytest.raises(BadData, match=r"^2 files cannot be used:") as error:
        Samples(labelled, recipe())
    assert "fine/2.png: 100x64, its image is 128x128" in str(error.value)
    assert "fine/1.webp: not a readable mask" in str(error.value)
    Samples(labelled, recipe(fine_radius=0.0))


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


@pytest.mark.parametrize("seed", range(3))
def test_with_one_seed_few_are_among_many_and_every_set_is_in_them(many: Path, seed: int) -> None:
    def chosen(count: int) -> list[tuple[str, str]]:
        photos = Samples(many, recipe(masks=count, seed=seed)).photos
        return [(p.source, p.image.name) for p in photos]

    for count in range(2, 10):
        assert set(chosen(count - 1)) < set(chosen(count))
    sources = [[source for source, _ in chosen(count)] for count in (3, 6)]
    assert [(of.count("a"), of.count("b")) for of in sources] == [(2, 1), (4, 2)]


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

    monkeypatch.setattr(cache, "free_memory", lambda: 0)
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

    get, left = cache.cached(range(2), load, 250)
    assert left == 50
    assert [int(get(i)[0]) for i in (0, 1, 0)] == [0, 1, 0]
    assert sorted(read) == [0, 1]
    read.clear()
    get, left = cache.cached(range(5), load, 250)
    assert left == 0
    assert [int(get(i)[0]) for i in range(5)] == list(range(5))
    assert len(read) == 5 + 3


@pytest.mark.parametrize(("cache", "kept"), [(0, 0), (10**5, 1), (None, 3)])
def test_memory_for_images_can_be_limited(
    own: Path, monkeypatch: pytest.MonkeyPatch, cache: int | None, kept: int
) -> None:
    """Three photographs of 64 KB with their masks."""
    samples = Samples(own, recipe(**PLAIN), cache_bytes=cache)
    shutil.rmtree(own / "seg/a/images")
    found = 0
    for i in range(3):
        with contextlib.suppress(BadData):
            found += samples._photos(i) is not None
    assert found == kept


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
