"""Which files are images: by what is in them, by their names, and which are left alone."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines.image_files import format_of, image_format, is_image
from tests.media import noise_clip


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *((s, k) for k, s in (("JPEG", "jpg"), ("PNG", "png"), ("GIF", "gif"), ("BMP", "bmp"))),
        *((s, k) for k, s in (("WEBP", "webp"), ("TIFF", "tif"), ("AVIF", "avif"), ("PPM", "ppm"))),
        ("jp2", "JPEG2000"),
    ],
)
def test_formats_are_known_by_content(tmp_path: Path, name: str, kind: str) -> None:
    """Under any name, none among them."""
    Image.new("RGB", (16, 16), "red").save(tmp_path / f"a.{name}")
    for other in ("photo", "photo.mp4", "photo.jpg", "photo.txt"):
        (tmp_path / other).write_bytes((tmp_path / f"a.{name}").read_bytes())
        assert image_format(tmp_path / other) == kind
    assert is_image(tmp_path / "photo")
    assert not is_image(tmp_path / "photo.txt")


def test_what_is_no_image(tmp_path: Path) -> None:
    """Videos, text, motion JPEG, what cannot be opened, and pipes, which are not waited for."""
    assert image_format(noise_clip(tmp_path / "a.mp4", 2)) is None
    (tmp_path / "notes").write_text("P6 is a format, BM too; GIF as well")
    assert not is_image(tmp_path / "notes")
    Image.new("RGB", (16, 16)).save(tmp_path / "a.mjpeg", "JPEG")
    assert image_format(tmp_path / "a.mjpeg") is None
    os.mkfifo(tmp_path / "pipe")
    assert not is_image(tmp_path / "pipe")
    assert not is_image(tmp_path / "missing")
    assert format_of(b"") is None


def test_hidden_and_unfinished_files_are_no_images(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "a.png")
    for name in (".a.png", "a.part.png", "a.part12.png", "._a", "a.png.part"):
        (tmp_path / name).write_bytes((tmp_path / "a.png").read_bytes())
        assert not is_image(tmp_path / name)
    assert is_image(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif", "AVIF"),
        (b"\0\0\0\x18ftypavis\0\0\0\0avifmif1", "AVIF"),
        (b"\0\0\0\x18ftypisom\0\0\0\0iso2mp41", None),
        (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", None),
        (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw"),
        (b"\xff\x0a\0\0", "JPEG XL"),
    ],
)
def test_families_share_a_beginning(head: bytes, kind: str | None) -> None:
    assert format_of(head) == kind


def test_a_raw_photograph_is_not_taken_for_its_thumbnail(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16)).save(tmp_path / "a.nef", "TIFF")
    assert image_format(tmp_path / "a.nef") == "camera raw"
