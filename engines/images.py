"""Read an image of any format as sRGB pixels with straight alpha.

OpenCV decodes ordinary files, Pillow those with alpha or four inks and the formats of which OpenCV
reads a part only, and pi-heif the photographs of iPhones. The format is told by the file's first
bytes, not by its name.

Only the first picture of a file is read, and more are said; `pictures` gives all of an animation.
A JPEG that was cut off is shown as far as it goes, as everywhere; other files must be whole.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import Image, ImageCms, ImageOps

from engines.arrays import U8, Plane
from engines.colour import HDR_TRANSFERS, code_points, profile_of, to_srgb
from engines.errors import BadData, CannotOpen, Say, reading, silent
from engines.files import MAX_PIXELS
from engines.image_files import HEAD_BYTES, IMAGE_SUFFIXES, format_of, image_format

# Pillow warns of odd headers and large sizes, which are judged here. Said once for the process: to
# silence warnings for a while is not safe where images are read in threads.
warnings.filterwarnings("ignore", module=r"(PIL|pi_heif)\.")

ANIMATED = {"GIF", "PNG", "WEBP", "AVIF"}  # formats that may hold an animation
OPENCV_READS = {"JPEG", "PNG", "WEBP", "BMP"}  # all of them, unless they have alpha or inks
PILLOW_READS = {"JPEG": ("JPEG", "MPO")}  # MPO is a JPEG with a second picture, such as a depth map
DEEP_MODES = ("I", "F")  # how Pillow's modes of more than 8 bits begin, which it does not scale
END_OF_JPEG = b"\xff\xd9"
# Milliseconds: browsers show a picture of an animation that has less than the one for the other.
MIN_SHOWN_MS, DEFAULT_SHOWN_MS = 11, 100
TO_JPEG = "convert it first, as in: magick IN OUT.jpg"
UNREADABLE = {
    "JPEG XL": "convert it first: djxl IN OUT.png",
    "camera raw": "develop it first, to a JPEG or TIFF file",
}


class Picture(NamedTuple):
    """An image in sRGB.

    `rgb` is (H, W, 3) uint8, upright. `alpha` is (H, W) uint8, straight, 255 = opaque; None where
    the file has none.
    """

    rgb: U8
    alpha: Plane | None


def read(path: Path, warn: Say = silent) -> Picture:
    """Read an image file, upright, in sRGB.

    Args:
        warn: told what of the file is not used, and what is missing.

    Raises:
        CannotOpen: it cannot be read, or its format needs another package.
        BadData: it is no image, damaged, of a format that is not read, or over `MAX_PIXELS`.
    """
    data, name = _contents(path)

    def say(text: str) -> None:
        warn(f"{path}: {text}")

    picture = _decoded(path, data, name, say)
    if picture is None and name == "JPEG":
        picture = _decoded(path, data + END_OF_JPEG, name, say, is_whole=False)
        if picture is not None:
            say("its end is missing; it is shown as far as it goes")
    if picture is None:
        raise BadData(f"{path}: not a readable image", "it may be incomplete or damaged")
    return picture


def from_pillow(image: Image.Image, warn: Say = silent) -> Picture:
    """Return an image that Pillow has opened or made, upright, in sRGB.

    Args:
        warn: told what cannot be used.

    Raises:
        BadData: it has no pixels, cannot be decoded, or is over `MAX_PIXELS`.
    """
    path = Path(getattr(image, "filename", "") or "image")
    if not image.width * image.height:
        raise BadData(f"{path}: has no pixels", "give an image of at least 1x1")
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    try:
        if image.mode.startswith(DEEP_MODES):
            picture = _deep(path, b"", image, warn)
            assert picture is not None
            return picture
        return _by_pillow(_loaded(image), image.info.get("icc_profile"), warn)
    except MemoryError:
        raise
    except Exception as e:  # on a broken file, Pillow raises undocumented errors
        raise BadData(f"{path}: not a readable image", "it may be incomplete or damaged") from e


def enable_heif() -> bool:
    """Make Pillow read HEIF, and return whether it can."""
    try:
        import pi_heif
    except ImportError:
        return False
    pi_heif.register_heif_opener()
    return True


def is_still(path: Path) -> bool:
    """Return whether a file is to be read as one image, by what is in it, then by its name."""
    name = image_format(path)
    if name is None:
        return path.suffix.lower() in IMAGE_SUFFIXES
    return not is_animation(path)


def is_animation(path: Path) -> bool:
    """Return whether a file holds several pictures to be shown one after the other."""
    name = image_format(path)
    if name not in ANIMATED:
        return False
    try:
        with Image.open(path, formats=[name]) as image:
            return bool(getattr(image, "is_animated", False))
    except Exception:  # on a broken file, Pillow raises undocumented errors
        return False


def pictures(path: Path) -> Iterator[tuple[Picture, int]]:
    """Yield the pictures of an animation, and for how many milliseconds each is shown.

    Raises:
        CannotOpen: the file cannot be read.
        BadData: a picture cannot be decoded, or is over `MAX_PIXELS`.
    """
    data, name = _contents(path)
    image = _opened(path, data, name)
    profile = _profile(path, data, name, image)
    count = getattr(image, "n_frames", 1)
    # The picture of a PNG file for programs that show no animations may be no part of that.
    for index in range(int(getattr(image, "default_image", False)), count):
        try:
            assert image is not None
            image.seek(index)
            picture = _by_pillow(_loaded(image), profile, silent)
            shown = round(image.info.get("duration") or 0)
        except MemoryError:
            raise
        except Exception as e:
            raise BadData(f"{path}: ends early: {index} of {count} pictures") from e
        yield picture, shown if shown >= MIN_SHOWN_MS else DEFAULT_SHOWN_MS


def count(path: Path) -> int | None:
    """Return the number of pictures of an animation; None if its file does not say."""
    try:
        with Image.open(path) as image:
            first = int(getattr(image, "default_image", False))
            return int(getattr(image, "n_frames", 1)) - first
    except Exception:  # on a broken file, Pillow raises undocumented errors
        return None


def _contents(path: Path) -> tuple[bytes, str]:
    """Read the bytes of an image file, and tell its format."""
    with reading(path):
        data = path.read_bytes()
    return data, _readable(path, format_of(data[:HEAD_BYTES], path.suffix))


def _readable(path: Path, name: str | None) -> str:
    """Return the name of a format that can be read here."""
    if name is None:
        raise BadData(f"{path}: not a readable image", "it may be empty, damaged or another kind")
    if name in UNREADABLE:
        raise BadData(f"{path}: {name} is not read", UNREADABLE[name])
    if name == "HEIF" and not enable_heif():
        raise CannotOpen(
            f"{path}: HEIC needs the package pi-heif", f"run: pip install pi-heif, or {TO_JPEG}"
        )
    return name


def _opened(path: Path, data: bytes, name: str) -> Image.Image | None:
    """Open an image with Pillow without decoding it; None if Pillow cannot."""
    try:
        image = Image.open(io.BytesIO(data), formats=PILLOW_READS.get(name, (name,)))
    except Image.DecompressionBombError as e:
        raise _too_large(path) from e
    except MemoryError:
        raise
    except Exception:  # on a broken file, Pillow raises undocumented errors
        return None
    if image.width * image.height > MAX_PIXELS:
        raise _too_large(path)
    return image


def _too_large(path: Path) -> BadData:
    return BadData(f"{path}: over {MAX_PIXELS >> 20} megapixels", "make it smaller")


def _decoded(path: Path, data: bytes, name: str, say: Say, is_whole: bool = True) -> Picture | None:
    """Decode the first picture of a file; None if it is damaged."""
    if name == "HEIF" and _is_cut_off(data):  # the decoder leaves out tiles that are not there
        return None
    image = _opened(path, data, name)
    profile = _profile(path, data, name, image)
    if name in OPENCV_READS and is_whole and (image is None or _is_plain(image)):
        rgb = _by_opencv(path, data)
        if rgb is None:
            return None
        if profile and image:
            grey = image.mode in ("1", "L") or image.mode.startswith(DEEP_MODES)
            pixels = Image.fromarray(rgb[..., 0] if grey else rgb)
            rgb = np.array(_in_srgb(pixels, profile, say))
        picture: Picture | None = Picture(rgb, None)
    else:
        try:
            if image is None or image.mode.startswith(DEEP_MODES) or _has_deep_key(image):
                picture = _deep(path, data, image, say)
            else:
                picture = _by_pillow(_loaded(image), profile, say)
        except (BadData, MemoryError):
            raise
        except Exception:  # on a broken file, Pillow raises undocumented errors
            return None
    if picture is not None and image is not None:
        _say_of_more(image, say)
    return picture


def _is_cut_off(data: bytes) -> bool:
    """Return whether the last box of a file of ISO/IEC 14496-12 goes on beyond its end."""
    at = 0
    while at + 16 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        if size == 1:
            size = int.from_bytes(data[at + 8 : at + 16], "big")
        if size < 8:  # 0: to the end of the file
            return False
        at += size
    return at > len(data)


def _profile(path: Path, data: bytes, name: str, image: Image.Image | None) -> bytes | None:
    """Return the colour profile of an image, or one of the colours it names; None for sRGB."""
    profile: bytes | None = image.info.get("icc_profile") if image else None
    if profile:
        return profile
    primaries, transfer = code_points(data, name) or (1, 1)
    if transfer in HDR_TRANSFERS:
        raise BadData(
            f"{path}: HDR image ({HDR_TRANSFERS[transfer]}) is not supported",
            "convert it to SDR first",
        )
    return profile_of(primaries)


def _is_plain(image: Image.Image) -> bool:
    return not image.has_transparency_data and image.mode != "CMYK"


def _say_of_more(image: Image.Image, say: Say) -> None:
    """Say of the pictures that a file holds besides the one that is read."""
    try:
        n = getattr(image, "n_frames", 1) if image.format in (*ANIMATED, "TIFF", "HEIF") else 1
    except Exception:  # a list of pages that is broken further on
        return
    if n > 1 and image.format in ANIMATED:
        say("an animation; its first picture is used")
    elif n > 1:
        pages, which = ("pages", "first") if image.format == "TIFF" else ("pictures", "main one")
        say(f"{n} {pages} in it; the {which} is used")


def _by_opencv(path: Path, data: bytes, flags: int = cv2.IMREAD_COLOR) -> Any:
    """Return (H, W, 3) RGB, upright, or what else the flags ask for; None for a damaged file."""
    try:
        pixels: Any = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as e:
        if "MAX_IMAGE" in e.err:
            raise _too_large(path) from e
        return None
    if pixels is None or pixels.ndim == 2:
        return pixels
    return cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB if pixels.shape[2] == 3 else cv2.COLOR_BGRA2RGBA)


def _loaded(image: Image.Image) -> Image.Image:
    """Decode an image; before, its mode and its data may be those of its header alone."""
    image.load()
    return image


def _by_pillow(image: Image.Image, profile: bytes | None, say: Say) -> Picture:
    """Return the decoded picture of an image, upright, in sRGB."""
    image = ImageOps.exif_transpose(image)
    alpha = None
    if image.has_transparency_data:
        is_grey = image.mode in ("L", "LA", "La")
        image = image.convert("LA" if is_grey else "RGBA")
        alpha = np.array(image.getchannel("A"))
        image = image.convert("L" if is_grey else "RGB")  # leaves alpha out
    return Picture(np.array(_in_srgb(image, profile, say)), alpha)


def _in_srgb(image: Image.Image, profile: bytes | None, say: Say) -> Image.Image:
    """Return an image in sRGB; a profile that cannot be used is said."""
    if image.mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        converted = ImageCms.profileToProfile(
            image, lab, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
        assert converted is not None
        return converted
    if image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    if profile:
        try:
            return to_srgb(image, profile)
        except ValueError as e:
            say(f"{e}; its colours are taken as sRGB")
    return image.convert("RGB")


def _has_deep_key(image: Image.Image) -> bool:
    """Return whether one colour of 16-bit channels is transparent; Pillow keeps 8 of them."""
    return "transparency" in image.info and ";16" in str(getattr(image, "tile", ""))


def _deep(path: Path, data: bytes, image: Image.Image | None, say: Say) -> Picture | None:
    """Read an image of more than 8 bits a channel, or of floating point, in 8 bits."""
    alpha = None
    if image is not None and image.mode.startswith(DEEP_MODES):
        key = image.info.get("transparency")
        deep: Any = np.asarray(ImageOps.exif_transpose(_loaded(image)))
        if key is not None:
            alpha = np.where(deep == key, 0, 255).astype(np.uint8)
        deep = np.repeat(deep[..., None], 3, 2)
    else:
        deep = _by_opencv(path, data, cv2.IMREAD_ANYDEPTH | cv2.IMREAD_COLOR)
        if deep is None:
            return None
        if image is not None:
            hidden = (deep == np.array(image.info["transparency"])).all(2)
            alpha = np.where(hidden, 0, 255).astype(np.uint8)
    if deep.dtype.kind == "f":
        say("floating point; 0 to 1 is taken as black to white")
        deep = np.nan_to_num(deep).clip(0, 1) * 255 + 0.5
    elif deep.dtype != np.uint8:
        # Pillow brings 16 bits of a PGM to mode I, which has 32.
        if deep.dtype.itemsize > 2 and (image is None or image.format != "PPM"):
            say("32-bit integers; 0 to 65535 is taken as black to white")
        deep = deep.clip(0, 65535) >> 8
    return Picture(deep.astype(np.uint8), alpha)
