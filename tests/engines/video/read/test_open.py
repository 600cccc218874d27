"""Every kind of source that is opened by a path keeps one contract."""

from __future__ import annotations

from collections.abc import Callable, Generator
from fractions import Fraction
from pathlib import Path

import pytest

from engines.errors import BadData, CannotOpen, UsageError
from engines.video.config import Clip
from engines.video.frame import Frame
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, image
from tests.media import noise_clip


def _file(folder: Path) -> Path:
    return noise_clip(folder / "in.mp4", 12, 32, 24)


def _still(folder: Path) -> Path:
    return image(folder / "in.png")


def _folder(folder: Path) -> Path:
    (folder / "in").mkdir()
    for i in range(12):
        image(folder / "in" / f"{i}.png", grey=i)
    return folder / "in"


@pytest.mark.parametrize(("make", "count"), [(_file, 12), (_still, 1), (_folder, 12)])
def test_every_source_keeps_the_contract(
    tmp_path: Path, make: Callable[[Path], Path], count: int
) -> None:
    """Size, number and rising times are as announced; closing is safe at any time, and twice."""
    path = make(tmp_path)
    warnings: list[str] = []
    with open_source(path, warn=warnings.append) as source:
        assert (source.format.width, source.format.height) == (32, 24)
        assert source.total == count
        assert source.path == path
        found = frames_of(source)
        assert len(found) == count
        times = [f.pts for f in found]
        assert times == sorted(set(times))
        for f in found:
            assert (f.image.width, f.image.height) == (32, 24)
            assert f.image.format.name == f.format.pix_fmt == source.format.pix_fmt
            assert f.time_base == source.time_base
        assert source.fault is None
        assert warnings == []
    source.close()
    source.close()


@pytest.mark.parametrize("make", [_file, _still, _folder])
def test_every_source_may_be_left_early(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Closing the iterator after one frame, then the source, raises nothing and says nothing."""
    source = open_source(make(tmp_path))
    items = source.items()
    assert isinstance(next(items), Frame)
    assert isinstance(items, Generator)
    items.close()
    source.close()
    assert source.fault is None


def test_nothing_that_can_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    """Missing, empty, junk and special files end in the errors the table promises."""
    with pytest.raises(CannotOpen, match="no such file"):
        open_source(tmp_path / "missing.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="no images"):
        open_source(tmp_path / "empty")
    for name in ("junk.mp4", "junk.png"):
        (tmp_path / name).write_bytes(b"junk" * 100)
        with pytest.raises(BadData, match=name):
            open_source(tmp_path / name)
    with pytest.raises(UsageError, match=r"cut videos, not images$"):
        open_source(image(tmp_path / "a.png"), Clip(1.0))


def test_frames_are_the_items_without_packets(portrait: Path) -> None:
    """In their order, and all of them."""
    with open_source(portrait) as source:
        items = list(source.items())
    with open_source(portrait) as source:
        frames = list(source.frames())
    assert 0 < len(frames) < len(items)
    kept = [item.pts for item in items if isinstance(item, Frame)]
    assert [frame.pts for frame in frames] == kept


def test_a_warning_is_given_once(tmp_path: Path) -> None:
    """However many images it is about."""
    for n, width in enumerate((32, 48, 48, 64)):
        image(tmp_path / f"{n}.png", width)
    warnings: list[str] = []
    with open_source(tmp_path, fps=Fraction(25), warn=warnings.append) as source:
        assert len(list(source.frames())) == 4
    assert len(warnings) == 1
