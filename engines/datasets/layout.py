"""Where labelled images lie on disk, for training and for measuring.

    DATA/seg/<set>/images/* + masks/*.png       photographs with coarse masks, white = person
    DATA/matte/<set>/images/* + alphas/*        photographs with alpha
    DATA/matte/<set>/rgba/*                     cut-outs with straight alpha
    DATA/background/*                           photographs with nobody in them

Published sets lie as their authors unpack them, in a folder <set> of their own: see `LAYOUTS`.
An image and its label have the same name, whatever the suffix.

What is ``val``: the lines of ``DATA/val.txt``, a path relative to DATA each, # for comments; or
``DATA/manifest.csv`` with columns ``path`` and ``split`` (``background/BACKGROUND.csv`` with
``file`` and ``split``). A file that neither names keeps the split its authors gave it, or else
is ``train``.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import BadData, CannotOpen, UsageError
from engines.files import is_image, natural_key

UNKNOWN = "laid out in no known way; LAYOUTS in engines/datasets/layout.py lists them, or remove it"


@dataclass(frozen=True)
class Layout:
    """Folders of images and of their labels, relative to DATA; a * is the same in both."""

    images: str
    labels: str | None  # None: the images hold their own alpha
    split: str = "train"
    photo: bool = True  # False: the foreground's colour alone, to be composited


LAYOUTS = (
    Layout("seg/*/images", "seg/*/masks"),
    Layout("matte/*/images", "matte/*/alphas"),
    Layout("matte/*/rgba", None, photo=False),
    # AISegment; the label is the alpha channel of its PNG
    Layout("seg/*/clip_img/*/clip_*", "seg/*/matting/*/matting_*"),
    Layout("matte/*/clip_img/*/clip_*", "matte/*/matting/*/matting_*"),
    # P3M-10k
    Layout("matte/*/train/blurred_image", "matte/*/train/mask"),
    Layout(
        "matte/*/validation/P3M-500-P/blurred_image", "matte/*/validation/P3M-500-P/mask", "val"
    ),
    Layout(
        "matte/*/validation/P3M-500-NP/original_image", "matte/*/validation/P3M-500-NP/mask", "val"
    ),
    # PPM-100, as published and as PaddleSeg packs it: all of it is for testing
    Layout("matte/*/image", "matte/*/matte", "val"),
    Layout("matte/PPM*/train/fg", "matte/PPM*/train/alpha", "val"),
    Layout("matte/PPM*/val/fg", "matte/PPM*/val/alpha", "val"),
    # Distinctions-646
    Layout("matte/*/Train/FG", "matte/*/Train/GT", photo=False),
    Layout("matte/*/Test/FG", "matte/*/Test/GT", "val", photo=False),
    # Human-2K
    Layout("matte/*/train/fg", "matte/*/train/alpha", photo=False),
    Layout("matte/*/test/fg", "matte/*/test/alpha", "val", photo=False),
)


@dataclass(frozen=True)
class Folder:
    """A folder of images that is there, and the folder of their labels, which may not be."""

    source: str
    images: Path
    labels: Path | None
    layout: Layout


@dataclass(frozen=True)
class Pair:
    """An image with its label file (a mask or an alpha), and the name of its set.

    No label: the image is RGBA and holds its own alpha.
    """

    source: str
    image: Path
    label: Path | None


def find_data(given: Path | None = None) -> Path:
    """The folder DATA: the given one, else $WSSHM_DATA, else ./data.

    Raises:
        CannotOpen: the folder that is named is not there.
        UsageError: none is named, and there is no ./data.
    """
    named = given or Path(os.environ.get("WSSHM_DATA") or "data")
    if named.is_dir():
        return named
    if given or os.environ.get("WSSHM_DATA"):
        raise CannotOpen(f"{named}: no such folder{'' if given else ', but $WSSHM_DATA names it'}")
    raise UsageError(
        f"no data: looked in $WSSHM_DATA, which is not set, and in {named.absolute()}, which is "
        "not there; name a folder with --data that holds seg/<set>/images + masks, "
        "matte/<set>/rgba or images + alphas, and background"
    )


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3), or RGBA (H, W, 4) where the file has alpha; uint8, EXIF rotation applied.

    Raises:
        BadData: it cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is not None and _has_alpha(image):
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadData(f"{path}: not a readable image; remove or replace it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_label(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 = person: the alpha channel where it says anything, or else the grey.

    Raises:
        BadData: it cannot be read.
    """
    label = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if label is not None and _has_alpha(label) and label[..., 3].min() < 255:
        return label[..., 3].copy()
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if label is None:
        raise BadData(f"{path}: not a readable mask; remove or replace it")
    return label


def read_pair(pair: Pair) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """A photograph (H, W, 3) RGB and its label (H, W), both uint8.

    Raises:
        BadData: one cannot be read, or they differ in size.
    """
    assert pair.label is not None
    rgb, label = read_image(pair.image)[..., :3], read_label(pair.label)
    if rgb.shape[:2] != label.shape:
        raise BadData(
            f"{pair.label}: {label.shape[1]}x{label.shape[0]}, its image is "
            f"{rgb.shape[1]}x{rgb.shape[0]}; both must have one size"
        )
    return rgb, label


def read_cutout(pair: Pair) -> NDArray[np.uint8]:
    """(H, W, 4) uint8 RGBA, straight alpha.

    Raises:
        BadData: it cannot be read, has no alpha, or one of another size.
    """
    image = read_image(pair.image)
    if pair.label is None:
        if image.shape[2] != 4:
            raise BadData(f"{pair.image}: no 8-bit alpha in it; save it as RGBA or remove it")
        return image
    alpha = read_label(pair.label)
    if alpha.shape != image.shape[:2]:
        raise BadData(
            f"{pair.image}: {image.shape[1]}x{image.shape[0]}, but {pair.label} is "
            f"{alpha.shape[1]}x{alpha.shape[0]}; remove or replace one of them"
        )
    return np.dstack([image[..., :3], alpha])


def list_pairs(root: Path, kind: str, split: str, required: bool = True) -> list[Pair]:
    """All photographs of a split with a label; `kind` is ``seg`` for masks, ``matte`` for alphas.

    Raises:
        BadData: there are none, unless not `required`; an image has no label; a folder is
            laid out in no known way.
    """
    pairs = _pairs(root, [f for f in _known(root, kind) if f.layout.photo], split)
    if not pairs and required:
        labels = "masks" if kind == "seg" else "alphas"
        raise BadData(
            f"{root}: no {split} images in {kind}/<set>/images with {kind}/<set>/{labels}"
        )
    return pairs


def list_cutouts(root: Path, split: str) -> list[Pair]:
    """All of a split that can be composited: RGBA, foreground with alpha, photograph with alpha.

    Raises:
        BadData: an image has no label, or a folder is laid out in no known way.
    """
    return _pairs(root, _known(root, "matte"), split)


def list_backgrounds(root: Path, split: str, required: bool = True) -> list[Path]:
    """Photographs of a split without people.

    Raises:
        BadData: there are none, unless not `required`.
    """
    named = splits(root)
    found = [p for p in list_images(root / "background") if _split(root, p, named) == split]
    if not found and required:
        raise BadData(f"{root}: no {split} images in background; put some without people there")
    return found


def folders(root: Path, kind: str) -> list[Folder]:
    """The folders of images under ``root/<kind>``, in natural order."""
    found: dict[Path, Folder] = {}
    for layout in LAYOUTS:
        if not layout.images.startswith(f"{kind}/"):
            continue
        stars = re.compile(re.escape(layout.images).replace(r"\*", "([^/]*)"))
        for images in root.glob(layout.images):
            place = images.relative_to(root)
            match = stars.fullmatch(place.as_posix())
            hidden = any(part.startswith(".") for part in place.parts)
            if images in found or not match or hidden or not images.is_dir():
                continue
            labels = layout.labels and layout.labels.replace("*", "{}").format(*match.groups())
            found[images] = Folder(
                place.parts[1], images, root / labels if labels else None, layout
            )
    return [found[images] for images in sorted(found, key=natural_key)]


def unknown_sets(root: Path, kind: str) -> list[Path]:
    """Folders under ``root/<kind>`` in which no layout is found."""
    known = {f.source for f in folders(root, kind)}
    return [
        p
        for p in sorted((root / kind).glob("*"), key=natural_key)
        if p.is_dir() and p.name[0] != "." and p.name not in known
    ]


def list_images(folder: Path) -> list[Path]:
    """Images in a folder in natural order, by suffix; hidden and other files are none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in inside if is_image(p)), key=natural_key)


def splits(root: Path) -> dict[str, str]:
    """{path relative to `root`: split} of every file that a split file names.

    Raises:
        BadData: a table has no such columns, or is no text.
    """
    named = _column(root / "manifest.csv", "path")
    backgrounds = _column(root / "background" / "BACKGROUND.csv", "file")
    named |= {f"background/{file}": split for file, split in backgrounds.items()}
    lines = _text(root / "val.txt").splitlines()
    held = (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines)
    return named | {PurePosixPath(path).as_posix(): "val" for path in held if path}


def _column(table: Path, name: str) -> dict[str, str]:
    """{path: split} of a manifest, empty where there is none."""
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    if reader.fieldnames and not {name, "split"} <= set(reader.fieldnames):
        raise BadData(f"{table}: its first line must name the columns {name} and split")
    return {row[name]: row["split"] for row in reader}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as e:
        raise BadData(f"{path}: not UTF-8 text; save it as UTF-8") from e


def _known(root: Path, kind: str) -> list[Folder]:
    for folder in unknown_sets(root, kind):
        raise BadData(f"{folder}: {UNKNOWN}")
    return folders(root, kind)


def _pairs(root: Path, found: list[Folder], split: str) -> list[Pair]:
    pairs, named = [], splits(root)
    for folder in found:
        by_stem = {p.stem: p for p in list_images(folder.labels)} if folder.labels else {}
        for image in list_images(folder.images):
            if _split(root, image, named, folder.layout.split) != split:
                continue
            if folder.labels and image.stem not in by_stem:
                raise BadData(f"{image}: no file of that name in {folder.labels}")
            pairs.append(Pair(folder.source, image, by_stem.get(image.stem)))
    return pairs


def _split(root: Path, path: Path, named: dict[str, str], otherwise: str = "train") -> str:
    return named.get(path.relative_to(root).as_posix(), otherwise)


def _has_alpha(image: NDArray) -> bool:
    return image.ndim == 3 and image.shape[2] == 4 and image.dtype == np.uint8
