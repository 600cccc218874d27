"""The background that ``--bg`` names, and those that a key brings after it."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import CannotOpen, UsageError
from engines.video.compose.background import BlurredBackground, ImageBackground
from engines.video.compose.open import BackgroundCycle, choices, open_background
from engines.video.config import BackgroundFit


def images(folder: Path, *names: str) -> list[str]:
    for name in names:
        cv2.imwrite(str(folder / name), np.zeros((4, 4, 3), np.uint8))
    return [str(folder / name) for name in names]


def test_kinds(tmp_path: Path) -> None:
    (path,) = images(tmp_path, "a.png")
    assert open_background("transparent") is None
    assert isinstance(open_background("#00b140"), ImageBackground)
    assert isinstance(open_background(path), ImageBackground)
    assert isinstance(open_background("blur"), BlurredBackground)
    assert isinstance(open_background("blur:0.5"), BlurredBackground)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("#00b14", UsageError, "--bg #00b14: a colour is written #rrggbb"),
        ("blur:0", UsageError, "--bg blur:0: blur:N takes a number over 0 up to 50"),
        ("blur:51", UsageError, "takes a number over 0 up to 50"),
        ("blur:soft", UsageError, "takes a number over 0 up to 50"),
        ("none.png", CannotOpen, "--bg none.png: no such file; --bg takes an image, a video"),
        (".", CannotOpen, "--bg .: is a folder; name one image or video"),
    ],
)
def test_what_is_no_background(spec: str, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        open_background(spec)


def test_choices(tmp_path: Path) -> None:
    """The images of the folder from the given one on, in natural order; then what always is."""
    a, b2, b10 = images(tmp_path, "a.png", "b2.png", "b10.png")
    (tmp_path / "notes.txt").touch()
    assert choices(b2) == [b2, b10, a, "blur", "#00b140"]
    assert choices("blur") == ["blur", "#00b140"]
    assert choices("#ff0000") == ["#ff0000", "blur", "#00b140"]


def test_cycle(tmp_path: Path) -> None:
    """It comes round to the first again; one that cannot be opened is said and passed over."""
    (a,) = images(tmp_path, "a.png")
    (tmp_path / "b.png").write_bytes(b"no image")
    told: list[str] = []
    first = open_background(a)
    cycle = BackgroundCycle(a, first, None, BackgroundFit.cover, 8, told.append)
    assert cycle.now is first
    cycle.next()
    assert isinstance(cycle.now, BlurredBackground)
    assert "b.png" in told[0]
    assert told[1:] == ["background: blur"]
    cycle.next()
    cycle.next()
    assert told[2:] == ["background: #00b140", f"background: {a}"]
    assert isinstance(cycle.now, ImageBackground)
    cycle.close()
