"""The one reader of images: formats, orientations, depths, alpha, profiles, damage, and limits."""

from __future__ import annotations

import struct
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from engines import images
from engines.colour import profile_of
from engines.errors import BadData, CannotOpen
from tests.heif import box, write_heic
from tests.pictures import EXACT, HEIGHT, LOSSY, WIDTH, alphas, chunk, png, ramps, read, tiff

P3 = 12  # code point of its primaries


@pytest.mark.parametrize("suffix", EXACT)
def test_lossless_formats_are_read_to_the_bit(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(ramps()).save(tmp_path / f"a.{suffix}", **EXACT[suffix])
    rgb, alpha, warnings = read(tmp_path / f"a.{suffix}")
    assert (rgb == ramps()).all()
    assert (alpha, warnings) == (None, [])


@pytest.mark.parametrize("suffix", LOSSY)
def test_lossy_formats_are_read(tmp_path: Path, suffix: str) -> None:
    Image.fromarray(ramps()).save(
        tmp_path / f"a.{suffix}", "JPEG" if suffix == "jfif" else None, **LOSSY[suffix]
    )
    rgb, _, warnings = read(tmp_path / f"a.{suffix}")
    assert np.abs(rgb.astype(int) - ramps()).mean() < 6
    assert warnings == []


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_ordinary_files_are_as_opencv_decodes_them(tmp_path: Path, suffix: str) -> None:
    """To the bit, with the profile of sRGB too: decoders differ, and results are compared."""
    noise = np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, profile in (("plain", None), ("srgb", srgb)):
        path = tmp_path / f"{name}.{suffix}"
        Image.fromarray(noise).save(path, icc_profile=profile)
        assert (read(path)[0] == cv2.imread(str(path))[..., ::-1]).all()


INVERSE = {  # the transposition that stores an image so that an orientation turns it upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((s, m) for s in ("jpg", "png", "webp", "tif", "avif") for m in ("RGB", "L")),
        *((s, "RGBA") for s in ("png", "webp", "tif", "avif")),
        *(("png", "I;16"), ("tif", "I;16")),
    ],
)
def test_all_orientations_of_all_formats(tmp_path: Path, suffix: str, mode: str) -> None:
    image = Image.fromarray(ramps()).convert("L" if mode == "I;16" else mode)
    expected = np.asarray(image.convert("RGB"))
    if mode == "RGBA":
        image.putalpha(Image.fromarray(alphas()))
    if mode == "I;16":
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    for orientation, inverse in INVERSE.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        path = tmp_path / f"{orientation}.{suffix}"
        how = {"webp": {"lossless": True, "exact": True}}.get(suffix, LOSSY.get(suffix, {}))
        image.transpose(inverse).save(path, exif=exif, **how)
        rgb, alpha, _ = read(path)
        assert rgb.shape == expected.shape, orientation
        shown = alphas() > 0 if alpha is not None else np.ones(rgb.shape[:2], bool)
        assert np.abs(rgb.astype(int) - expected)[shown].max() < 16, orientation
        if mode == "RGBA":
            assert alpha is not None
            assert np.abs(alpha.astype(int) - alphas()).max() < 8, orientation


@pytest.mark.parametrize(
    ("boxes", "turned"),
    [
        ((), lambda a: a),
        ((box(b"irot", b"\1"),), lambda a: np.rot90(a)),
        ((box(b"irot", b"\3"),), lambda a: np.rot90(a, 3)),
        ((box(b"imir", b"\0"),), lambda a: a[::-1]),
        ((box(b"imir", b"\1"),), lambda a: a[:, ::-1]),
        ((box(b"irot", b"\1"), box(b"imir", b"\1")), lambda a: np.rot90(a)[:, ::-1]),
    ],
)
@pytest.mark.parametrize("name", ["a.heic", "a.jpg"])
def test_the_tiles_of_an_iphone_photo_are_one_upright_picture(
    tmp_path: Path, boxes: tuple[bytes, ...], turned: Any, name: str
) -> None:
    photo = ramps(128, 192)
    rgb, alpha, warnings = read(write_heic(tmp_path / name, photo, *boxes))
    assert rgb.shape == turned(photo).shape
    assert np.abs(rgb.astype(int) - turned(photo)).max() < 12
    assert (alpha, warnings) == (None, [])


def test_colours_of_an_iphone_photo_are_converted(tmp_path: Path) -> None:
    """Display P3, by a profile, as iPhones write it, or by code points."""
    red = np.zeros((64, 64, 3), np.uint8)
    red[:] = 200, 40, 40
    plain = read(write_heic(tmp_path / "a.heic", red))[0][32, 32].astype(int)
    profile = box(b"colr", b"prof" + (profile_of(P3) or b""))
    codes = box(b"colr", b"nclx" + struct.pack(">HHHB", P3, 13, 6, 0))
    for more in (profile, codes):
        wide = read(write_heic(tmp_path / "b.heic", red, more))[0][32, 32].astype(int)
        assert wide[0] > plain[0] + 8


def test_hdr_is_refused(tmp_path: Path) -> None:
    codes = box(b"colr", b"nclx" + struct.pack(">HHHB", 9, 16, 9, 0))
    with pytest.raises(BadData, match=r"HDR image \(PQ\) is not supported; convert it"):
        images.read(write_heic(tmp_path / "a.hif", ramps(64, 64), codes))
    chunks = chunk(b"cICP", bytes([9, 18, 0, 1]))
    (tmp_path / "a.png").write_bytes(png(np.zeros((4, 4, 3), np.uint16), 2, chunks))
    with pytest.raises(BadData, match="HLG"):
        images.read(tmp_path / "a.png")


def test_without_its_package_heic_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one line, with how to convert it."""
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    with pytest.raises(CannotOpen, match="run: pip install pi-heif, or convert it"):
        images.read(write_heic(tmp_path / "a.heic", ramps(64, 64)))


@pytest.mark.parametrize(
    ("name", "head", "says"),
    [
        ("a.jxl", b"\xff\x0a" + bytes(50), "JPEG XL is not read; convert it first: djxl"),
        ("a.cr3", b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "camera raw is not read; develop it"),
        ("a.nef", b"II*\0\x08\0\0\0", "camera raw is not read"),
        ("a.png", b"", "not a readable image"),
        ("a.jpg", b"no image", "not a readable image"),
    ],
)
def test_what_is_not_read_says_what_to_do(
    tmp_path: Path, name: str, head: bytes, says: str
) -> None:
    (tmp_path / name).write_bytes(head)
    with pytest.raises(BadData, match=f"{name}: {says}"):
        images.read(tmp_path / name)


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp", "avif"])
def test_profiles_are_converted(tmp_path: Path, suffix: str) -> None:
    """The reddest red of Display P3 is beyond sRGB; half of it is a brighter red there."""
    colours = np.zeros((16, 32, 3), np.uint8)
    colours[:, :16], colours[:, 16:] = (128, 0, 0), (255, 0, 0)
    how: dict[str, Any] = {"jpg": {"quality": 100, "subsampling": 0}, "webp": {"lossless": True}}
    how["avif"] = {"quality": 100, "subsampling": "4:4:4"}
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(colours).save(path, icc_profile=profile_of(P3), **how.get(suffix, {}))
    rgb, _, warnings = read(path)
    assert np.abs(rgb[8, 4].astype(int) - (140, 0, 0)).max() < 4
    assert np.abs(rgb[8, 28].astype(int) - (255, 0, 0)).max() < 4
    assert warnings == []


def test_profile_beside_alpha(tmp_path: Path) -> None:
    """Colours are converted, alpha is not."""
    rgba = np.dstack([np.full((HEIGHT, WIDTH, 3), (128, 0, 0), np.uint8), alphas()])
    Image.fromarray(rgba).save(tmp_path / "a.png", icc_profile=profile_of(P3))
    rgb, alpha, _ = read(tmp_path / "a.png")
    assert abs(int(rgb[0, -1, 0]) - 140) < 4
    assert (alpha == alphas()).all()


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_broken_profile_is_ignored_and_said(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(ramps()).convert(mode)
    image.save(tmp_path / "a.jpg", quality=98, subsampling=0)
    image.save(tmp_path / "b.jpg", quality=98, subsampling=0, icc_profile=b"junk" * 100)
    rgb, _, warnings = read(tmp_path / "b.jpg")
    assert (rgb == read(tmp_path / "a.jpg")[0]).all()
    (text,) = warnings
    assert "b.jpg: a profile that cannot be used" in text
    assert "taken as sRGB" in text


def test_four_inks(tmp_path: Path) -> None:
    image = Image.fromarray(ramps()).convert("CMYK")
    image.save(tmp_path / "a.jpg", quality=98)
    rgb, alpha, _ = read(tmp_path / "a.jpg")
    assert np.abs(rgb.astype(int) - ramps()).mean() < 4
    assert alpha is None


@pytest.mark.parametrize(
    ("suffix", "mode"),
    [
        *((s, m) for s in ("png", "webp", "tif", "avif", "jp2") for m in ("RGBA", "LA")),
        *(("png", "P"), ("webp", "P"), ("gif", "RGBA")),
    ],
)
def test_alpha_is_read(tmp_path: Path, suffix: str, mode: str) -> None:
    hard = mode == "P" or suffix == "gif"
    alpha = np.where(alphas() < 128, 0, 255).astype(np.uint8) if hard else alphas()
    image = Image.fromarray(ramps()).convert("L" if mode == "LA" else "RGB")
    image.putalpha(Image.fromarray(alpha))
    if mode == "P":
        image = image.quantize(64)
    how: dict[str, Any] = {"webp": {"lossless": True, "exact": True}, "avif": {"quality": 100}}
    image.save(tmp_path / f"a.{suffix}", **how.get(suffix, {}))
    seen = read(tmp_path / f"a.{suffix}")[1]
    assert seen is not None
    assert np.abs(seen.astype(int) - alpha).max() <= (2 if suffix == "avif" else 0)


@pytest.mark.parametrize("deep", [False, True])
def test_both_kinds_of_alpha_of_tiff(tmp_path: Path, deep: bool) -> None:
    """Colours that are multiplied by alpha in the file are straight when they are read."""
    alpha = alphas()[..., None]
    straight = np.dstack([ramps(), alpha])
    multiplied = np.dstack([(ramps() * (alpha / 255)).round().astype(np.uint8), alpha])
    for rgba, associated in ((straight, False), (multiplied, True)):
        stored = rgba.astype("<u2") * 257 if deep else rgba
        (tmp_path / "a.tif").write_bytes(tiff(stored, associated))
        rgb, seen, _ = read(tmp_path / "a.tif")
        assert (seen == alphas()).all()
        solid = alphas() > 128
        assert np.abs(rgb.astype(int) - ramps())[solid].max() <= 2


def test_sixteen_bits(tmp_path: Path) -> None:
    """The upper eight of them, in all kinds of PNG; a colour that is transparent by its 16 bits."""
    deep = ramps().astype(np.uint16) << 8 | 0x55
    grey, alpha = deep[..., :1], alphas().astype(np.uint16)[..., None] * 257
    key = deep[3, 5]
    cases = {
        "rgb": png(deep, 2),
        "grey": png(grey, 0),
        "rgba": png(np.dstack([deep, alpha]), 6),
        "la": png(np.dstack([grey, alpha]), 4),
        "rgb key": png(deep, 2, chunk(b"tRNS", key.astype(">u2").tobytes())),
        "grey key": png(grey, 0, chunk(b"tRNS", key[:1].astype(">u2").tobytes())),
    }
    for name, data in cases.items():
        (tmp_path / "a.png").write_bytes(data)
        rgb, seen, _ = read(tmp_path / "a.png")
        grey_only = name.startswith(("grey", "la"))
        assert (rgb == (ramps()[..., :1] if grey_only else ramps())).all(), name
        expected = {"rgba": alphas(), "la": alphas()}.get(name)
        if "key" in name:
            hidden = (deep[..., 0] == key[0]) if grey_only else (deep == key).all(2)
            expected = np.where(hidden, 0, 255)
        assert (seen is None) == (expected is None), name
        assert expected is None or (seen == expected).all(), name


def test_deep_tiff(tmp_path: Path) -> None:
    """16 bits, and floating point, of which is said how it is taken."""
    cv2.imwrite(str(tmp_path / "a.tif"), ramps()[..., ::-1].astype(np.uint16) * 257)
    assert (read(tmp_path / "a.tif")[0] == ramps()).all()
    cv2.imwrite(str(tmp_path / "f.tif"), (ramps()[..., ::-1] / 255).astype(np.float32))
    rgb, _, warnings = read(tmp_path / "f.tif")
    assert (rgb == ramps()).all()
    assert "floating point" in warnings[0]


def test_32_bits_are_said(tmp_path: Path) -> None:
    grey = ramps()[..., 0].astype(np.int32)
    Image.fromarray(grey * 257).save(tmp_path / "a.tif")
    rgb, _, warnings = read(tmp_path / "a.tif")
    assert (rgb == grey[..., None]).all()
    assert "32-bit integers" in warnings[0]
    cv2.imwrite(str(tmp_path / "a.pgm"), grey.astype(np.uint16) * 257)
    rgb, _, warnings = read(tmp_path / "a.pgm")
    assert (rgb == grey[..., None]).all()
    assert not warnings


def test_pages_and_animations_are_said(tmp_path: Path) -> None:
    pages = [Image.fromarray(ramps()), Image.fromarray(255 - ramps())]
    for name in ("a.tif", "a.gif", "a.webp", "a.png", "a.avif"):
        pages[0].save(tmp_path / name, save_all=True, append_images=pages[1:])
        rgb, _, (text,) = read(tmp_path / name)
        assert np.abs(rgb.astype(int) - ramps()).mean() < 8
        assert ("2 pages in it; the first is used" if name == "a.tif" else "first picture") in text
    assert images.is_still(tmp_path / "a.tif")
    assert not images.is_still(tmp_path / "a.png")


def test_ppm_as_text_without_a_last_newline(tmp_path: Path) -> None:
    pixels = np.arange(18, dtype=np.uint8).reshape(2, 3, 3)
    path = tmp_path / "text.ppm"
    path.write_text("P3\n# by hand\n3 2\n255\n" + " ".join(map(str, pixels.ravel())))
    assert np.array_equal(images.read(path).rgb, pixels)


def test_odd_headers_are_read_in_silence_in_threads_too(tmp_path: Path) -> None:
    """The process goes on with the warnings it had."""
    path = tmp_path / "odd.jpg"
    Image.new("RGB", (8, 8)).save(path, exif=b"Exif\0\0II*\0\x08\0\0\0\x05\0")  # no entry follows
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        for picture in pool.map(images.read, [path] * 400):
            assert picture.rgb.shape == (8, 8, 3)
    assert warnings.filters == before
    read_it = "import sys, pathlib, engines.images as i; i.read(pathlib.Path(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-W", "always", "-c", read_it, path], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
