"""Colour profiles: what is converted, by how much, and what is left alone."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

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
    profile = profile_of(primaries)
    assert profile is not None
    converted = np.asarray(to_srgb(Image.fromarray(rgb), profile), np.float64)
    assert np.abs(converted - srgb_of(rgb, np.array(XYZ_D65[primaries]))).max() <= 2


def test_srgb_stays_as_it_is() -> None:
    """To the bit, whoever wrote its profile."""
    rgb = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert (np.asarray(to_srgb(Image.fromarray(rgb), profile)) == rgb).all()
    assert profile_of(1) is None


@pytest.mark.parametrize("profile", [b"", b"x" * 500, (profile_of(P3) or b"")[:200]])
def test_a_broken_profile_is_an_error(profile: bytes) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        to_srgb(Image.new("RGB", (2, 2)), profile)


def test_a_profile_of_another_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="not for CMYK"):
        to_srgb(Image.new("CMYK", (2, 2)), profile_of(P3) or b"")
    with pytest.raises(ValueError, match="for GRAY, not for RGB"):
        to_srgb(Image.new("RGB", (2, 2)), grey_profile(2.2))
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    with pytest.raises(ValueError, match="for Lab"):
        to_srgb(Image.new("RGB", (2, 2)), lab)


def grey_profile(gamma: float) -> bytes:
    """A profile of one channel, made from one of three."""
    curve = b"curv" + bytes(4) + (1).to_bytes(4, "big") + round(gamma * 256).to_bytes(2, "big")
    white = b"XYZ " + bytes(4) + bytes.fromhex("0000f6d6000100000000d32d")
    head = bytearray((profile_of(P3) or b"")[:128])
    head[12:20] = b"mntrGRAY"
    table = b"\0\0\0\2wtpt\0\0\0\x9c\0\0\0\x14kTRC\0\0\0\xb0\0\0\0\x0e"
    head[:4] = (128 + len(table) + len(white) + len(curve)).to_bytes(4, "big")
    return bytes(head) + table + white + curve


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
