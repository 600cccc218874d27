"""Mattes that cannot be right are said, and those that can are not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.video.matte.watch import STALL_FRAMES, Watch
from tests.conftest import Wsshm
from tests.media import noise_clip

RGB = [np.full((32, 48, 3), value, np.uint8) for value in (40, 90)]
SOMEBODY = np.eye(32, 48, dtype=np.float32)


def told(frames: int, *, every: int = 1, difference: float = 0.0, person: float = 1.0) -> list[str]:
    """What is said of images that change `every` so many frames, mattes by so much in each."""
    notes: list[str] = []
    watch = Watch(notes.append, "do this")
    for i in range(frames):
        watch(RGB[i // every % 2], SOMEBODY * np.float32(person - difference * (i % 2)))
    return [*notes, *([watch.nobody] if watch.nobody else [])]


def test_a_matte_that_stays_in_a_moving_image() -> None:
    assert told(3 * STALL_FRAMES) == [
        "the matte has not changed for 100 frames although the image has; do this"
    ]


@pytest.mark.parametrize(
    "right",
    [
        {"frames": STALL_FRAMES},  # the first has nothing to be compared with
        {"frames": 300, "difference": 1e-6},
        {"frames": 300, "every": 300},
    ],
    ids=["not for long", "it follows", "a still image"],
)
def test_mattes_that_can_be_right(right: dict[str, Any]) -> None:
    assert told(**right) == []


def test_it_is_said_once() -> None:
    notes: list[str] = []
    watch = Watch(notes.append, "do this")
    for i in range(9 * STALL_FRAMES):
        watch(RGB[i % 2], SOMEBODY * np.float32(1 if i % (2 * STALL_FRAMES) else 0.9))
    assert len(notes) == 1


def test_nobody_is_said_once_and_at_the_end() -> None:
    assert told(9, person=0.4) == ["no person was found in any of 9 frames"]
    assert told(1, person=0.4) == ["no person was found in the image"]
    assert told(0) == []


def test_a_run_says_both(ones: Path, zeros: Path, wsshm: Wsshm, tmp_path: Path) -> None:
    noise_clip(tmp_path / "in.mp4", STALL_FRAMES + 1)
    for model, needle in (ones, "has not changed"), (zeros, f"any of {STALL_FRAMES + 1} frames"):
        result = wsshm("run", "in.mp4", "--model", model, "-o", "o.mp4", "--overwrite", "--json")
        assert result.returncode == 0, result.stderr
        (warning,) = json.loads(result.stdout)["warnings"]
        assert needle in warning
        assert f"warning: {warning}" in result.stderr
