"""Which files are images, by what is in them and by their names. Nothing is decoded."""

from __future__ import annotations

import re
from pathlib import Path

# The suffixes of images that are read; fewer are written (`engines.video.write.pictures`).
IMAGE_SUFFIXES = {
    *(".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".webp", ".bmp", ".tif", ".tiff", ".gif"),
    *(".avif", ".heic", ".heif", ".hif", ".jp2", ".j2k", ".ppm", ".pgm", ".pbm", ".pnm"),
}
HEAD_BYTES = 256  # of a file, by which its format is known
# How files of images begin, and Pillow's name of the format.
_BEGINNINGS = {
    rb"\xff\xd8\xff": "JPEG",
    rb"\x89PNG\r\n\x1a\n": "PNG",
    rb"GIF8[79]a": "GIF",
    rb"RIFF....WEBP": "WEBP",
    rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0": "BMP",
    rb"(II[*+]\0|MM\0[*+])": "TIFF",
    rb"(\0\0\0\x0cjP  |\xff\x4f\xff\x51)": "JPEG2000",
    rb"P[1-6]\s+[#\d]": "PPM",
    rb"(\0\0\0\x0cJXL |\xff\x0a)": "JPEG XL",
    rb"FUJIFILMCCD-RAW": "camera raw",
    rb"....ftypcrx ": "camera raw",
}
UNREAD_FORMATS = "JPEG XL", "camera raw"
# Brands of HEIF's family, ISO/IEC 23008-12; a file of the one may name those of the other too.
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"}
# A raw photograph is a TIFF file whose first picture is a thumbnail.
_RAW_SUFFIXES = {".dng", ".nef", ".nrw", ".cr2", ".arw", ".sr2", ".orf", ".rw2", ".pef", ".srw"}
_UNFINISHED = re.compile(r"\.part\d*")  # see `engines.files.part_of`
_MOTION_JPEG_SUFFIXES = {".mjpg", ".mjpeg"}  # images one after the other: a video


def format_of(head: bytes, suffix: str = "") -> str | None:
    """Return the format of an image by the first `HEAD_BYTES` of its file; None for no image.

    The suffix tells what the bytes do not: a raw photograph from a TIFF file, and motion JPEG from
    a JPEG file.

    The name is Pillow's, or one of `UNREAD_FORMATS`.
    """
    if head[4:8] == b"ftyp":
        end = int.from_bytes(head[:4], "big")
        brands = {head[at : at + 4] for at in (8, *range(16, min(end, len(head)), 4))}
        if brands & _AVIF_BRANDS:
            return "AVIF"
        if brands & _HEIF_BRANDS:
            return "HEIF"
    for beginning, name in _BEGINNINGS.items():
        if re.match(beginning, head, re.DOTALL):
            if name == "TIFF" and suffix.lower() in _RAW_SUFFIXES:
                return "camera raw"
            return None if suffix.lower() in _MOTION_JPEG_SUFFIXES else name
    return None


def image_format(path: Path) -> str | None:
    """Return the format of an image file by what is in it; see `format_of`.

    None also for what is no file, or cannot be read.
    """
    if not path.is_file():
        return None
    try:
        with path.open("rb") as file:
            return format_of(file.read(HEAD_BYTES), path.suffix)
    except OSError:
        return None


def is_hidden(path: Path) -> bool:
    """Return whether a file's name is that of a hidden or unfinished file."""
    return path.name[0] == "." or any(_UNFINISHED.fullmatch(s) for s in path.suffixes[-2:])


def is_image(path: Path) -> bool:
    """Return whether a file is a finished, visible image, by its suffix.

    Without a suffix it is one if an image is in it.
    """
    if is_hidden(path):
        return False
    if not path.suffix:
        return image_format(path) not in (None, *UNREAD_FORMATS)
    return path.suffix.lower() in IMAGE_SUFFIXES
