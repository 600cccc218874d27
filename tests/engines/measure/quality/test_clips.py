from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import BadData, CannotOpen, UsageError
from engines.measure.estimators.open import open_estimator
from engines.measure.quality import cases, clips
from engines.measure.quality.clips import Part
from engines.measure.quality.evaluate import evaluate, means
from engines.models import shipped
from tests.engines.measure.estimators import peer_graphs
from tests.media import grey_clip, portrait_frame


def grey(*values: int) -> list[np.ndarray]:
    return [np.full((64, 64), v, np.uint8) for v in values]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """Five grey images: 0, 10, 20, 30 and 40."""
    return grey_clip(tmp_path / "five.mp4", grey(0, 10, 20, 30, 40))


def test_a_part_is_written_behind_the_clip(clip: Path) -> None:
    assert Part.parse(str(clip)) == Part(clip, 0, None)
    assert Part.parse(f"{clip}@1-3") == Part(clip, 1, 3)
    named_so = clip.rename(clip.with_name("five@1-3"))
    assert Part.parse(str(named_so)) == Part(named_so)
    assert Part.parse(f"{named_so}@0-0") == Part(named_so, 0, 0)


def test_parts_that_make_no_sense(clip: Path) -> None:
    with pytest.raises(UsageError, match="ends before it begins"):
        Part.parse(f"{clip}@3-1")
    for text in (f"{clip}@1", f"{clip}@1-", f"{clip.parent}/none.mp4@1-3"):
        with pytest.raises(CannotOpen, match="CLIP@FIRST-LAST"):
            Part.parse(text)


@pytest.mark.parametrize(
    ("part", "numbers"), [((), [0, 1, 2, 3, 4]), ((1, 3), [1, 2, 3]), ((4, 4), [4])]
)
def test_read_gives_both_ends_of_a_part(
    clip: Path, part: tuple[int, ...], numbers: list[int]
) -> None:
    found = list(clips.read(Part(clip, *part)))
    assert [i for i, _ in found] == numbers
    assert [np.unique(rgb).tolist() for _, rgb in found] == [[10 * i] for i in numbers]


@pytest.mark.parametrize("part", [(0, 5), (5, 5), (7, 9)])
def test_a_part_beyond_the_end_is_an_error(clip: Path, part: tuple[int, int]) -> None:
    with pytest.raises(BadData, match=rf"ends before image {part[1]}, it has 5"):
        list(clips.read(Part(clip, *part)))


def test_frames_of_several_sizes_are_no_clip(tmp_path: Path) -> None:
    for i, width in enumerate((40, 40, 30)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.zeros((20, width, 3), np.uint8))
    with pytest.raises(BadData, match="image 2: not of the first one's size"):
        list(clips.read(Part(tmp_path)))


def test_an_empty_clip_is_one_sequence_without_people(clip: Path) -> None:
    found = list(clips.empty(Part(clip, 2, 3)))
    assert [(c.set, c.source, c.name, c.group, c.frame) for c in found] == [
        ("empty", "five", "00002", "five", 2),
        ("empty", "five", "00003", "five", 3),
    ]
    rgb, truth = found[1].read()
    assert np.unique(rgb) == [30]
    assert truth.shape == (64, 64)
    assert truth.dtype == np.uint8
    assert not truth.any()


def test_empty_photographs_are_the_backgrounds_of_a_split(tmp_path: Path) -> None:
    (tmp_path / "background").mkdir()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(tmp_path / f"background/{name}.png"), np.full((5, 7, 3), 9, np.uint8))
    (tmp_path / "val.txt").write_text("background/a.png\nbackground/c.png")
    found = cases.empty(tmp_path, "val")
    assert [(c.source, c.name, c.group, c.frame) for c in found] == [
        ("background", "a", "a", None),
        ("background", "c", "c", None),
    ]
    rgb, truth = found[0].read()
    assert rgb.shape == (5, 7, 3)
    assert truth.shape == (5, 7)
    assert not truth.any()
    assert cases.empty(tmp_path / "background", "val") == []


def test_recurrent_peers_remember_an_empty_clip_but_no_photograph(tmp_path: Path) -> None:
    """Alpha is 0.2 in a first black image, and 0.1 more in each that follows."""
    peer = open_estimator(peer_graphs.rvm(tmp_path / "rvm.onnx"), "rvm")
    black = grey_clip(tmp_path / "black.mp4", grey(0, 0, 0, 0, 0, 0))
    (tmp_path / "background").mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"background/{name}.png"), grey(0)[0])
    order = [
        *cases.empty(tmp_path, "train"),
        *clips.empty(Part(black, 0, 2)),
        *clips.empty(Part(black, 4, 5)),  # another sequence
        *clips.static(Part(black, 0, 3)),
    ]
    rows = evaluate([peer], order)
    mass = [r.values["mass"] for r in rows if r.set == "empty"]
    assert mass == pytest.approx([0.2, 0.2, 0.2, 0.3, 0.4, 0.2, 0.3])
    flicker = [r.values["flicker"] for r in rows if "flicker" in r.values]
    assert flicker == pytest.approx([0.1, 0.1, 0.1])


def test_flicker_of_a_known_clip(brightness: Path, tmp_path: Path) -> None:
    """Alpha is brightness: what moves does not count, what dims by two steps does."""
    images = []
    for i in range(4):
        image = np.zeros((64, 64), np.uint8)
        image[:, :16] = 100 + 30 * i  # moves
        image[:, 32:] = 200 - 2 * i  # flickers; a quarter stands still at 0
        images.append(image)
    part = Part(grey_clip(tmp_path / "dims.mp4", images))
    still = [c.read()[1] for c in clips.static(part)]
    assert not still[0].any()
    for region in still[1:]:
        assert (region[:, 16:] == 255).all()
        assert not region[:, :16].any()
    found = means(evaluate([open_estimator(brightness, "brightness")], clips.static(part)))[""]
    assert found["flicker"] == pytest.approx(2 / 255 * 32 / 48)
    assert found["flicker_soft"] == pytest.approx(2 / 255)


def test_parts_that_touch_are_not_compared(brightness: Path, clip: Path) -> None:
    """What stood still in the first image of a part is not known."""
    order = [*clips.static(Part(clip, 0, 1)), *clips.static(Part(clip, 2, 2))]
    rows = evaluate([open_estimator(brightness, "brightness")], order)
    assert np.isnan(rows[2].values["flicker"])


def test_a_still_image_does_not_flicker(tmp_path: Path) -> None:
    """The shipped model, on copies of a portrait: exactly 0, its soft edge included."""
    portrait = portrait_frame(0, 320, 240)[..., 1]
    part = Part(grey_clip(tmp_path / "still.mp4", [portrait] * 3))
    estimator = open_estimator(next(m for m in shipped() if m.name == "fast").path, "fast", 128)
    found = means(evaluate([estimator], clips.static(part)))[""]
    assert found == {"flicker": 0, "flicker_soft": 0}


def test_most_of_a_real_still_clip_stands_still(shared_data: Path) -> None:
    path = shared_data / "video/person/akiyo_cif.mp4"
    shares = [(c.read()[1] == 255).mean() for c in clips.static(Part(path, 0, 30))]
    assert shares[0] == 0
    assert min(shares[1:]) > 0.5
    assert 0.85 < np.mean(shares[1:]) < 0.98
