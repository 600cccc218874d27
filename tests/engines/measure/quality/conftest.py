"""Small sets of labelled images."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


@pytest.fixture
def masks(tmp_path: Path) -> Path:
    """For brightness: right on source a, wrong on b; c is not val."""
    val = []
    for source, right in (("a", True), ("b", False), ("c", False)):
        for kind in ("images", "masks"):
            (tmp_path / "seg" / source / kind).mkdir(parents=True)
        image = np.zeros((64, 64), np.uint8)
        image[:, 32:] = 255
        for name in ("1", "2", "3"):
            cv2.imwrite(str(tmp_path / f"seg/{source}/images/{name}.png"), cv2.merge([image] * 3))
            mask = image if right else 255 - image
            cv2.imwrite(str(tmp_path / f"seg/{source}/masks/{name}.png"), mask)
            val += [f"seg/{source}/images/{name}.png"] if source != "c" else []
    (tmp_path / "val.txt").write_text("\n".join(val))
    return tmp_path
