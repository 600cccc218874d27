"""The picture of the work before and after, as `benchmarks.budget` draws it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import pytest

from benchmarks.budget import draw, read
from engines.measure.speed import bench_table
from engines.measure.speed.bench_clip import ClipSpeed, StepSpeed


def result(path: Path, steps: dict[str, float], clip: str = "a/clip.mp4") -> Path:
    """What `wsshm bench --json` prints, of one model."""
    times = [StepSpeed(name, 1, 2, 3, ms) for name, ms in steps.items()]
    speed = ClipSpeed("default", 9, 30, 1, 50, 48, 1.1, "network", 1, 500, times)
    found: dict[str, Any] = {"cpu": "EPYC", "cores": 2}
    found["end_to_end"] = bench_table.speeds([speed], clip=clip, background="blur")
    path.write_text(json.dumps(found))
    return path


def test_steps_of_two_results(tmp_path: Path) -> None:
    """By the name of the file, with today's names of steps; the picture has a bar for each."""
    before = result(tmp_path / "before.json", {"network": 28, "finish": 7})
    after = result(tmp_path / "after.json", {"network": 20, "postprocess": 3.5}, "b/clip.mp4")
    found = read([before, after], "default")
    assert found == {
        "before": {"network": 28, "postprocess": 7},
        "after": {"network": 20, "postprocess": 3.5},
    }
    sizes = []
    for budgets in (found, {"after": found["after"]}):
        draw(budgets, tmp_path / "out.png")
        image = cv2.imread(str(tmp_path / "out.png"))
        assert image is not None
        sizes.append(image.shape[0])
    assert sizes[0] > sizes[1]


def test_results_that_cannot_be_compared(tmp_path: Path) -> None:
    before = result(tmp_path / "before.json", {"network": 28})
    other = result(tmp_path / "other.json", {"network": 28}, "other.mp4")
    with pytest.raises(ValueError, match=r"other\.json: clip is other\.mp4, and clip\.mp4 in"):
        read([before, other])
    with pytest.raises(ValueError, match=r"before\.json: has no steps of fine"):
        read([before], "fine")
    (tmp_path / "later").mkdir()
    with pytest.raises(ValueError, match=r"later/before\.json: another result is called before"):
        read([before, result(tmp_path / "later/before.json", {"network": 20})])
    with pytest.raises(ValueError, match=r"none\.json: cannot be read \(No such file"):
        read([tmp_path / "none.json"])
    (tmp_path / "no.json").write_text('{"end_to_end": null}')
    with pytest.raises(ValueError, match=r"no\.json: has no steps of a model"):
        read([tmp_path / "no.json"])
