from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.measure.quality import cases
from tests.engines.datasets.conftest import cutout


def test_the_set_of_composites(tmp_path: Path) -> None:
    """Three of each val cut-out; photographs with alpha and the train split have no part in it."""
    rng = np.random.default_rng(0)
    for folder in ("matte/a/rgba", "matte/b/images", "matte/b/alphas", "background"):
        (tmp_path / folder).mkdir(parents=True)
    bgra = cv2.cvtColor(cutout(), cv2.COLOR_RGBA2BGRA)
    for name in ("anna", "bert"):
        cv2.imwrite(str(tmp_path / f"matte/a/rgba/{name}.png"), bgra)
    cv2.imwrite(str(tmp_path / "matte/b/images/1.png"), bgra[..., :3])
    cv2.imwrite(str(tmp_path / "matte/b/alphas/1.png"), bgra[..., 3])
    for i in range(5):
        image = rng.integers(0, 256, (50, 60, 3), np.uint8)
        cv2.imwrite(str(tmp_path / f"background/{i}.png"), image)
    val = [
        "matte/a/rgba/anna.png",
        "matte/b/images/1.png",
        *(f"background/{i}.png" for i in range(4)),
    ]
    (tmp_path / "val.txt").write_text("\n".join(val))

    found = cases.composites(tmp_path, "val")
    assert [(c.source, c.group) for c in found] == [("a", "anna")] * 3
    assert len({c.name for c in found}) == 3
    assert not any(c.name.endswith("+4") for c in found)  # a train background
    first, again = (found[0].read(), cases.composites(tmp_path, "val")[0].read())
    assert (first[0] == again[0]).all()
    assert (first[0][:, 20:] == (10, 20, 200)).all()
    assert (first[1] == cutout()[..., 3]).all()
    assert len(cases.mattes(tmp_path, "val")) == 1
    assert cases.masks(tmp_path, "val") == []


def test_cases_are_chosen_by_pattern_and_number(masks: Path) -> None:
    found = cases.masks(masks, "val")

    def names(**how: Any) -> list[str]:
        return [f"{c.source}/{c.name}" for c in cases.choose(found, **how)]

    assert names() == ["a/1", "a/2", "a/3", "b/1", "b/2", "b/3"]
    assert names(limit=2) == ["a/1", "a/2", "b/1", "b/2"]
    assert names(only="*/2") == ["a/2", "b/2"]
    assert names(only="b/*", limit=1) == ["b/1"]
