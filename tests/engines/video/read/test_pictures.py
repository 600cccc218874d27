"""Images and folders of images as sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from engines.files import natural_key
from engines.video import frame as fr
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, image


def test_folder_is_in_natural_order(tmp_path: Path) -> None:
    """2 comes before 10, whatever the letters; hidden and other files are not images."""
    names = ["10.png", "2.PNG", "1.jpg", "A3.png", "a12.png", "a4.webp", "b.bmp"]
    for i, name in enumerate(names):
        image(tmp_path / name, grey=10 * i)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    image(tmp_path / "._2.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    with open_source(tmp_path) as source:
        assert source.total == 7
        names_seen = [f.name for f in frames_of(source)]
    assert names_seen == ["1", "2", "10", "A3", "a4", "a12", "b"]


def test_natural_order_is_total_and_takes_any_name() -> None:
    """The order does not depend on the folder's; digits of other scripts raise nothing."""
    tied = [Path("2.png"), Path("02.png"), Path("002.png")]
    assert sorted(tied, key=natural_key) == sorted(reversed(tied), key=natural_key)
    names = ["²5.png", "5².png", "٣.png", "½.png", "1e5.png", "１.png", "é.png", "-1.png"]
    assert len(sorted(map(Path, names), key=natural_key)) == len(names)


def test_images_keep_their_own_sizes(tmp_path: Path) -> None:
    """A folder may hold images of several sizes; each frame says its own."""
    image(tmp_path / "1.png", 32, 24)
    image(tmp_path / "2.png", 25, 37)
    with open_source(tmp_path) as source:
        sizes = [(f.format.width, f.format.height) for f in frames_of(source)]
    assert sizes == [(32, 24), (25, 37)]


def test_unreadable_images_of_a_folder_are_named(tmp_path: Path) -> None:
    """What cannot be read is skipped, named in a warning, and a fault at the end."""
    image(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"junk")
    image(tmp_path / "3.png")
    warnings: list[str] = []
    with open_source(tmp_path, warn=warnings.append) as source:
        assert [f.name for f in frames_of(source)] == ["1", "3"]
        assert source.fault is not None
        assert "2.png" in source.fault
        assert "1 of 3" in source.fault
        assert any("2.png" in w for w in warnings)


def test_images_are_turned_upright(tmp_path: Path) -> None:
    """EXIF orientation 6, as phones write it: the stored image is turned clockwise."""
    stored = np.zeros((24, 32, 3), np.uint8)
    stored[:12, :16] = 255  # white top left, and so white top right when upright
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "in.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / "in.jpg", exif=exif, quality=100)
    for name in ("in.jpg", "in.png"):
        with open_source(tmp_path / name) as source:
            (frame,) = frames_of(source)
            assert (source.format.width, source.format.height) == (24, 32)
            green = fr.planes(frame.image)[0]
            assert green[4, 20] > 250
            assert max(green[4, 4], green[28, 4], green[28, 20]) < 5
