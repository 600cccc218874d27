"""`train.tools.pseudo` with the shipped model on the demo's portrait."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data

from engines.datasets.layout import list_pairs
from engines.datasets.read import read_pair
from engines.engine import as_shipped, open_engine
from engines.errors import BadData
from engines.models import find
from train.tools.pseudo import label, label_folder, read_boxes


@pytest.fixture(scope="module")
def street() -> np.ndarray:
    """A large and a small copy of the portrait with a wall between them."""
    portrait = data.astronaut()[:460]
    image = np.full((460, 1000, 3), 128, np.uint8)
    image[:, :460] = portrait[:, :460]
    small = cv2.resize(portrait, (200, 180), interpolation=cv2.INTER_AREA)
    image[280:, 800:] = small
    return image


LARGE, SMALL = (0.22, 0.5, 0.36, 1.0), (0.89, 0.8, 0.16, 0.4)


def test_persons_are_found_inside_their_boxes_only(street: np.ndarray) -> None:
    engine = open_engine(find("fast"))
    both = label(engine, street, [LARGE, SMALL])
    one = label(engine, street, [SMALL])
    assert both is not None
    assert one is not None
    assert set(np.unique(both)) == {0, 255}
    assert both.shape == (460, 1000)
    assert both[150, 220] == 255  # the face of the large one
    assert not one[:, :800].any()
    assert (both[:, 810:970] >= one[:, 810:970]).all()
    assert (one[290:, 810:970] > 0).mean() > 0.3
    assert not both[:, 480:790].any()


def test_a_box_with_nobody_in_it_gives_up_the_image(street: np.ndarray) -> None:
    assert label(open_engine(find("fast")), street, [LARGE, (0.6, 0.3, 0.1, 0.5)]) is None


def test_a_folder_becomes_a_set_of_masks(street: np.ndarray, tmp_path: Path) -> None:
    images, out = tmp_path / "images", tmp_path / "seg" / "new"
    images.mkdir()
    for name in ("a", "b", "c"):
        cv2.imwrite(str(images / f"{name}.png"), street[..., ::-1])
    table = tmp_path / "boxes.csv"
    table.write_text(
        "name,cx,cy,w,h\n"
        + "".join(f"a,{','.join(map(str, box))}\n" for box in (LARGE, SMALL))
        + "b.png,0.6,0.3,0.1,0.5\n"
    )
    seen = []
    engine = as_shipped(open_engine(find("fast")), "fast")
    kept = label_folder(engine, images, table, out, lambda *done: seen.append(done))
    assert kept == (1, 2)
    assert seen == [(0, 2), (1, 2), (2, 2)]
    (pair,) = list_pairs(tmp_path, "seg", "train")
    image, mask = read_pair(pair)
    assert (pair.source, pair.image.name) == ("new", "a.png")
    assert (image == street).all()
    assert mask[150, 220] == 255
    with pytest.raises(BadData, match="no image that"):
        label_folder(engine, tmp_path, table, out, lambda *done: None)


def test_masks_that_are_there_are_kept(street: np.ndarray, tmp_path: Path) -> None:
    """Made by hand, or by a run that was stopped; the photographs may be those of OUT."""
    for folder in ("images", "masks"):
        (tmp_path / folder).mkdir()
    for name in ("a", "b"):
        cv2.imwrite(str(tmp_path / f"images/{name}.png"), street[..., ::-1])
    own = tmp_path / "masks/a.bmp"
    cv2.imwrite(str(own), np.full((460, 1000), 255, np.uint8))
    before = own.read_bytes()
    table = tmp_path / "boxes.csv"
    row = ",".join(map(str, LARGE))
    table.write_text(f"name,cx,cy,w,h\na,{row}\nb,{row}\n")
    engine = as_shipped(open_engine(find("fast")), "fast")
    kept = label_folder(engine, tmp_path / "images", table, tmp_path, lambda *done: None)
    assert kept == (2, 2)
    assert sorted(p.name for p in (tmp_path / "masks").iterdir()) == ["a.bmp", "b.png"]
    assert own.read_bytes() == before
    assert (cv2.imread(str(tmp_path / "images/b.png"))[..., ::-1] == street).all()


@pytest.mark.parametrize("box", [(0.0, 1.0, 1e-6, 1e-6), (1.0, 0.0, 1e-6, 2.0), (0.5, 0.5, 2, 2)])
def test_boxes_may_be_narrow_and_leave_the_image(
    street: np.ndarray, box: tuple[float, float, float, float]
) -> None:
    mask = label(open_engine(find("fast")), street, [box])
    assert mask is None or mask.shape == street.shape[:2]


@pytest.mark.parametrize(
    "text",
    [
        "name,x\na,1\n",
        "name,cx,cy,w,h\na,1,2,wide,4\n",
        "name,cx\na\n",
        "name,cx,cy,w,h\na,300,200,100,100\n",
        "name,cx,cy,w,h\na,0.5,0.5,100,100\n",
        "name,cx,cy,w,h\na,0.5,0.5,-0.1,0.1\n",
        "name,cx,cy,w,h\na,0.5,nan,0.1,0.1\n",
    ],
)
def test_a_table_of_something_else_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "boxes.csv").write_text(text)
    with pytest.raises(BadData, match=r"boxes\.csv: not a table of name, cx, cy, w, h"):
        read_boxes(tmp_path / "boxes.csv")


def test_a_table_of_a_spreadsheet_begins_with_a_mark(tmp_path: Path) -> None:
    (tmp_path / "boxes.csv").write_text("name,cx,cy,w,h\na.jpg,0.5,0.5,1,1\n", "utf-8-sig")
    assert read_boxes(tmp_path / "boxes.csv") == {"a": [(0.5, 0.5, 1, 1)]}
