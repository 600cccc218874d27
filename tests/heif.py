"""Photographs as iPhones write them: HEIF of HEVC tiles, with a grid that puts them together."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import av
import numpy as np

TILE = 64  # pixels; those of iPhones have 512


def write_heic(path: Path, rgb: np.ndarray, *boxes: bytes) -> Path:
    """Write an image of whole tiles.

    Args:
        rgb: (H, W, 3) uint8, H and W multiples of `TILE`.
        boxes: properties of the whole, such as ``box(b"irot", b"\\1")``.
    """
    height, width = rgb.shape[:2]
    corners = [(y, x) for y in range(0, height, TILE) for x in range(0, width, TILE)]
    tiles = [_hevc(rgb[y : y + TILE, x : x + TILE]) for y, x in corners]
    n = len(tiles)
    grid = bytes([0, 0, height // TILE - 1, width // TILE - 1]) + struct.pack(">HH", width, height)
    info = b"".join(_entry(i + 1, b"hvc1", hidden=True) for i in range(n))
    info += _entry(n + 1, b"grid", hidden=False)
    parts = b"".join(struct.pack(">H", i + 1) for i in range(n))
    size = _full(b"ispe", struct.pack(">II", width, height))
    of_tile = [tiles[0][0], _full(b"ispe", struct.pack(">II", TILE, TILE))]
    properties = box(b"ipco", b"".join([*of_tile, size, *boxes]))
    uses = b"".join(struct.pack(">HB", i + 1, 2) + b"\x81\x02" for i in range(n))
    uses += struct.pack(">HB", n + 1, 1 + len(boxes)) + bytes(
        [3, *(132 + k for k in range(len(boxes)))]
    )
    uses = _full(b"ipma", struct.pack(">I", n + 1) + uses)

    def meta(at: int) -> bytes:
        places = b""
        for i, (_, data) in enumerate(tiles):
            places += struct.pack(">HHHHII", i + 1, 0, 0, 1, at, len(data))
            at += len(data)
        places += struct.pack(">HHHHII", n + 1, 1, 0, 1, 0, len(grid))
        return _full(
            b"meta",
            _full(b"hdlr", bytes(4) + b"pict" + bytes(13))
            + _full(b"pitm", struct.pack(">H", n + 1))
            + _full(b"iinf", struct.pack(">H", n + 1) + info)
            + _full(b"iref", box(b"dimg", struct.pack(">HH", n + 1, n) + parts))
            + box(b"iprp", properties + uses)
            + box(b"idat", grid)
            + _full(b"iloc", struct.pack(">BBH", 0x44, 0, n + 1) + places, 1),
        )

    head = box(b"ftyp", b"heic" + bytes(4) + b"mif1heic")
    begin = len(head) + len(meta(0)) + 8
    path.write_bytes(head + meta(begin) + box(b"mdat", b"".join(d for _, d in tiles)))
    return path


def box(kind: bytes, data: bytes) -> bytes:
    """A box of ISO/IEC 14496-12."""
    return struct.pack(">I", len(data) + 8) + kind + data


def _full(kind: bytes, data: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags) + data)


def _entry(item: int, kind: bytes, hidden: bool) -> bytes:
    return _full(b"infe", struct.pack(">HH", item, 0) + kind + b"\0", 2, hidden)


def _hevc(tile: np.ndarray) -> tuple[bytes, bytes]:
    """Return the ``hvcC`` box and the samples of a tile."""
    file = io.BytesIO()
    options = {"x265-params": "log-level=error:keyint=1:bframes=0", "crf": "4"}
    with av.open(file, "w", format="mp4") as container:
        stream = container.add_stream("libx265", rate=1, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = TILE, TILE, "yuv444p"
        stream.codec_context.codec_tag = "hvc1"
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(tile), "rgb24")
        container.mux([*stream.encode(frame), *stream.encode(None)])
    data = file.getvalue()
    at = data.index(b"hvcC") - 4
    (length,) = struct.unpack(">I", data[at : at + 4])
    with av.open(io.BytesIO(data), "r") as written:
        sample = next(p for p in written.demux(video=0) if p.size)
        return data[at : at + length], bytes(sample)
