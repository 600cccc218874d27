"""Images of every format, with all that a file of one may hold."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from engines import images

HEIGHT, WIDTH = 40, 56


def ramps(height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """An image without any symmetry, smooth, so that lossy formats keep it."""
    y, x = np.mgrid[:height, :width]
    channels = 255 * x / width, 255 * y / height, 255 - 120 * x / width - 120 * y / height
    return np.dstack(channels).astype(np.uint8)


def alphas() -> np.ndarray:
    alpha = np.full((HEIGHT, WIDTH), 255, np.uint8)
    alpha[:, : WIDTH // 2] = 0
    alpha[:, 20:36] = np.linspace(0, 255, 16).round()
    return alpha


def read(path: Path) -> tuple[np.ndarray, np.ndarray | None, list[str]]:
    warnings: list[str] = []
    rgb, alpha = images.read(path, warnings.append)
    return rgb, alpha, warnings


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: np.ndarray, colour: int, *more: bytes) -> bytes:
    """A PNG of 16 bits; `colour` is its type, `more` are chunks before the pixels."""
    height, width = pixels.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in pixels)
    head = struct.pack(">IIBBBBB", width, height, 16, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), *more, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def tiff(rgba: np.ndarray, associated: bool) -> bytes:
    """A TIFF of four channels, whose colours are multiplied by alpha or not."""
    height, width = rgba.shape[:2]
    data, bits = rgba.tobytes(), 8 * rgba.itemsize
    fields = {256: width, 257: height, 259: 1, 262: 2, 277: 4, 278: height, 279: len(data)}
    fields |= {338: 1 if associated else 2}
    end = 8 + 2 + 12 * (len(fields) + 2) + 4
    fields |= {258: end, 273: end + 8}
    table = b"".join(
        struct.pack("<HHII", k, 3 if k == 258 else 4, 4 if k == 258 else 1, v)
        for k, v in sorted(fields.items())
    )
    return (
        b"II*\0\x08\0\0\0"
        + struct.pack("<H", len(fields))
        + table
        + bytes(4)
        + struct.pack("<4H", *[bits] * 4)
        + data
    )


EXACT: dict[str, dict[str, Any]] = {
    "png": {},
    "bmp": {},
    "tif": {"compression": "tiff_lzw"},
    "ppm": {},
    "webp": {"lossless": True},
    "jp2": {},
}
LOSSY: dict[str, dict[str, Any]] = {
    "jpg": {"quality": 98, "subsampling": 0},
    "jfif": {"quality": 98, "subsampling": 0},
    "avif": {"quality": 98, "subsampling": "4:4:4"},
    "webp": {"quality": 100},
    "gif": {},
}
