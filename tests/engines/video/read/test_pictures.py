"""Images and folders of images as sources."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import BadData, UsageError
from engines.files import natural_key
from engines.video import frame as fr
from engines.video import run as job
from engines.video.config import Clip, MatteOptions, RunConfig, Save
from engines.video.read.open import open_source
from engines.video.read.pictures import ImageSource
from engines.video.read.video import VideoSource
from tests.engines.video.read.helpers import frames_of, image
from tests.heif import box, write_heic
from tests.media import noise_clip
from tests.pictures import ramps


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


def test_a_folder_says_what_it_leaves_out(tmp_path: Path) -> None:
    """Other files and folders, once; hidden and unfinished ones are not spoken of."""
    for name in ("1.png", "2.jpg", ".hidden.png", "3.part.png", ".DS_Store", "4.png.part"):
        image(tmp_path / "made.png").rename(tmp_path / name)
    (tmp_path / "photo").write_bytes((tmp_path / "2.jpg").read_bytes())  # without an ending
    noise_clip(tmp_path / "clip.mp4", 2)
    for k in range(8):
        (tmp_path / f"n{k}.txt").touch()
    (tmp_path / "sub").mkdir()
    image(tmp_path / "sub" / "a.png")
    warnings: list[str] = []
    with open_source(tmp_path, warn=warnings.append) as source:
        assert [f.name for f in frames_of(source)] == ["1", "2", "photo"]
    (text,) = warnings
    named = "9 files (clip.mp4, n0.txt, n1.txt, n2.txt, n3.txt …) and 1 folder (sub/)"
    assert text == f"{tmp_path}: left out {named}: no images"


def test_a_pattern_leaves_out_only_what_it_names(tmp_path: Path) -> None:
    image(tmp_path / "a1.png")
    (tmp_path / "notes.txt").touch()
    warnings: list[str] = []
    with open_source(tmp_path / "*.png", warn=warnings.append) as source:
        assert source.total == 1
    assert warnings == []


def test_a_file_is_what_is_in_it(tmp_path: Path) -> None:
    """A photograph named as a video is one image; a video named as an image is none."""
    image(tmp_path / "a.png").rename(tmp_path / "a.mp4")
    with open_source(tmp_path / "a.mp4") as source:
        assert source.rate is None
        assert len(frames_of(source)) == 1
    noise_clip(tmp_path / "b.mp4", 2).rename(tmp_path / "b.jpg")
    with pytest.raises(BadData, match=r"b\.jpg: not a readable image"):
        open_source(tmp_path / "b.jpg")


def test_a_photo_of_a_phone_is_one_image(tmp_path: Path) -> None:
    """Its tiles are no video, in a folder neither."""
    write_heic(tmp_path / "a.HEIC", ramps(64, 128), box(b"irot", b"\1"))
    for path in (tmp_path / "a.HEIC", tmp_path):
        with open_source(path) as source:
            (frame,) = frames_of(source)
            assert (source.format.width, source.format.height) == (64, 128)
            assert source.rate is None
            assert frame.name == "a"


def test_the_tiles_of_a_photo_are_no_video_either(tmp_path: Path) -> None:
    """As where it comes through an address."""
    path = write_heic(tmp_path / "a.heic", ramps(64, 128))
    with pytest.raises(BadData, match="a photograph, not a video; save it to a file"):
        VideoSource(path, Clip())


@pytest.mark.parametrize("suffix", ["png", "webp", "tif"])
@pytest.mark.parametrize("fps", [None, Fraction(25)])
def test_what_an_image_hides_is_not_in_its_frame(
    tmp_path: Path, suffix: str, fps: Fraction | None
) -> None:
    """Grey is there instead, by itself and in a video; its alpha comes with the frame."""
    rgba = np.full((24, 32, 4), 255, np.uint8)
    rgba[:, :16] = (0, 255, 0, 0)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / f"a.{suffix}"
    how: Any = {"exact": True, "lossless": True} if suffix == "webp" else {}
    Image.fromarray(rgba).save(path, **how)
    with open_source(path.parent, fps=fps) if fps else open_source(path) as source:
        (frame,) = frames_of(source)
    assert frame.alpha is not None
    assert (frame.alpha == rgba[..., 3]).all()
    seen = fr.RgbScaler(frame.format)(frame.image, 32, 24).astype(int)
    assert np.abs(seen[:, :14] - 128).max() < 3
    assert np.abs(seen[:, 18:] - 255).max() < 3


def test_an_opaque_image_has_no_alpha(tmp_path: Path) -> None:
    """Whatever its file has: then nothing is multiplied."""
    Image.fromarray(np.full((24, 32, 4), 255, np.uint8)).save(tmp_path / "a.png")
    with open_source(tmp_path / "a.png") as source:
        (frame,) = frames_of(source)
    assert frame.alpha is None


def test_images_of_a_video_keep_their_alpha_when_they_are_scaled(tmp_path: Path) -> None:
    rgba = np.full((48, 64, 4), 255, np.uint8)
    rgba[:24, :, 3] = 0
    image(tmp_path / "1.png")
    Image.fromarray(rgba).save(tmp_path / "2.png")
    with open_source(tmp_path, fps=Fraction(25)) as source:
        first, second = frames_of(source)
    assert first.alpha is None
    assert (second.alpha == np.repeat([[0], [255]], 12, 0)).all()


def test_nothing_hidden_is_written(tmp_path: Path, ones: Path) -> None:
    """In none of the outputs, where the network takes everything for the person."""
    rgba = np.full((48, 64, 4), (200, 100, 50, 255), np.uint8)
    rgba[:, :32] = (0, 255, 0, 0)
    rgba[:, 32:40, 3] = 128
    Image.fromarray(rgba).save(tmp_path / "in.png")
    outputs = (Save.composite, Save.alpha, Save.foreground)
    job.run(
        RunConfig(
            tmp_path / "in.png",
            tmp_path / "o.png",
            "#0000ff",
            model=str(ones),
            size=64,
            save=outputs,
            matte=MatteOptions(decontaminate=False),
        )
    )
    shown = cv2.imread(str(tmp_path / "o.png"))[..., ::-1].astype(int)
    assert (shown[:, :32] == (0, 0, 255)).all()
    assert (shown[:, 40:] == (200, 100, 50)).all()
    assert np.abs(shown[:, 32:40] - (100, 50, 152)).max() <= 2
    assert (cv2.imread(str(tmp_path / "o_alpha.png"), 0) == rgba[..., 3]).all()
    person = cv2.imread(str(tmp_path / "o_foreground.png"), cv2.IMREAD_UNCHANGED).astype(int)
    assert (person[..., 3] == rgba[..., 3]).all()
    assert not (person[..., 1] > np.maximum(person[..., 0], person[..., 2]) + 20).any()


@pytest.mark.parametrize("ending", ["tga", "qoi", "pcx", "sgi", "dds"])
def test_a_picture_that_ffmpeg_alone_reads_is_no_video(
    tmp_path: Path, ones: Path, ending: str
) -> None:
    """Its colours come back exactly, and nothing in it can be cut."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (32, 48, 3), np.uint8)
    path = tmp_path / f"picture.{ending}"
    Image.fromarray(pixels).save(path)
    with open_source(path) as source:
        assert isinstance(source, ImageSource)
        (frame,) = source.items()
    assert frame.name == "picture"
    assert np.array_equal(fr.RgbScaler(frame.format)(frame.image, 48, 32), pixels)
    with pytest.raises(UsageError, match="cut videos, not images"):
        open_source(path, Clip(Fraction(1)))
