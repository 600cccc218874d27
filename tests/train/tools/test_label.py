"""`train.tools.label`: what a teacher sees, and the labels that it leaves."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from engines.datasets.layout import Pair, list_pairs
from engines.datasets.read import read_fine, read_pair
from engines.errors import BadData, UsageError
from engines.measure.estimators.estimator import Estimator
from engines.measure.estimators.open import open_estimator
from engines.models import find
from tests.engines.measure.estimators import peer_graphs
from train.config import load
from train.data.blend import BlendRule
from train.tools import label_sheet
from train.tools.label import fine_alpha, jobs, label, photographs

MODEL = Path("teacher.onnx")


class Red:
    """A teacher whose alpha is red, and who remembers the sizes that it saw."""

    name = "red"

    def __init__(self) -> None:
        self.seen: list[tuple[int, ...]] = []
        self.new = False

    def reset(self) -> None:
        self.new = True

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        assert self.new, "each photograph is a sequence of its own"
        self.new = False
        self.seen.append(rgb.shape)
        return rgb[..., 0].astype(np.float32) / 255


def photo(root: Path, name: str, rgb: np.ndarray, mask: np.ndarray) -> None:
    for folder, image in ("images", rgb[..., ::-1]), ("masks", mask):
        (root / "seg/a" / folder).mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(root / f"seg/a/{folder}/{name}.png"), image)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def made(root: Path, teacher: Estimator | None = None) -> list[str]:
    return list(label(teacher or Red(), MODEL, jobs(root, photographs(root))))


def test_the_teacher_sees_the_person_with_a_fifth_around() -> None:
    """The box is 40×100 pixels, so its margin is 20 on every side, but not beyond the image."""
    rgb, mask, teacher = noise(300, 400), np.zeros((300, 400), np.uint8), Red()
    mask[10:111, 200:240] = 128
    mask[50, 0] = 127  # is nobody
    alpha = fine_alpha(teacher, MODEL, rgb, mask)
    assert teacher.seen == [(131, 80, 3)]
    seen = np.zeros(mask.shape, bool)
    seen[0:131, 180:260] = True
    assert (alpha[seen] == rgb[..., 0][seen]).all()
    assert not alpha[~seen].any()


def test_a_large_person_is_seen_with_all_of_the_photograph() -> None:
    rgb, mask, teacher = noise(100, 100), np.zeros((100, 100), np.uint8), Red()
    mask[10:90, 15:85] = 255
    assert (fine_alpha(teacher, MODEL, rgb, mask) == rgb[..., 0]).all()
    assert teacher.seen == [(100, 100, 3)]


def test_where_nobody_is_no_teacher_is_asked() -> None:
    assert not fine_alpha(Red(), MODEL, noise(20, 30), np.zeros((20, 30), np.uint8)).any()


def test_labels_lie_beside_the_masks_and_are_made_once(tmp_path: Path) -> None:
    mask = np.full((60, 50), 255, np.uint8)
    for name in ("1", "a.b", "10"):
        photo(tmp_path, name, np.repeat(mask[..., None], 3, 2), mask)
    (tmp_path / "val.txt").write_text("seg/a/images/10.png\n")
    assert made(tmp_path) == ["", ""]
    folder = tmp_path / "seg/a/fine"
    assert sorted(p.name for p in folder.iterdir()) == ["1.webp", "a.b.webp"]
    for pair in list_pairs(tmp_path, "seg", "train"):
        rgb, _ = read_pair(pair)
        assert (read_fine(pair, rgb) >= 254).all()
    (folder / "1.webp").rename(folder / "1.png")  # whatever its kind
    assert made(tmp_path) == []
    (folder / "a.b.webp").unlink()
    assert [job.pair.image.stem for job in jobs(tmp_path, photographs(tmp_path))] == ["a.b"]


def test_a_set_as_its_authors_lay_it_out_has_a_place_too(tmp_path: Path) -> None:
    for kind in ("clip_img/18/clip_00", "matting/18/matting_00"):
        (tmp_path / "seg/ai" / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / "seg/ai" / kind / "3.png"), np.full((40, 30), 255, np.uint8))
    assert made(tmp_path) == [""]
    assert (tmp_path / "seg/ai/fine/18/fine_00/3.webp").is_file()
    assert made(tmp_path) == []


def test_a_photograph_longer_than_webp_allows_gets_a_png(tmp_path: Path) -> None:
    mask = np.full((2, 16400), 255, np.uint8)
    photo(tmp_path, "long", noise(2, 16400), mask)
    assert made(tmp_path) == [""]
    assert (tmp_path / "seg/a/fine/long.png").is_file()


def test_what_cannot_be_read_is_named_and_the_others_are_labelled(tmp_path: Path) -> None:
    mask = np.full((60, 50), 255, np.uint8)
    for name in ("1", "2", "3"):
        photo(tmp_path, name, noise(60, 50), mask)
    cv2.imwrite(str(tmp_path / "seg/a/masks/1.png"), mask[:, :40])
    (tmp_path / "seg/a/images/2.png").write_bytes(b"no image")
    size, unreadable, good = made(tmp_path)
    assert "masks/1.png: 40x60, its image is 50x60" in size
    assert "images/2.png: not a readable image" in unreadable
    assert good == ""
    assert [p.name for p in (tmp_path / "seg/a/fine").iterdir()] == ["3.webp"]


@pytest.mark.parametrize(
    ("fails", "what"),
    [
        (lambda rgb: 1 / 0, "the model failed"),
        (lambda rgb: np.full(rgb.shape[:2], np.nan, np.float32), "outside"),
        (lambda rgb: np.full(rgb.shape[:2], 9, np.float32), "outside"),
        (lambda rgb: np.zeros((3, 3), np.float32), "gave alpha of"),
    ],
)
def test_a_teacher_that_fails_ends_the_work(
    tmp_path: Path, fails: Callable[[np.ndarray], np.ndarray], what: str
) -> None:
    class Failing(Red):
        def __call__(self, rgb: np.ndarray) -> np.ndarray:
            return fails(rgb)

    photo(tmp_path, "1", noise(60, 50), np.full((60, 50), 255, np.uint8))
    with pytest.raises(BadData, match=rf"teacher\.onnx: .*{what}"):
        made(tmp_path, Failing())
    assert not list(tmp_path.rglob("*.webp"))


def test_sets_that_have_no_masks_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="no train images in seg"):
        photographs(tmp_path)
    photo(tmp_path, "1", noise(60, 50), np.full((60, 50), 255, np.uint8))
    with pytest.raises(UsageError, match=r"--set b: .*; use one of a"):
        photographs(tmp_path, ["b"])
    assert len(photographs(tmp_path, ["a"])) == 1


@pytest.mark.parametrize("teacher", ["fast", "isnet"])
def test_real_files_teach(tmp_path: Path, teacher: str) -> None:
    """One of ours, and a file of another project."""
    portrait = data.astronaut()
    mask = np.zeros((512, 512), np.uint8)
    cv2.ellipse(mask, (220, 130), (70, 110), 0, 0, 360, 255, -1)
    model = find("fast") if teacher == "fast" else peer_graphs.isnet(tmp_path / "isnet.onnx")
    alpha = fine_alpha(open_estimator(model), model, portrait, mask)
    assert alpha.shape == mask.shape
    assert not alpha[:, 400:].any(), "beyond the cut"
    if teacher == "fast":
        assert alpha[90:170, 190:250].mean() > 240, "the face"
        assert alpha[10:60, 120:140].mean() < 40, "the wall beside her"


# ---- the sheet


def test_a_sheet_ranks_photographs_by_what_is_trusted(tmp_path: Path) -> None:
    """Image, mask, fine label and what is learnt, of the least, the median and the most."""
    mask = np.zeros((200, 150), np.uint8)
    mask[40:, 40:110] = 255
    pairs = []
    for name, moved in ("good", 0), ("bad", 60), ("fair", 20):
        photo(tmp_path, name, np.full((200, 150, 3), 90, np.uint8), mask)
        fine = np.roll(mask, moved, axis=1)
        fine[120:] = mask[120:]
        (tmp_path / "seg/a/fine").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / f"seg/a/fine/{name}.png"), fine)
    photo(tmp_path, "none", np.full((200, 150, 3), 90, np.uint8), mask)
    pairs = list_pairs(tmp_path, "seg", "train")
    rule = BlendRule.of(load("paper", "student"))
    shares = {p.image.stem: label_sheet.trusted_share(p, rule) for p in pairs if p.fine}
    assert shares["good"] == 1 > shares["fair"] > shares["bad"] > 0.3
    out = tmp_path / "sheet.png"
    label_sheet.draw(out, pairs, rule, pytest.fail)
    sheet = cv2.imread(str(out))
    side = label_sheet.PANEL_SIDE
    assert sheet.shape == (22 + 22 + side, 3 * 4 * side + 2 * 12, 3)
    red = (sheet[44:] == label_sheet.RED[::-1]).all(2)
    least, median, most = (red[:, i * (4 * side + 12) :][:, : 4 * side] for i in range(3))
    assert least[:, 3 * side :].sum() > median[:, 3 * side :].sum() > most.sum() == 0
    assert not least[:, : 3 * side].any()


def test_a_sheet_of_no_labels_is_refused_and_of_broken_ones_named(tmp_path: Path) -> None:
    photo(tmp_path, "1", noise(60, 50), np.full((60, 50), 255, np.uint8))
    (pair,) = list_pairs(tmp_path, "seg", "train")
    rule = BlendRule.of(load("paper", "student"))
    with pytest.raises(BadData, match="no fine label to draw"):
        label_sheet.draw(tmp_path / "s.png", [pair], rule, pytest.fail)
    broken = tmp_path / "broken.webp"
    said: list[str] = []
    broken.write_bytes(b"none")
    with pytest.raises(BadData, match="no fine label to draw"):
        label_sheet.draw(
            tmp_path / "s.png", [Pair("a", pair.image, pair.label, broken)], rule, said.append
        )
    assert len(said) == 1
    assert str(broken) in said[0]
