"""Animated images as videos: all their pictures, times, alpha, and what is wrong with them."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.errors import BadData, UsageError
from engines.video import frame as fr
from engines.video.config import Clip
from engines.video.read.open import open_source
from tests.engines.video.outputs import run
from tests.engines.video.read.helpers import frames_of
from tests.media import probe

SHOWN = [100, 40, 300, 70]  # milliseconds
HOW: dict[str, dict[str, Any]] = {
    "gif": {"disposal": 2},
    "png": {},
    "webp": {"lossless": True, "exact": True},
    "avif": {"quality": 100, "subsampling": "4:4:4"},
}


def animation(path: Path, shown: list[int] = SHOWN, has_alpha: bool = False) -> Path:
    """Picture k is grey of 40 + 50 · k; with alpha, its left half is green and hidden."""
    pictures = []
    for k in range(len(shown)):
        rgba = np.full((24, 32, 4), 255, np.uint8)
        rgba[..., :3] = 40 + 50 * k
        if has_alpha:
            rgba[:, :16] = (0, 255, 0, 0)
        pictures.append(Image.fromarray(rgba if has_alpha else rgba[..., :3].copy()))
    pictures[0].save(
        path,
        save_all=True,
        append_images=pictures[1:],
        duration=shown,
        loop=0,
        **HOW[path.suffix[1:]],
    )
    return path


def greys(frames: list[fr.Frame]) -> list[int]:
    """Which picture each frame shows, by its right half."""
    seen = [fr.RgbScaler(f.format)(f.image, 32, 24)[:, 20:].mean() for f in frames]
    return [round((grey - 40) / 50) for grey in seen]


@pytest.mark.parametrize("suffix", HOW)
@pytest.mark.parametrize("bits", [8, 10])
def test_all_pictures_at_their_own_times(tmp_path: Path, suffix: str, bits: int) -> None:
    warnings: list[str] = []
    path = animation(tmp_path / f"a.{suffix}")
    with open_source(path, bit_depth=bits, warn=warnings.append) as source:
        assert source.total == 4
        assert source.rate == 10
        assert source.format.bit_depth == bits
        frames = frames_of(source)
    assert greys(frames) == [0, 1, 2, 3]
    assert [f.pts * f.time_base * 1000 for f in frames] == [0, 100, 140, 440]
    assert [f.duration for f in frames] == SHOWN
    assert (source.fault, warnings) == (None, [])


@pytest.mark.parametrize("suffix", HOW)
def test_alpha_of_every_picture(tmp_path: Path, suffix: str) -> None:
    """And nothing of the green that it hides, in the chroma of its outline neither."""
    with open_source(animation(tmp_path / f"a.{suffix}", has_alpha=True)) as source:
        frames = frames_of(source)
    assert greys(frames) == [0, 1, 2, 3]
    for frame in frames:
        assert frame.alpha is not None
        assert (frame.alpha[:, :16] == 0).all()
        assert (frame.alpha[:, 16:] == 255).all()
        rgb = fr.RgbScaler(frame.format)(frame.image, 32, 24).astype(int)
        assert np.abs(rgb - rgb.mean(2, keepdims=True)).max() < 6


def test_a_part_of_an_animation(tmp_path: Path) -> None:
    path = animation(tmp_path / "a.webp")
    with open_source(path, Clip(0.1, 0.3)) as source:
        frames = frames_of(source)
        assert source.total is None
    assert greys(frames) == [1, 2]
    assert [f.pts for f in frames] == [0, 40]
    with pytest.raises(BadData, match=r"a\.webp: ends before --start 9 s"):
        open_source(path, Clip(9))
    with pytest.raises(UsageError, match="has its own times"):
        open_source(path, fps=Fraction(25))


def test_pictures_without_a_time_are_shown_as_in_browsers(tmp_path: Path) -> None:
    with open_source(animation(tmp_path / "a.gif", [0, 10, 20])) as source:
        assert [f.pts for f in frames_of(source)] == [0, 100, 200]


def test_an_animation_of_one_picture_is_an_image(tmp_path: Path) -> None:
    for suffix in HOW:
        with open_source(animation(tmp_path / f"a.{suffix}", [100])) as source:
            assert source.rate is None
            assert source.total == 1


def test_the_picture_for_other_programs_is_no_part_of_an_apng(tmp_path: Path) -> None:
    still, *pictures = (Image.new("RGB", (32, 24), (g, g, g)) for g in (250, 40, 90))
    still.save(tmp_path / "a.png", save_all=True, append_images=pictures, default_image=True)
    with open_source(tmp_path / "a.png") as source:
        assert source.total == 2
        assert greys(frames_of(source)) == [0, 1]


@pytest.mark.parametrize("suffix", ["gif", "png"])
def test_an_animation_that_was_cut_off(tmp_path: Path, suffix: str) -> None:
    """What could be read is kept, and that it ends early is a fault."""
    path = animation(tmp_path / f"a.{suffix}", [100] * 4)
    data = path.read_bytes()
    marks = {"gif": b"\x21\xf9\x04", "png": b"fcTL"}
    path.write_bytes(data[: data.rindex(marks[suffix]) - 8])
    with open_source(path) as source:
        found = frames_of(source)
    assert greys(found) == [0, 1, 2][: len(found)]
    assert len(found) >= 2
    assert suffix == "gif" or source.fault is not None


def test_an_animation_becomes_a_film(tmp_path: Path, ones: Path) -> None:
    """With the uneven times of its pictures."""
    out = tmp_path / "o.mkv"
    run(animation(tmp_path / "a.webp"), out, ones)
    assert [round(t * 1000) for t in probe(out).times] == [0, 100, 140, 440]
