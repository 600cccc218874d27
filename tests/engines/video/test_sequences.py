"""A folder of images as a video: `--fps`, and patterns of names."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.errors import BadData, UsageError
from engines.video import frame as fr
from engines.video.read.open import open_source
from tests.conftest import Wsshm, one_error_line
from tests.media import probe


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Twelve images whose grey says their number."""
    path = tmp_path / "shots"
    path.mkdir()
    for i in range(12):
        assert cv2.imwrite(str(path / f"{i}.png"), np.full((48, 64, 3), 20 * i, np.uint8))
    return path


@pytest.mark.parametrize("rate", ["25", "30000/1001", "12.5"])
def test_a_folder_becomes_a_video(rate: str, folder: Path, wsshm: Wsshm, ones: Path) -> None:
    """Natural order, exact times, and the colours of the images."""
    result = wsshm("run", folder, "--fps", rate, "--model", ones, "-o", "out.mp4", "--crf", 0)
    assert result.returncode == 0, result.stderr
    out = folder.parent / "out.mp4"
    assert probe(out).times == [n / Fraction(rate) for n in range(12)]
    with open_source(out) as source:
        scaler = fr.RgbScaler(source.format)
        for n, frame in enumerate(source.items()):
            assert isinstance(frame, fr.Frame)
            assert abs(int(scaler(frame.image, 64, 48).mean()) - 20 * n) <= 2


def test_a_pattern_chooses_images(folder: Path, wsshm: Wsshm, ones: Path) -> None:
    result = wsshm("run", "shots/1*.png", "--model", ones)
    assert result.returncode == 0, result.stderr
    written = {p.name for p in (folder.parent / "shots_wsshm").iterdir()}
    assert written == {"1.png", "10.png", "11.png"}
    with pytest.raises(BadData, match=r"no images of the name x\*.png"):
        open_source(folder / "x*.png")


def test_a_name_that_looks_like_a_pattern(folder: Path) -> None:
    """A file that is there is meant, whatever its name."""
    (folder / "1.png").rename(folder / "[1].png")
    with open_source(folder / "[1].png") as source:
        assert source.total == 1


def test_an_image_of_another_size_is_scaled_and_said(folder: Path) -> None:
    assert cv2.imwrite(str(folder / "12.png"), np.zeros((30, 90, 3), np.uint8))
    warnings: list[str] = []
    with open_source(folder, fps=Fraction(25), warn=warnings.append) as source:
        sizes = {(f.image.width, f.image.height) for f in source.items() if isinstance(f, fr.Frame)}
        assert sizes == {(64, 48)}
        assert [w for w in warnings if "64x48" in w] == warnings


@pytest.mark.parametrize("rate", ["0", "-1", "1/0", "fast", "99999"])
def test_a_rate_that_makes_no_sense(rate: str, folder: Path, wsshm: Wsshm) -> None:
    result = wsshm("run", folder, f"--fps={rate}")
    assert result.returncode == 2
    one_error_line(result, f"--fps {rate}", "30000/1001")


@pytest.mark.parametrize("option", ["--start", "--duration"])
def test_images_are_chosen_by_name(option: str, folder: Path, wsshm: Wsshm, ones: Path) -> None:
    """Not by time, with ``--fps`` neither; what the message says to do works."""
    result = wsshm("run", folder, "--fps", 25, option, 1, "--model", ones)
    assert result.returncode == 2
    line = one_error_line(result, "cut videos, not images", f"'{folder}/1*.png'")
    named = line.rpartition("'")[0].rpartition("'")[2]
    assert wsshm("run", named, "--fps", 25, "--model", ones, "-o", "o.mp4").returncode == 0
    assert probe(folder.parent / "o.mp4").frames == 3


def test_a_video_has_its_own_rate(portrait: Path) -> None:
    with pytest.raises(UsageError, match="--fps is for a folder"):
        open_source(portrait, fps=Fraction(25))
