"""Images that are cut off, damaged, or larger than they look."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from engines import images
from engines.errors import BadData
from engines.files import MAX_PIXELS
from tests.heif import write_heic
from tests.pictures import EXACT, ramps, read


def test_a_jpeg_without_its_end_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    """Said, as it cannot be known how much is missing; what is there is as in the whole file."""
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(noise).save(file, "JPEG")
    data = file.getvalue()
    (tmp_path / "whole.jpg").write_bytes(data + bytes(100))  # followed by something else
    whole, _, warnings = read(tmp_path / "whole.jpg")
    assert warnings == []
    for missing in (1, 2, 10, len(data) // 2):
        (tmp_path / "a.jpg").write_bytes(data[:-missing])
        rgb, _, (text,) = read(tmp_path / "a.jpg")
        assert (rgb[:32] == whole[:32]).all()
        assert missing > 2 or (rgb == whole).all()
        assert "a.jpg: its end is missing" in text


@pytest.mark.parametrize(
    "suffix", ["png", "webp", "tif", "avif", "bmp", "gif", "jp2", "ppm", "heic"]
)
def test_half_of_another_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (128, 128, 3), np.uint8)
    if suffix == "heic":
        write_heic(path, noise)
    else:
        Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(BadData, match="not a readable image"):
        images.read(path)


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    """Whatever is wrong in them: 300 of all formats."""
    random = np.random.default_rng(0)
    kinds = [*EXACT, "jpg", "avif", "gif"]
    for suffix in kinds:
        Image.fromarray(ramps()).save(tmp_path / f"a.{suffix}")
    write_heic(tmp_path / "a.heic", ramps(64, 64))
    for k in range(300):
        suffix = [*kinds, "heic"][k % (len(kinds) + 1)]
        data = bytearray((tmp_path / f"a.{suffix}").read_bytes())
        for at in random.integers(0, min(len(data), 2000), 1 + k % 5):
            data[at] = random.integers(256)
        (tmp_path / f"b.{suffix}").write_bytes(data[: len(data) if k % 3 else k * len(data) // 300])
        try:
            images.read(tmp_path / f"b.{suffix}")
        except BadData:
            continue


@pytest.mark.parametrize("side", [8193, 16383])  # what Pillow warns of, and what it refuses
@pytest.mark.parametrize(
    "suffix", ["png", "tif", "bmp", "webp", "ppm", "gif", "jpg", "jp2", "avif"]
)
def test_a_small_file_cannot_ask_for_any_amount_of_memory(
    tmp_path: Path, suffix: str, side: int
) -> None:
    """Over the limit by its header, it is refused before a pixel is decoded."""
    assert side * side > MAX_PIXELS
    file = io.BytesIO()
    Image.new("1" if suffix in ("png", "tif", "bmp") else "L", (8, 8)).save(
        file, {"jpg": "JPEG", "tif": "TIFF", "jp2": "JPEG2000"}.get(suffix, suffix)
    )
    data = bytearray(file.getvalue())
    if suffix == "ppm":
        data = bytearray(f"P5\n{side} {side}\n255\n".encode())
    elif suffix == "png":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
    elif suffix == "bmp":
        data[18:26] = struct.pack("<ii", side, side)
    elif suffix == "gif":
        data[6:10] = struct.pack("<HH", side, side)
    elif suffix == "jpg":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif suffix in ("jp2", "avif"):
        for kind in (b"ihdr", b"\xff\x51") if suffix == "jp2" else (b"ispe",):
            at = data.index(kind) + {b"ihdr": 4, b"\xff\x51": 6, b"ispe": 8}[kind]
            data[at : at + 8] = struct.pack(">II", side, side)
    elif suffix == "webp":
        at = data.index(b"VP8 ") + 14
        data[at : at + 4] = struct.pack("<HH", side, side)
    else:
        for tag in (256, 257):
            at = data.index(struct.pack("<H", tag) + b"\4\0\1\0\0\0") + 8
            data[at : at + 4] = struct.pack("<I", side)
    (tmp_path / f"a.{suffix}").write_bytes(data)
    with pytest.raises(BadData, match="over 64 megapixels; make it smaller"):
        images.read(tmp_path / f"a.{suffix}")
