"""The background that ``--bg`` names, and those that a key brings after it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import CannotOpen, UsageError
from engines.video import frame as fr
from engines.video.compose.background import Background, BlurredBackground, ImageBackground
from engines.video.compose.open import BackgroundCycle, choices, open_background
from engines.video.config import BackgroundFit
from tests.heif import box, write_heic
from tests.media import grey_clip


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
    images(tmp_path, ".hidden.png", "c.part.png")
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


def shown(background: Background | None, width: int = 8, height: int = 8) -> np.ndarray:
    """(H, W, 3) RGB of what is behind a frame."""
    fmt = fr.FrameFormat(width, height, "gbrp", matrix=0, range=fr.FULL)
    assert background is not None
    green, blue, red = background.planes(fr.Frame(fmt.new_image(), fmt, 0, Fraction(1)), [])
    return np.dstack([red, green, blue])


def test_an_image_with_alpha_lies_over_a_colour(tmp_path: Path) -> None:
    """Black unless told; nothing of what it hides is seen."""
    rgba = np.full((8, 8, 4), (200, 100, 40, 255), np.uint8)
    rgba[:4] = (0, 255, 0, 0)
    rgba[4, :, 3] = 128
    path = tmp_path / "a.png"
    Image.fromarray(rgba).save(path)
    for colour, rgb in ((None, (0, 0, 0)), ("#ff8000", (255, 128, 0))):
        seen = shown(open_background(str(path), colour=colour)).astype(int)
        assert (seen[:4] == rgb).all()
        assert (seen[5:] == (200, 100, 40)).all()
        assert np.abs(seen[4] - (np.array((200, 100, 40)) + rgb) / 2).max() <= 2


def test_a_video_with_alpha_lies_over_a_colour(tmp_path: Path) -> None:
    rgba = np.full((16, 16, 4), (200, 100, 40, 255), np.uint8)
    rgba[:8] = (0, 255, 0, 0)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        video = container.add_stream("qtrle", rate=30)
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = 16, 16, "argb"
        frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format="argb")
        container.mux([*video.encode(frame), *video.encode(None)])
    for colour, rgb in ((None, (0, 0, 0)), ("#ff8000", (255, 128, 0))):
        behind = open_background(str(tmp_path / "a.mov"), colour=colour)
        seen = shown(behind, 16, 16).astype(int)
        behind.close()
        assert (seen[:7] == rgb).all()
        assert (seen[9:] == (200, 100, 40)).all()


def test_the_colour_fills_what_a_background_leaves(tmp_path: Path) -> None:
    """Also what a video does."""
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 4, 3), 255, np.uint8))
    grey_clip(tmp_path / "a.mkv", [np.full((8, 4), 255, np.uint8)])
    for name in ("a.png", "a.mkv"):
        behind = open_background(str(tmp_path / name), fit=BackgroundFit.contain, colour="#ff8000")
        seen = shown(behind, 16, 8).astype(int)
        behind.close()
        assert np.abs(seen[:, :5] - (255, 128, 0)).max() <= 3, name
        assert np.abs(seen[:, 7:9] - 255).max() <= 3, name


@pytest.mark.parametrize("spec", ["blur", "blur:5", "#00b140", "transparent"])
def test_the_colour_is_refused_where_nothing_shows_it(spec: str) -> None:
    with pytest.raises(UsageError, match="--bg-color: goes with an image or a video"):
        open_background(spec, colour="#ffffff")


def test_a_colour_is_written_one_way(tmp_path: Path) -> None:
    (path,) = images(tmp_path, "a.png")
    for text in ("red", "#fff", "#gggggg", "ffffff"):
        with pytest.raises(UsageError, match=f"--bg-color {text}: a colour is written #rrggbb"):
            open_background(path, colour=text)


def test_a_photo_of_a_phone_is_an_image(tmp_path: Path) -> None:
    """The whole of it, upright."""
    photo = np.zeros((64, 128, 3), np.uint8)
    photo[:, :64] = 250
    turned = write_heic(tmp_path / "a.heic", photo, box(b"irot", b"\1"))
    behind = open_background(str(turned))
    assert isinstance(behind, ImageBackground)
    seen = shown(behind, 8, 16)
    assert seen[:7].max() < 10
    assert seen[9:].min() > 240


def test_what_of_an_image_is_not_used_is_said(tmp_path: Path) -> None:
    pages = [Image.new("RGB", (4, 4))] * 2
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    told: list[str] = []
    open_background(str(tmp_path / "a.tif"), say=told.append)
    assert told == [f"--bg {tmp_path / 'a.tif'}: 2 pages in it; the first is used"]
