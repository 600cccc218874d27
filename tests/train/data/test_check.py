from __future__ import annotations

import re
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import BadData
from train.data.check import check, faults, lacking

W, H = 32, 24
MASKS, ALPHAS, RGBA = "seg/a/masks", "matte/b/alphas", "matte/c/rgba"


def noise_image(channels: int = 3, width: int = W, height: int = H) -> np.ndarray:
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


@pytest.fixture
def clean(tmp_path: Path) -> Path:
    """A data set without a fault, among files that are not part of it."""
    for folder in ("seg/a/images", "matte/b/images", "background"):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("2", "10"):
            cv2.imwrite(str(tmp_path / folder / f"{name}.jpg"), noise_image())
        (tmp_path / folder / ".DS_Store").write_bytes(b"Bud1")
        (tmp_path / folder / "._2.jpg").write_bytes(b"Mac OS X")
    for folder, channels in (MASKS, 1), (ALPHAS, 1), (RGBA, 4):
        (tmp_path / folder).mkdir(parents=True)
        for name in ("2", "10"):
            cv2.imwrite(str(tmp_path / folder / f"{name}.png"), noise_image(channels))
    Image.fromarray(noise_image(1) > 127).save(tmp_path / MASKS / "2.png")  # one bit a pixel
    Image.fromarray(noise_image(4)).save(tmp_path / RGBA / "3.webp", lossless=True)
    return tmp_path


def cut(path: Path) -> None:
    """Truncate a file to its first half."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def truncated(path: Path) -> None:
    cv2.imwrite(str(path), noise_image())
    cut(path)


def progressive(path: Path) -> None:
    Image.fromarray(noise_image()).save(path, progressive=True)
    cut(path)


def junk(path: Path) -> None:
    path.write_bytes(b"no image at all")


def rotated(path: Path, orientation: int = 6) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise_image()).save(path, exif=exif)


def upside_down(path: Path) -> None:
    rotated(path, 3)


def cmyk(path: Path) -> None:
    Image.fromarray(noise_image()).convert("CMYK").save(path, "JPEG")


def palette(path: Path) -> None:
    Image.fromarray(noise_image(1)).convert("P").save(path)


def sixteen_bits(path: Path) -> None:
    cv2.imwrite(str(path), noise_image(1).astype(np.uint16) * 257)


def sixteen_bit_rgba(path: Path) -> None:
    cv2.imwrite(str(path), noise_image(4).astype(np.uint16) * 257)


def other_size(path: Path) -> None:
    cv2.imwrite(str(path), noise_image(3, W + 1))


def nobody(path: Path) -> None:
    cv2.imwrite(str(path), np.full((H, W), 127, np.uint8))


def of_classes(path: Path) -> None:
    cv2.imwrite(str(path), noise_image(1) // 128)


def black(path: Path) -> None:
    cv2.imwrite(str(path), np.zeros((H, W), np.uint8))


def opaque(path: Path) -> None:
    cv2.imwrite(str(path), noise_image())


def invisible(path: Path) -> None:
    rgba = noise_image(4)
    rgba[..., 3] = 0
    cv2.imwrite(str(path), rgba)


def bomb(side: int) -> Callable[[Path], None]:
    """A PNG of side × side pixels by its header, with nothing behind it."""

    def write(path: Path) -> None:
        def chunk(name: bytes, data: bytes) -> bytes:
            check = struct.pack(">I", zlib.crc32(name + data))
            return struct.pack(">I", len(data)) + name + data + check

        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)

    return write


@pytest.mark.parametrize(
    ("file", "spoil", "what"),
    [
        ("seg/a/images/2.jpg", truncated, "ends early"),
        ("seg/a/images/2.jpg", progressive, "ends early"),
        ("seg/a/images/2.jpg", junk, "not a readable image"),
        ("seg/a/images/2.jpg", rotated, r"24x32, but .*masks/2\.png is 32x24; rotate one"),
        ("seg/a/images/2.jpg", upside_down, "EXIF"),
        ("seg/a/images/2.jpg", other_size, r"33x24, but .*masks/2\.png is 32x24"),
        ("seg/a/images/2.jpg", Path.mkdir, "directory"),
        ("seg/a/images/2.jpg", Path.touch, "not a readable image"),
        (f"{MASKS}/10.png", cut, "not a readable"),
        (f"{MASKS}/10.png", palette, "palette"),
        (f"{MASKS}/10.png", sixteen_bits, "16-bit"),
        (f"{MASKS}/10.png", rotated, "EXIF"),
        (f"{MASKS}/10.png", cmyk, "CMYK"),
        (f"{MASKS}/10.png", nobody, "brightest pixel is 127 of 255"),
        (f"{MASKS}/10.png", of_classes, "brightest pixel is 1 of 255"),
        (f"{MASKS}/10.png", black, "empty"),
        (f"{ALPHAS}/10.png", black, "empty"),
        (f"{ALPHAS}/10.png", of_classes, "brightest pixel is 1 of 255"),
        (f"{ALPHAS}/10.png", palette, "palette"),
        (f"{RGBA}/10.png", opaque, "no alpha"),
        (f"{RGBA}/10.png", invisible, "alpha is empty"),
        (f"{RGBA}/3.webp", cut, "not a readable"),
        ("background/10.jpg", bomb(30_000), "more than 8192x8192"),
        ("background/10.jpg", bomb(10_000), "more than 8192x8192"),
        ("background/10.jpg", bomb(8_200), "more than 8192x8192"),
        ("background/10.jpg", truncated, "ends early"),
    ],
)
def test_every_fault_is_named_once(
    clean: Path, file: str, spoil: Callable[[Path], object], what: str
) -> None:
    path = clean / file
    if spoil is not cut:
        path.unlink()
    spoil(path)
    (line,) = faults(clean)
    named, _, rest = line.partition(": ")
    assert Path(named) == path
    assert re.search(what, rest), line
    assert "; " in rest, "a fault says what to do"


def test_a_clean_set_has_none(clean: Path) -> None:
    assert faults(clean) == []
    assert check(clean, pytest.fail).endswith("no fault in 13 files")


def test_faults_of_several_files_come_in_natural_order(clean: Path) -> None:
    for name in ("10", "2"):
        upside_down(clean / f"seg/a/images/{name}.jpg")
    junk(clean / "background/2.jpg")
    named = [Path(line.partition(": ")[0]) for line in faults(clean)]
    files = ("background/2.jpg", "seg/a/images/2.jpg", "seg/a/images/10.jpg")
    assert named == [clean / file for file in files]


def test_one_file_may_have_several_faults(clean: Path) -> None:
    path = clean / MASKS / "2.png"
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(noise_image()).convert("CMYK").save(path, "JPEG", exif=exif)
    assert [line.removeprefix(f"{path}: ")[:4] for line in faults(clean)] == ["CMYK", "its "]


def test_images_that_are_read_as_they_are_shown_are_no_fault(clean: Path) -> None:
    """Those of phones lie on their side, and a mask drawn on one as it is shown stands upright."""
    rotated(clean / "seg/a/images/2.jpg")
    cv2.imwrite(str(clean / MASKS / "2.png"), noise_image(1, H, W))
    (clean / "seg/a/images/10.jpg").unlink()
    palette(clean / "seg/a/images/10.png")
    sixteen_bit_rgba(clean / RGBA / "10.png")
    cmyk(clean / "background/2.jpg")
    upside_down(clean / "background/10.jpg")
    assert faults(clean) == []


@pytest.mark.parametrize("size", [(W, H), (H, W)])
def test_a_turned_label_is_not_also_of_another_size(clean: Path, size: tuple[int, int]) -> None:
    """Stored and shown size differ; which of them the image has is known once it is turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise_image(3, *size)).save(clean / MASKS / "2.png", exif=exif)
    (line,) = faults(clean)
    assert "EXIF" in line


def test_a_label_of_two_images_is_named_once(clean: Path) -> None:
    cv2.imwrite(str(clean / "seg/a/images/2.png"), noise_image())
    palette(clean / MASKS / "2.png")
    (line,) = faults(clean)
    assert line.startswith(f"{clean / MASKS / '2.png'}: has a palette")


@pytest.mark.parametrize(("folder", "labels"), [("seg/a", "masks"), ("matte/b", "alphas")])
def test_both_halves_of_a_missing_pair_are_named(clean: Path, folder: str, labels: str) -> None:
    image, label = clean / folder / "images/2.jpg", clean / folder / labels / "10.png"
    (clean / folder / labels / "2.png").unlink()
    (clean / folder / "images/10.jpg").unlink()
    first, second = sorted(faults(clean), key=lambda line: labels in line.partition(":")[0])
    assert first.startswith(f"{image}: no file of that name in {label.parent}; ")
    assert second.startswith(f"{label}: belongs to no image in {image.parent}; ")


def test_a_missing_folder_of_labels_names_every_image(clean: Path) -> None:
    (clean / MASKS).rename(clean / "seg/a/labels")
    assert len(faults(clean)) == 2
    assert all("no file of that name" in line for line in faults(clean))


def test_two_labels_of_one_name_are_named(clean: Path) -> None:
    cv2.imwrite(str(clean / MASKS / "2.bmp"), noise_image(1))
    (line,) = faults(clean)
    assert f"{clean / MASKS}/2." in line
    assert "belongs to no image" in line


@pytest.fixture
def fine(clean: Path) -> Path:
    """Give the photographs fine labels; return their folder."""
    folder = clean / "seg/a/fine"
    folder.mkdir()
    for name in ("2", "10"):
        Image.fromarray(noise_image(1)).save(folder / f"{name}.webp")
    return folder


def test_fine_labels_without_a_fault_are_counted(clean: Path, fine: Path) -> None:
    Image.fromarray(np.zeros((H, W), np.uint8)).save(fine / "2.webp")  # found nobody
    assert check(clean, pytest.fail).endswith("no fault in 15 files")


@pytest.mark.parametrize(
    ("name", "spoil", "named", "what"),
    [
        ("2.webp", cut, "fine/2.webp", "not a readable"),
        ("2.webp", other_size, "images/2.jpg", r"32x24, but .*fine/2\.webp is 33x24; "),
        ("3.webp", other_size, "fine/3.webp", "belongs to no image in .*seg/a/images; remove it"),
        ("2.png", nobody, "fine/2.", "belongs to no image"),
        ("10.webp", Path.unlink, "fine", r"lacks 1 of the images in .*, first 10\.jpg; make"),
    ],
)
def test_a_fault_of_a_fine_label_is_named_once(
    clean: Path, fine: Path, name: str, spoil: Callable[[Path], object], named: str, what: str
) -> None:
    spoil(fine / name)
    (line,) = faults(clean)
    assert line.startswith(str(clean / "seg/a" / named))
    assert re.search(what, line), line


def test_only_photographs_to_learn_from_need_fine_labels(clean: Path, fine: Path) -> None:
    (fine / "10.webp").unlink()
    (clean / "val.txt").write_text("seg/a/images/10.jpg\n")
    assert faults(clean) == []


def test_an_unknown_layout_is_named(clean: Path) -> None:
    (clean / "matte/odd/photos").mkdir(parents=True)
    (line,) = faults(clean)
    assert line.startswith(f"{clean / 'matte/odd'}: laid out in no known way; ")


@pytest.mark.parametrize(
    ("table", "content", "named", "what"),
    [
        ("manifest.csv", "path,split\nseg/a/images/3.jpg,val\n", "seg/a/images/3.jpg", "no such"),
        ("manifest.csv", "path,split\nunlabelled/1.jpg,train\n", "unlabelled/1.jpg", "no such"),
        ("manifest.csv", f"path,split\n{MASKS}/2.png,val\n", f"{MASKS}/2.png", "no such"),
        ("manifest.csv", "path,split\nseg/a/images/2.jpg,Val\n", "seg/a/images/2.jpg", "'Val'"),
        ("manifest.csv", "file,split\n", "manifest.csv", "columns path and split"),
        ("val.txt", "seg/a/images\n", "seg/a/images", "no such"),
        ("val.txt", "matte/c/rgba/4.png\nmatte/c/rgba/2.png\n", "matte/c/rgba/4.png", "no such"),
        ("background/BACKGROUND.csv", "file,split\n9.jpg,val\n", "background/9.jpg", "no such"),
    ],
)
def test_a_split_file_names_only_images(
    clean: Path, table: str, content: str, named: str, what: str
) -> None:
    (clean / table).write_text(content)
    (line,) = faults(clean)
    assert line.startswith(f"{clean / named}: ")
    assert what in line


def test_a_split_that_is_right_is_no_fault(clean: Path) -> None:
    (clean / "unlabelled").mkdir()
    (clean / "unlabelled/1.jpg").touch()
    (clean / "manifest.csv").write_text(
        "path,split\nseg/a/images/2.jpg,val\nunlabelled/1.jpg,train\nmatte/c/rgba/2.png,test\n"
    )
    (clean / "val.txt").write_text("seg/a/images/10.jpg\nbackground/2.jpg\n")
    assert faults(clean) == []


def test_a_label_in_an_alpha_channel_is_read_there(tmp_path: Path) -> None:
    """AISegment: an all but black image whose alpha says where the person is, and one empty."""
    for name, alpha in ("1", 255), ("2", 0):
        image = tmp_path / f"seg/ai/clip_img/18/clip_00/{name}.jpg"
        label = tmp_path / f"seg/ai/matting/18/matting_00/{name}.png"
        for path in image, label:
            path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(image), noise_image())
        rgba = np.zeros((H, W, 4), np.uint8)
        rgba[:, : W // 2, 3] = alpha
        cv2.imwrite(str(label), rgba)
    (line,) = faults(tmp_path)
    assert line.startswith(f"{label}: empty")


def test_no_data_at_all_is_a_fault(tmp_path: Path) -> None:
    (line,) = faults(tmp_path)
    assert line.startswith(f"{tmp_path}: no images")


def test_check_says_every_line_and_counts_them(clean: Path) -> None:
    truncated(clean / "background/2.jpg")
    junk(clean / "background/10.jpg")
    said: list[str] = []
    with pytest.raises(BadData, match=r"2 faults in 13 files"):
        check(clean, said.append)
    assert said == faults(clean)
    assert len(said) == 2


def test_one_fault_is_no_faults(clean: Path) -> None:
    junk(clean / "background/10.jpg")
    with pytest.raises(BadData, match=r"1 fault in 13 files"):
        check(clean, lambda line: None)


def test_where_nothing_is_nothing_can_be_repaired(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"1 fault, and no file of data$") as error:
        check(tmp_path, lambda line: None)
    assert not error.value.remedy


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        ((), []),
        (("background",), ["teacher needs photographs without people in background"]),
        (
            ("background", "matte"),
            ["teacher needs cut-outs in matte/<set> and photographs without people in background"],
        ),
        (
            ("seg",),
            ["pretrain needs masks in seg/<set>", "student needs masks in seg/<set>"],
        ),
    ],
)
def test_what_a_step_lacks_is_said_of_that_step(
    clean: Path, folders: tuple[str, ...], says: list[str]
) -> None:
    """Also where all that there is is listed for another split than the one to train on."""
    images = (
        p for p in clean.rglob("[0-9]*.*") if p.parent.name in ("images", "rgba", "background")
    )
    names = [p for p in images if p.relative_to(clean).parts[0] in folders]
    (clean / "val.txt").write_text("\n".join(p.relative_to(clean).as_posix() for p in names))
    lines = [f"{clean}: wsshm train {line}" for line in says]
    assert (lacking(clean), faults(clean)) == (lines, [])
    for folder in folders:
        shutil.rmtree(clean / folder)
    (clean / "val.txt").unlink()
    assert (lacking(clean), faults(clean)) == (lines, [])
