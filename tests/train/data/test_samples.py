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
from train import config
from train.config import Config, Stage
from train.data import augment
from train.data import samples as datasets
from train.data.samples import Batches, Samples, quiet_worker
from train.log import Log, draw, grid
from train.networks.unet import MattingNet

STAGES = (Stage(3, 4, (64,)), Stage(4, 2, (64, 96, 128)))


def recipe(kind: str = "pretrain", **more: Any) -> Config:
    return replace(config.load("paper", kind), stages=STAGES, **more)


MIXED = {"composites": 0.4, "empty": 0.2}
EVERY_KIND = [
    recipe("pretrain"),
    recipe("teacher"),
    recipe("student"),
    recipe("pretrain", **MIXED),
    recipe("student", **MIXED),
    recipe("student", labels="masks"),
    recipe("student", labels="teacher"),
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


@pytest.mark.parametrize("c", EVERY_KIND, ids=lambda c: f"{c.kind}-{c.labels}-{c.composites}")
def test_what_an_item_holds(dataset: Path, c: Config) -> None:
    samples, two_views = Samples(dataset, c), c.kind == "student" and c.labels != "masks"
    seen = set()
    for i in range(24):
        item = samples[(i, 96)]
        assert set(item) - {"weak"} == {"image", "label", "fine", "name"}
        assert ("weak" in item) == two_views
        for key in item.keys() & {"image", "weak"}:
            assert item[key].shape == (3, 96, 96)
            assert item[key].dtype == torch.uint8
        assert item["label"].shape == (1, 96, 96)
        assert item["label"].dtype == torch.uint8
        assert isinstance(item["fine"], bool)
        seen.add((item["fine"], bool(item["label"].any())))
        suffixes = {word.rpartition(".")[2] for word in item["name"].split()}
        assert suffixes <= {"jpg", "png"}
    assert {fine for fine, _ in seen} == (
        {False, True} if 0 < c.composites < 1 else {c.composites == 1}
    )


def test_empty_images_have_nobody_in_them(dataset: Path) -> None:
    samples = Samples(dataset, recipe(composites=0.0, empty=1.0))
    for i in range(8):
        item = samples[(i, 64)]
        assert item["fine"]
        assert not item["label"].any()
        assert item["name"] in ("coffee.jpg", "stars.jpg")


@pytest.mark.parametrize("c", EVERY_KIND, ids=lambda c: f"{c.kind}-{c.labels}-{c.composites}")
def test_a_sample_follows_from_seed_and_index_alone(dataset: Path, c: Config) -> None:
    one, two, other = Samples(dataset, c), Samples(dataset, c), Samples(dataset, replace(c, seed=1))
    for i in (9, 0, 31, 10**12):
        assert_same(one[(i, 64)], two[(i, 64)])
    assert not torch.equal(one[(3, 96)]["image"], one[(4, 96)]["image"])
    assert not torch.equal(one[(3, 96)]["image"], other[(3, 96)]["image"])


@pytest.fixture
def _no_threads() -> Iterator[None]:
    """As the trainer has it: threads of OpenCV do not survive the fork to a worker."""
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
    plain = Samples(dataset, recipe("student", labels="masks", strong=False))
    weak = Samples(dataset, recipe("student"))
    assert torch.equal(plain[(5, 64)]["image"], weak[(5, 64)]["weak"])


# ---- which files


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine masks of two sets, six cut-outs, one background; a grey of its own for each."""
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
    """Not all of the shares are 0, but those of the sets that are there."""
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


# ---- augmentation


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
        image, alpha = augment.composite(np.random.default_rng(seed), [rgba], background, 64)
        assert image.shape == (64, 64, 3)
        assert alpha.shape == (64, 64)
        assert (image[alpha == 0] == 30).all()
        a = alpha[..., None] / 255
        off = np.abs(image - (a * np.float64([200, 100, 50]) + (1 - a) * 30))
        exact += off.max() <= 1  # the light of the place is not pulled in half of them
        soft += ((alpha > 20) & (alpha < 235)).any()
    assert soft >= 15
    assert 5 <= exact <= 18


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
        crop, mask = augment.zoom_crop(rng, image, label, 48)
        assert (np.abs(crop[..., 0].astype(int) - mask) <= 1).all()


def pasted(seed: int, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """White persons of a black photograph, pasted into a grey crop with nobody in it."""
    crop, nobody = np.full((64, 64, 3), 90, np.uint8), np.zeros((64, 64), np.uint8)
    photo = np.repeat(mask[..., None], 3, 2)
    return augment.paste(np.random.default_rng(seed), crop, nobody, photo, mask)


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
        _, label = augment.paste(np.random.default_rng(0), image, before, photo, mask)
        assert (label == 255).all()
    samples = Samples(dataset, recipe(paste=0.5))
    count = [len(samples[(i, 64)]["name"].split()) for i in range(40)]
    assert 8 < count.count(2) < 32
    assert set(count) == {1, 2}


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 2), (7, 5)])
def test_the_smallest_and_narrowest_images_can_be_cropped(size: tuple[int, int]) -> None:
    image = np.full((*size, 3), 9, np.uint8)
    for seed in range(10):
        rng = np.random.default_rng(seed)
        crop, label = augment.zoom_crop(rng, image, np.full(size, 255, np.uint8), 64)
        assert (crop == 9).all()
        assert (label == 255).all()


def test_strong_augmentation_keeps_the_frame() -> None:
    ramp = np.repeat(np.arange(64, dtype=np.uint8)[None, :, None] * 4, 64, 0).repeat(3, 2)
    for seed in range(30):
        out = augment.strong(np.random.default_rng(seed), ramp)
        assert out.shape == ramp.shape
        assert out.dtype == np.uint8
        assert out[:, 40:].mean() > out[:, :24].mean()


# ---- what a run shows


def test_a_grid_has_names_above_and_a_sample_in_each_row() -> None:
    red = torch.zeros(2, 3, 32, 32)
    red[:, 0] = 1
    steps = torch.linspace(-0.5, 1.5, 32).expand(2, 1, 32, 32)
    image = grid({"input": red, "matte": steps}, side=160)
    assert image.shape == (24 + 2 * 160, 2 * 160, 3)
    assert image.dtype == np.uint8
    assert (image[24:, :160] == (255, 0, 0)).all()
    assert (image[24:, 160:] == image[24:, 160:, :1]).all()  # grey
    assert (image[24:, 165] == 0).all()
    assert (image[24:, 315] == 255).all()
    for column in range(2):
        head = image[:24, 160 * column : 160 * (column + 1)]
        assert 20 < (head < 128).all(2).sum() < 600


@pytest.mark.parametrize(
    ("kind", "names"),
    [("pretrain", 4), ("teacher", 4), ("student", 7)],
)
def test_the_image_of_a_run(dataset: Path, tmp_path: Path, kind: str, names: int) -> None:
    """Six fixed samples; of a student also what its teacher says and what is blended of it."""
    c = replace(recipe(kind), stages=(Stage(1, 2, (64,)),))
    samples, net = Samples(dataset, c), MattingNet("r18x0.25").train()
    teacher = MattingNet("r18x0.25").eval() if kind == "student" else None
    image = draw(net, teacher, samples, c, torch.device("cpu"))
    assert image.shape == (24 + 6 * 160, names * 160, 3)
    assert net.training
    with Log(tmp_path, 0) as log:
        log.image(1, image)
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "grid.png")), cv2.COLOR_BGR2RGB)
    assert (stored == image).all()
    first = samples[(10**12, 64)]["image"].permute(1, 2, 0).numpy()
    shown = cv2.resize(first, (160, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(image[24:184, :160].astype(int) - shown).max() <= 1
