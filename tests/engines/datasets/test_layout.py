from __future__ import annotations

from pathlib import Path

import pytest

from engines.datasets.layout import Pair, find_data, list_backgrounds, list_cutouts, list_pairs
from engines.errors import BadData, CannotOpen, UsageError
from tests.engines.datasets.conftest import write

# Each published set in small: its images with their labels, and where they must turn up.
PUBLISHED = {
    "aisegment as masks": (
        "seg/ai",
        {
            "clip_img/1803151818/clip_00000000/1803151818-00000003.jpg": (
                "matting/1803151818/matting_00000000/1803151818-00000003.png"
            ),
            "clip_img/1803151818/clip_00000001/1803151818-00000003.jpg": (
                "matting/1803151818/matting_00000001/1803151818-00000003.png"
            ),
        },
        {"seg train": 2},
    ),
    "aisegment as mattes": (
        "matte/ai",
        {"clip_img/18/clip_00/18-3.jpg": "matting/18/matting_00/18-3.png"},
        {"matte train": 1, "cutouts train": 1},
    ),
    "p3m": (
        "matte/P3M-10k",
        {
            "train/blurred_image/p_1.jpg": "train/mask/p_1.png",
            "validation/P3M-500-P/blurred_image/p_2.jpg": "validation/P3M-500-P/mask/p_2.png",
            "validation/P3M-500-NP/original_image/p_3.jpg": "validation/P3M-500-NP/mask/p_3.png",
        },
        {"matte train": 1, "cutouts train": 1, "matte val": 2, "cutouts val": 2},
    ),
    "ppm": (
        "matte/PPM-100",
        {"image/10_o.jpg": "matte/10_o.jpg"},
        {"matte val": 1, "cutouts val": 1},
    ),
    "ppm of paddleseg": (
        "matte/PPM-100",
        {"train/fg/1_o.jpg": "train/alpha/1_o.jpg", "val/fg/2_o.jpg": "val/alpha/2_o.jpg"},
        {"matte val": 2, "cutouts val": 2},
    ),
    "distinctions": (
        "matte/Distinctions-646",
        {"Train/FG/13(2).png": "Train/GT/13(2).png", "Test/FG/4.png": "Test/GT/4.png"},
        {"cutouts train": 1, "cutouts val": 1},
    ),
    "human-2k": (
        "matte/Human-2K",
        {"train/fg/1.png": "train/alpha/1.png", "test/fg/2.png": "test/alpha/2.png"},
        {"cutouts train": 1, "cutouts val": 1},
    ),
}


def listed(root: Path) -> dict[str, int]:
    """How many images each list holds, without the empty ones."""
    counts = {}
    for split in ("train", "val"):
        counts[f"seg {split}"] = len(list_pairs(root, "seg", split, required=False))
        counts[f"matte {split}"] = len(list_pairs(root, "matte", split, required=False))
        counts[f"cutouts {split}"] = len(list_cutouts(root, split))
        counts[f"background {split}"] = len(list_backgrounds(root, split, required=False))
    return {name: count for name, count in counts.items() if count}


def test_names_come_in_natural_order(data: Path) -> None:
    names = [p.image.name for p in list_pairs(data, "seg", "train")]
    assert names == ["1.jpg", "2.jpg", "10.jpg"]


def test_every_kind_is_found(data: Path) -> None:
    assert listed(data) == {
        "seg train": 3,
        "matte train": 1,
        "cutouts train": 2,
        "background train": 2,
    }
    rgba = data / "matte/c/rgba/1.png"
    assert list_cutouts(data, "train")[1] == Pair("c", rgba, None)


def test_hidden_files_and_other_kinds_are_no_images(data: Path) -> None:
    expected = listed(data)
    for name in (".DS_Store", "._1.jpg", "Thumbs.db", "notes.txt"):
        (data / "seg/a/images" / name).write_bytes(b"no image")
        (data / "background" / name).write_bytes(b"no image")
    (data / "seg/.cache/images").mkdir(parents=True)
    (data / "matte/.DS_Store").write_bytes(b"")
    assert listed(data) == expected


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_sets_lie_as_unpacked(name: str, tmp_path: Path) -> None:
    place, pairs, expected = PUBLISHED[name]
    for image, label in pairs.items():
        write(tmp_path / place / image)
        write(tmp_path / place / label, 4 if "matting" in label else 1)
    assert listed(tmp_path) == expected
    kind, source = place.split("/")
    found = list_pairs(tmp_path, kind, "train", required=False)
    found += list_pairs(tmp_path, kind, "val", required=False)
    if kind == "matte":
        found = list_cutouts(tmp_path, "train") + list_cutouts(tmp_path, "val")
    assert {p.source for p in found} == {source}
    labels = {p.image: p.label for p in found}
    folder = tmp_path / place
    assert labels == {folder / image: folder / label for image, label in pairs.items()}


def test_a_manifest_keeps_val_apart(data: Path) -> None:
    (data / "manifest.csv").write_text("path,split\nseg/a/images/2.jpg,val\n")
    (data / "background/BACKGROUND.csv").write_text("file,split\n2.jpg,val\n")
    assert listed(data) == {
        "seg train": 2,
        "seg val": 1,
        "matte train": 1,
        "cutouts train": 2,
        "background train": 1,
        "background val": 1,
    }


def test_val_txt_keeps_val_apart(data: Path) -> None:
    write(data / "seg/a/images/x#1.jpg")
    write(data / "seg/a/masks/x#1.png", 1)
    (data / "val.txt").write_text(
        "# held out\n\n./seg/a/images/2.jpg  # blurred\nseg/a/images/x#1.jpg\n"
        "matte/c/rgba/1.png\nbackground/1.jpg\n"
        "seg/a/images/never_there.jpg\n"
    )
    assert listed(data) == {
        "seg train": 2,
        "seg val": 2,
        "matte train": 1,
        "cutouts train": 1,
        "cutouts val": 1,
        "background train": 1,
        "background val": 1,
    }


def test_a_split_file_overrides_the_published_split(tmp_path: Path) -> None:
    for name in ("1", "2"):
        write(tmp_path / f"matte/PPM-100/image/{name}.jpg")
        write(tmp_path / f"matte/PPM-100/matte/{name}.jpg", 1)
    (tmp_path / "manifest.csv").write_text("path,split\nmatte/PPM-100/image/1.jpg,train\n")
    assert listed(tmp_path) == {
        "matte train": 1,
        "cutouts train": 1,
        "matte val": 1,
        "cutouts val": 1,
    }


@pytest.mark.parametrize(
    ("content", "what"),
    [(b"file,kind\na,b\n", "columns path and split"), (b"\xff\xfe\x00", "not UTF-8")],
)
def test_a_table_that_is_none_is_named(data: Path, content: bytes, what: str) -> None:
    (data / "manifest.csv").write_bytes(content)
    with pytest.raises(BadData, match=rf"manifest\.csv: .*{what}"):
        list_pairs(data, "seg", "train")


def test_a_missing_label_is_named(data: Path) -> None:
    (data / "seg/a/masks/2.png").unlink()
    with pytest.raises(BadData, match=r"2\.jpg: no file of that name in .*masks"):
        list_pairs(data, "seg", "train")


def test_an_unknown_layout_is_named(data: Path) -> None:
    write(data / "matte/odd/photos/1.jpg")
    with pytest.raises(BadData, match=r"matte/odd: laid out in no known way"):
        list_cutouts(data, "train")
    assert len(list_pairs(data, "seg", "train")) == 3


def test_nothing_is_an_error_unless_allowed(data: Path, tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no val images in seg/<set>/images with seg/<set>/masks"):
        list_pairs(data, "seg", "val")
    with pytest.raises(BadData, match="no val images in background"):
        list_backgrounds(data, "val")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(BadData, match="no train images in background"):
        list_backgrounds(empty, "train")
    assert listed(empty) == {}


def test_data_is_given_or_named_or_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, named = tmp_path / "given", tmp_path / "named"
    given.mkdir()
    named.mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("WSSHM_DATA", raising=False)
    with pytest.raises(UsageError, match=r"\$WSSHM_DATA.*seg/<set>/images \+ masks.*background"):
        find_data(None)
    (tmp_path / "data").mkdir()
    assert find_data(None).resolve() == tmp_path / "data"
    monkeypatch.setenv("WSSHM_DATA", str(named))
    assert find_data(None) == named
    assert find_data(given) == given


def test_data_that_is_named_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    with pytest.raises(CannotOpen, match="elsewhere: no such folder"):
        find_data(tmp_path / "elsewhere")
    monkeypatch.setenv("WSSHM_DATA", str(tmp_path / "gone"))
    with pytest.raises(CannotOpen, match=r"gone: no such folder, but \$WSSHM_DATA names it"):
        find_data(None)


@pytest.mark.parametrize("name", ["manifest.csv", "val.txt"])
def test_a_table_that_cannot_be_read_is_named(data: Path, name: str) -> None:
    (data / name).mkdir()
    with pytest.raises(CannotOpen, match=rf"{name}: is a directory"):
        list_cutouts(data, "train")
