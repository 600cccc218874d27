"""Convert pixels to sRGB by the colour profile (ICC) of their file.

PNG, AVIF and HEIF may name their colours by code points of ISO/IEC 23091-2 instead.
"""

from __future__ import annotations

import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# A profile that moves no colour by more than this, of 255, is sRGB itself: every program writes its
# own, and to convert by it would only round.
SRGB_TOLERANCE = 2
GRID_STEPS = 17  # of each channel, at which that is tried
MODES = {"RGB ": "RGB", "GRAY": "L", "CMYK": "CMYK"}  # Pillow's, by a profile's colour space


def to_srgb(image: Image.Image, profile: bytes) -> Image.Image:
    """Return an image in sRGB, converted by the profile of its file.

    Args:
        image: of the mode L, RGB or CMYK.
        profile: an ICC profile.

    Returns:
        An image of the mode RGB.

    Raises:
        ValueError: the profile is broken, or is for another kind of image.
    """
    try:
        space, transform = _transform(profile)
    except (ImageCms.PyCMSError, OSError) as e:
        raise ValueError(f"a profile that cannot be used ({e})") from e
    mode = MODES.get(space)
    fits = mode == image.mode or (mode, image.mode) == ("RGB", "L")
    if mode is None or not fits:
        raise ValueError(f"a profile for {space.strip()}, not for {image.mode}")
    if transform is None:
        return image.convert("RGB")
    converted = ImageCms.applyTransform(image.convert(mode), transform)
    assert converted is not None
    return converted


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, ImageCms.ImageCmsTransform | None]:
    """Return a profile's colour space, and the transform from it to sRGB; None where it is that."""
    source: Any = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    space = str(source.profile.xcolor_space)
    if space not in MODES:
        return space, None
    transform = ImageCms.buildTransform(
        source,
        ImageCms.createProfile("sRGB"),
        MODES[space],
        "RGB",
        flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
    )
    if MODES[space] == "CMYK":
        return space, transform
    levels = np.linspace(0, 255, GRID_STEPS).round().astype(np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), -1).reshape(GRID_STEPS, -1, 3)
    if MODES[space] == "L":
        grid = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, 2)
    tried = ImageCms.applyTransform(Image.fromarray(grid).convert(MODES[space]), transform)
    moved = np.abs(np.asarray(tried, np.int16) - grid).max()
    return space, transform if moved > SRGB_TOLERANCE else None


HDR_TRANSFERS = {16: "PQ", 18: "HLG"}  # transfer characteristics, by code point
# Red, green and blue of code points of primaries, as XYZ adapted to D50.
PRIMARIES = {
    9: ((0.67348, 0.27904, -0.00194), (0.16565, 0.67535, 0.02997), (0.12505, 0.04561, 0.79686)),
    12: ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407)),
}
WHITE = 0.9642, 1.0, 0.8249  # D50
SRGB_CURVE = 2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045


def code_points(data: bytes, name: str) -> tuple[int, int] | None:
    """Return the code points of an image's primaries and transfer; None where it names none.

    Args:
        data: the file.
        name: its format: PNG, AVIF or HEIF, as others name none.
    """
    if name == "PNG":
        at = data.find(b"cICP", 0, max(0, data.find(b"IDAT")))
        found = data[at + 4 : at + 6]
        return (found[0], found[1]) if at > 0 and len(found) == 2 else None
    at = data.find(b"colrnclx") if name in ("AVIF", "HEIF") else -1
    found = data[at + 8 : at + 12]
    return struct.unpack(">HH", found) if at > 0 and len(found) == 4 else None


@lru_cache
def profile_of(primaries: int) -> bytes | None:
    """Return an ICC profile with these primaries and the curve of sRGB; None where none is needed.

    The curves of BT.709 and BT.2020 are taken for that of sRGB, as everywhere.
    """
    if primaries not in PRIMARIES:
        return None
    curve = b"para\0\0\0\0\0\3\0\0" + _fixed(*SRGB_CURVE)
    colours = (b"XYZ \0\0\0\0" + _fixed(*xyz) for xyz in (WHITE, *PRIMARIES[primaries]))
    parts = [*zip((b"wtpt", b"rXYZ", b"gXYZ", b"bXYZ"), colours, strict=True)]
    parts += [(name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")]
    table, body, at = b"", b"", 132 + 12 * len(parts)
    for name, part in parts:
        table += name + struct.pack(">II", at + len(body), len(part))
        body += part
    body = struct.pack(">I", len(parts)) + table + body
    head = struct.pack(">I", 128 + len(body)) + bytes(4) + b"\4\0\0\0mntrRGB XYZ " + bytes(12)
    return head + b"acsp" + bytes(28) + _fixed(*WHITE) + bytes(48) + body


def _fixed(*numbers: float) -> bytes:
    return b"".join(struct.pack(">i", round(x * 65536)) for x in numbers)
