"""Colour profiles: what is converted, by how much, and what is left alone."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from engines import images
from engines.colour import code_points, profile_of, to_srgb

P3, BT2020 = 12, 9  # code points of primaries


def srgb_of(rgb: np.ndarray, to_xyz: np.ndarray) -> np.ndarray:
    """(…, 3) of 255 by the formulas: sRGB's curve, XYZ of D65, and clipped."""
    x = rgb / 255
    linear = np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)
    from_xyz = np.array(
        [[3.2406, -1.5372, -0.4986], [-0.9689, 1.8758, 0.0415], [0.0557, -0.2040, 1.0570]]
    )
    y = (linear @ to_xyz.T @ from_xyz.T).clip(0, 1)
    return 255 * np.where(y <= 0.0031308, 12.92 * y, 1.055 * y ** (1 / 2.4) - 0.055)


XYZ_D65 = {
    P3: [[0.4866, 0.2657, 0.1982], [0.2290, 0.6917, 0.0793], [0.0, 0.0451, 1.0439]],
    BT2020: [[0.6370, 0.1446, 0.1689], [0.2627, 0.6780, 0.0593], [0.0, 0.0281, 1.0610]],
}


@pytest.mark.parametrize("primaries", [P3, BT2020])
def test_wide_colours_become_those_of_srgb(primaries: int) -> None:
    """To within two levels of what the standards' formulas give."""
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    wide = profile_of(primaries)
    assert wide is not None
    converted = np.asarray(to_srgb(Image.fromarray(rgb), wide), np.float64)
    assert np.abs(converted - srgb_of(rgb, np.array(XYZ_D65[primaries]))).max() <= 2


def profile(space: bytes, tags: dict[bytes, bytes], pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile of a colour space with these tags."""
    table, body, at = b"", b"", 132 + 12 * len(tags)
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data + bytes(-len(data) % 4)
    body = struct.pack(">I", len(tags)) + table + body
    kind = (b"prtr" if space == b"CMYK" else b"mntr") + space + pcs
    head = struct.pack(">I", 128 + len(body)) + bytes(4) + b"\2\x10\0\0" + kind + bytes(12)
    return head + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:] + bytes(48) + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(65536 * v) for v in values))


def curve(values: np.ndarray) -> bytes:
    """A table of [0, 1], or one gamma."""
    scaled = values * 256 if len(values) == 1 else values * 65535
    table = scaled.round().astype(">u2").tobytes()
    return b"curv\0\0\0\0" + struct.pack(">I", len(values)) + table


def test_srgb_stays_as_it_is() -> None:
    """To the bit, whoever wrote its profile: with a formula, or with a table as in most photos."""
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    x = np.linspace(0, 1, 1024)
    table = curve(np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4))
    red, green = xyz(0.43607, 0.22249, 0.01392), xyz(0.38515, 0.71687, 0.09708)
    primaries = red, green, xyz(0.14307, 0.06061, 0.7141)
    names = b"rXYZ", b"gXYZ", b"bXYZ"
    tags = {b"wtpt": xyz(0.95, 1, 1.09)} | dict(zip(names, primaries, strict=True))
    tabled = profile(b"RGB ", tags | dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), table))
    by_formula = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for given in (tabled, by_formula):
        assert (np.asarray(to_srgb(Image.fromarray(rgb), given)) == rgb).all()
    assert profile_of(1) is None


def cmyk_profile() -> bytes:
    """A press whose cyan is a red, and whose other inks are greys."""
    lab = np.full((2, 2, 2, 2, 3), (60, 128, 128), np.uint8)  # by cyan, magenta, yellow, black
    lab[0, 0, 0, 0], lab[1, 0, 0, 0] = (255, 128, 128), (128, 198, 178)
    identity = np.arange(256, dtype=np.uint8).tobytes()
    matrix = struct.pack(">9i", *(65536 * np.eye(3, dtype=int)).ravel().tolist())
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + matrix + 4 * identity
    table += lab.tobytes() + 3 * identity
    return profile(b"CMYK", {b"A2B0": table, b"wtpt": xyz(0.9642, 1, 0.8249)}, b"Lab ")


def test_four_inks_by_their_press(tmp_path: Path) -> None:
    """Through the file: a JPEG is stored with inverted inks."""
    inks = Image.new("CMYK", (32, 16))
    inks.paste((255, 0, 0, 0), (0, 0, 16, 16))
    inks.save(tmp_path / "a.jpg", quality=98, icc_profile=cmyk_profile())
    warnings: list[str] = []
    rgb = images.read(tmp_path / "a.jpg", warnings.append).rgb.astype(int)
    assert warnings == []
    red, green, blue = rgb[8, 4]
    assert red > green + 100
    assert red > blue + 100
    assert rgb[8, 28].min() > 250


@pytest.mark.parametrize("broken", [b"", b"x" * 500, (profile_of(P3) or b"")[:200]])
def test_a_broken_profile_is_an_error(broken: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        to_srgb(Image.new("RGB", (2, 2)), broken)


def test_a_profile_of_another_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="not for CMYK"):
        to_srgb(Image.new("CMYK", (2, 2)), profile_of(P3) or b"")
    with pytest.raises(ValueError, match="for GRAY, not for RGB"):
        to_srgb(Image.new("RGB", (2, 2)), grey_profile(2.2))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    with pytest.raises(ValueError, match="for Lab"):
        to_srgb(Image.new("RGB", (2, 2)), lab)


def grey_profile(gamma: float) -> bytes:
    tags = {b"wtpt": xyz(0.9642, 1, 0.8249), b"kTRC": curve(np.array([gamma]))}
    return profile(b"GRAY", tags)


def test_grey_by_its_own_curve() -> None:
    """The light that a level stands for stays the same."""
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    converted = np.asarray(to_srgb(Image.fromarray(ramp), grey_profile(1.8)), np.float64)
    light = (ramp / 255.0) ** 1.8
    expected = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light.clip(1e-9) ** (1 / 2.4) - 0.055
    )
    assert np.abs(converted[..., 0] - 255 * expected)[ramp > 8].max() <= 2
    assert (converted[..., 0] == converted[..., 2]).all()


def test_code_points() -> None:
    """Of PNG before its pixels, of AVIF and HEIF anywhere; other formats name none."""
    assert code_points(b"\0\0\0\4cICP\x0c\x0d\0\1....IDAT", "PNG") == (12, 13)
    assert code_points(b"....IDAT\0\0\0\4cICP\x0c\x0d\0\1", "PNG") is None
    assert code_points(b"..colrnclx\0\x09\0\x10\0\x09\x80", "HEIF") == (9, 16)
    assert code_points(b"..colrnclx\0\x09\0\x10\0\x09\x80", "JPEG") is None
    assert code_points(b"..colrnclx\0", "AVIF") is None
