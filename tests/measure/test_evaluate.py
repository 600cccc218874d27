from __future__ import annotations

import csv
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.engine import open_engine
from engines.measure.evaluate import iou, mask_iou, matte


def test_iou_by_hand() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 255
    alpha = np.zeros((4, 4), np.float32)
    alpha[1:3] = 0.5
    assert iou(alpha, mask) == pytest.approx(4 / 12)
    assert iou(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8)) == 1.0
    assert iou(alpha, np.zeros((4, 4), np.uint8)) == 0.0


def test_matte_has_the_size_of_the_picture(brightness: Path) -> None:
    """Through padding and back: a picture that is half white gives the alpha that is half one."""
    rgb = np.zeros((70, 111, 3), np.uint8)
    rgb[:, 60:] = 255
    alpha = matte(open_engine(brightness), rgb, 64)
    assert alpha.shape == (70, 111)
    assert alpha[:, :56].max() < 0.01
    assert alpha[:, 64:].min() > 0.99


def test_scores_are_by_source_and_of_val_only(brightness: Path, tmp_path: Path) -> None:
    """The brightness model is right on source a, wrong on b, and never sees a train picture."""
    rows = []
    for source, right, split in (("a", True, "val"), ("b", False, "val"), ("c", False, "train")):
        folder = tmp_path / "seg" / source
        for kind in ("images", "masks"):
            (folder / kind).mkdir(parents=True)
        picture = np.zeros((64, 64), np.uint8)
        picture[:, 32:] = 255
        mask = picture if right else 255 - picture
        cv2.imwrite(str(folder / "images/1.png"), cv2.merge([picture] * 3))
        cv2.imwrite(str(folder / "masks/1.png"), mask)
        rows.append([f"seg/{source}/images/1.png", split])
    with (tmp_path / "manifest.csv").open("w", newline="") as f:
        csv.writer(f).writerows([["path", "split"], *rows])
    assert mask_iou(open_engine(brightness), tmp_path) == {"a": 1.0, "b": 0.0}
