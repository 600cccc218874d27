"""Images as outputs, read back from the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.errors import UsageError
from engines.video.compose.composite import SOLID_ALPHA
from engines.video.config import Save
from tests.engines.video.outputs import PLAIN, ramp, ramp_clip, run


def test_alpha_as_images_is_the_matte(tmp_path: Path, brightness: Path) -> None:
    """As PNG, of an image and of a video, in one channel."""
    cv2.imwrite(str(tmp_path / "in.png"), ramp(64, 64))
    run(tmp_path / "in.png", tmp_path / "a.png", brightness, save=(Save.alpha,))
    seen = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert seen.shape == (64, 64)
    np.testing.assert_array_equal(seen, ramp(64, 64)[..., 0])
    matte = ramp_clip(tmp_path / "in.mkv", 64, 64)
    run(tmp_path / "in.mkv", tmp_path / "a", brightness, save=(Save.alpha,))
    files = sorted((tmp_path / "a").iterdir())
    assert [p.name for p in files] == ["000001.png", "000002.png", "000003.png"]
    for path in files:
        seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert np.abs(seen.astype(int) - matte).max() <= 1


@pytest.mark.parametrize(
    "options", [{"save": (Save.foreground,)}, {"background": "transparent"}], ids=["save", "bg"]
)
def test_foreground_has_straight_alpha(
    tmp_path: Path, brightness: Path, options: dict[str, Any]
) -> None:
    """Colours are those of the image, alpha is the matte."""
    rgb = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), rgb[..., ::-1])
    for name in ("out.png", "out.webp"):
        run(tmp_path / "in.png", tmp_path / name, brightness, matte=PLAIN, **options)
        seen = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert seen.shape == (64, 64, 4)
        if name == "out.png":
            person = seen[..., 3] >= SOLID_ALPHA
            assert person.mean() > 0.9
            np.testing.assert_array_equal(seen[person][:, 2::-1], rgb[person])
            assert np.abs(seen[..., 3] - rgb.mean(2)).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "bmp", "mp4"])
def test_transparency_is_not_lost_in_silence(tmp_path: Path, ones: Path, ending: str) -> None:
    """A file that cannot hold it is refused."""
    cv2.imwrite(str(tmp_path / "in.png"), ramp(32, 32))
    with pytest.raises(UsageError, match=ending):
        run(tmp_path / "in.png", tmp_path / f"o.{ending}", ones, background="transparent")


def test_composite_of_an_image_is_exact(tmp_path: Path, ones: Path, zeros: Path) -> None:
    """Through the whole run: the image itself, or the colour, to the last bit."""
    rgb = np.random.default_rng(6).integers(0, 256, (49, 67, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), rgb)
    run(tmp_path / "in.png", tmp_path / "person.png", ones)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "person.png")), rgb)
    run(tmp_path / "in.png", tmp_path / "nobody.png", zeros, background="#102030")
    assert (cv2.imread(str(tmp_path / "nobody.png")) == (0x30, 0x20, 0x10)).all()
