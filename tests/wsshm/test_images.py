"""`wsshm.matte` and `wsshm.cutout`, against what the command line writes."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image, ImageOps
from skimage import data

from engines.arrays import U8
from tests import graphs
from tests.conftest import Wsshm
from tests.wsshm.options import FAST, FAST_OPTIONS
from wsshm import BadData, CannotOpen, UsageError, cutout, matte


@pytest.fixture(scope="module")
def pixels() -> U8:
    """A portrait whose sizes no stride divides."""
    portrait: U8 = data.astronaut()[:301, :403]
    return portrait


def test_they_are_what_a_run_writes(wsshm: Wsshm, tmp_path: Path, pixels: U8) -> None:
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    result = wsshm(
        *("run", "photo.png", *FAST_OPTIONS, "-o", "a.png"),
        *("--save", "alpha", "--save", "foreground"),
    )
    assert result.returncode == 0, result.stderr
    alpha = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert 0.2 < (alpha > 127).mean() < 0.8
    assert np.array_equal(matte(tmp_path / "photo.png", **FAST), alpha)
    assert np.array_equal(matte(pixels, **FAST), alpha)
    assert np.array_equal(matte(Image.fromarray(pixels), **FAST), alpha)
    bgra = cv2.imread(str(tmp_path / "a_foreground.png"), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(cutout(str(tmp_path / "photo.png"), **FAST)[..., [2, 1, 0, 3]], bgra)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_matte_lies_as_the_image_of_pillow(
    orientation: int, brightness: Path, tmp_path: Path, pixels: U8
) -> None:
    """A camera's image is turned for the network alone; a file comes upright."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        alpha = matte(image, model=brightness)
        assert alpha.shape == (image.height, image.width)
        upright = matte(tmp_path / "turned.png", model=brightness)
        rgba = cutout(image, model=brightness)
        assert np.array_equal(rgba[..., 3], alpha)
        image.putalpha(Image.fromarray(alpha))
        turned = ImageOps.exif_transpose(image)
    assert np.array_equal(np.array(turned)[..., 3], upright)


@pytest.mark.parametrize(
    ("mode", "make"),
    [
        ("L", lambda rgb: Image.fromarray(rgb).convert("L")),
        ("P", lambda rgb: Image.fromarray(rgb).convert("P")),
        ("CMYK", lambda rgb: Image.fromarray(rgb).convert("CMYK")),
        ("I;16", lambda rgb: Image.fromarray(rgb[..., 0].astype(np.uint16) * 257)),
        ("1", lambda rgb: Image.fromarray(rgb).convert("1")),
    ],
)
def test_every_mode_of_pillow(
    mode: str, make: Callable[[U8], Image.Image], brightness: Path, pixels: U8
) -> None:
    image = make(pixels)
    assert image.mode == mode
    alpha = matte(image, model=brightness).astype(float)
    grey = np.array(image.convert("L") if mode != "I;16" else make(pixels), float)
    grey *= 255 / grey.max()
    assert np.corrcoef(alpha.ravel(), grey.ravel())[0, 1] > 0.6  # "1" is dithered


def test_alpha_of_its_own_multiplies_the_matte(ones: Path, pixels: U8) -> None:
    own = np.full(pixels.shape[:2], 200, np.uint8)
    own[:100] = 0
    assert np.array_equal(matte(np.dstack([pixels, own]), model=ones), own)
    assert np.array_equal(matte(Image.fromarray(np.dstack([pixels, own])), model=ones), own)


def test_nothing_of_the_room_is_in_a_cutout(pixels: U8) -> None:
    rgba = cutout(pixels, **FAST)
    hidden = rgba[..., 3] == 0
    assert hidden.any()
    # What lies hidden is the person's colours gone on, smooth, and not the flag behind her.
    room = np.abs(np.diff(pixels.astype(int), axis=1)).mean(2)[hidden[:, 1:]].mean()
    assert (
        np.abs(np.diff(rgba[..., :3].astype(int), axis=1)).mean(2)[hidden[:, 1:]].mean() < room / 4
    )


def test_threads_take_turns(brightness: Path, pixels: U8) -> None:
    images = [np.roll(pixels, 10 * n, axis=1) for n in range(8)]
    alone = [matte(image, model=brightness) for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = [*pool.map(lambda image: matte(image, model=brightness), images)]
    assert all(map(np.array_equal, alone, together))


def test_a_model_that_is_written_again_is_opened_again(tmp_path: Path, pixels: U8) -> None:
    file = graphs.constant(tmp_path / "model.onnx", 1.0)
    assert matte(pixels, model=file).min() == 255
    graphs.constant(file, 0.0)
    assert matte(pixels, model=file).max() == 0


@pytest.mark.parametrize("ending", ["tga", "pcx", "sgi", "dpx"])
def test_formats_that_ffmpeg_alone_reads(
    ending: str, brightness: Path, tmp_path: Path, pixels: U8
) -> None:
    with av.open(str(tmp_path / f"image.{ending}"), "w", format="image2") as out:
        encoder, order = ("targa", "bgr24") if ending == "tga" else (ending, "rgb24")
        stream = out.add_stream(encoder, 1)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width, stream.pix_fmt = *pixels.shape[:2], order
        out.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
    alpha = matte(tmp_path / f"image.{ending}", model=brightness)
    assert np.array_equal(alpha, matte(pixels, model=brightness))


def test_a_size_may_be_of_numpy(brightness: Path, pixels: U8) -> None:
    size: Any = np.int64(64)
    alpha = matte(pixels, model=brightness, size=size)
    assert np.array_equal(alpha, matte(pixels, model=brightness, size=64))


def test_a_video_is_no_image(portrait: Path) -> None:
    with pytest.raises(BadData, match=r"portrait.mp4: not a readable image"):
        matte(portrait)


def test_it_says_that_nobody_is_there(
    zeros: Path, pixels: U8, caplog: pytest.LogCaptureFixture
) -> None:
    assert matte(pixels, model=zeros).max() == 0
    assert [(r.name, r.getMessage()) for r in caplog.records] == [
        ("wsshm", "no person was found in the image")
    ]


@pytest.mark.parametrize(
    ("image", "options", "error", "says"),
    [
        ("missing.jpg", {}, CannotOpen, "missing.jpg: no such file"),
        (__file__, {}, BadData, "test_images.py: not a readable image"),
        (np.zeros((4, 4, 3)), {}, UsageError, r"array of float64 .*; give \(H, W, 3\) uint8 RGB"),
        (np.zeros((4, 4), np.uint8), {}, UsageError, r"\(4, 4\)"),
        (np.zeros((0, 4, 3), np.uint8), {}, UsageError, "0 pixels; give 1 to 64 Mi pixels"),
        (Image.new("RGB", (0, 4)), {}, BadData, "no pixels"),
        ("a\0b.jpg", {}, UsageError, r"image='a\\x00b.jpg': has a NUL"),
        (".", {}, CannotOpen, "is a directory"),
        (None, {}, UsageError, "NoneType"),
        (np.zeros((4, 4, 3), np.uint8), {"model": "best"}, CannotOpen, "best.*default, fast"),
        (np.zeros((4, 4, 3), np.uint8), {"size": 20}, UsageError, "size=20.*64 to 2160"),
        (np.zeros((4, 4, 3), np.uint8), {"device": "tpu"}, UsageError, "tpu"),
        (np.zeros((4, 4, 3), np.uint8), {"precision": "int4"}, UsageError, "int4"),
    ],
)
def test_errors_have_types_and_say_what_to_do(
    image: Any, options: dict[str, Any], error: type[Exception], says: str
) -> None:
    for function in (matte, cutout):
        with pytest.raises(error, match=says):
            function(image, **options)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 2), (1, 50), (3, 1000), (33, 31)])
def test_images_of_any_size(height: int, width: int, ones: Path) -> None:
    image = np.zeros((height, width, 3), np.uint8)
    assert matte(image, model=ones).shape == (height, width)
    assert cutout(image, model=ones).shape == (height, width, 4)
