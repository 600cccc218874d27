"""Find labelled images on disk, for training and for evaluation.

    DATA/seg/<set>/images/* + masks/*.png       photographs with coarse masks, white = person
    DATA/seg/<set>/fine/*                       finer alphas of some of them, to learn edges from
    DATA/matte/<set>/images/* + alphas/*        photographs with alpha
    DATA/matte/<set>/rgba/*                     cut-outs with straight alpha
    DATA/background/*                           photographs with nobody in them

Published datasets keep the folders that their authors gave them, inside one folder <set>: see
`LAYOUTS`. An image and its label have the same name; their suffixes may differ.

The ``val`` split is listed in ``DATA/val.txt``, one path relative to DATA per line, # begins a
comment; or in ``DATA/manifest.csv`` with the columns ``path`` and ``split``
(``background/BACKGROUND.csv`` with ``file`` and ``split``). A file that is listed in none of them
keeps the split its authors gave it; the default is ``train``.
"""

from __future__ import annotations

import csv
import io
import os
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from engines.errors import BadData, CannotOpen, UsageError, reading
from engines.files import natural_key
from engines.image_files import is_image

UNKNOWN_LAYOUT = "laid out in no known way"
LAYOUT_REMEDY = "see docs/training.md for the layouts, or remove it"


@dataclass(frozen=True)
class DatasetLayout:
    """The folders of a dataset's images and labels, relative to DATA.

    A * matches one folder name, the same one in `images` and in `labels`. `labels` is None if the
    images have an alpha channel. `photo` is false for cut-outs: images of the foreground's colour
    alone, to be composited. `fine` is where a photograph's alpha by a teacher belongs.
    """

    images: str
    labels: str | None
    split: str = "train"
    photo: bool = True
    fine: str | None = None


LAYOUTS = (
    DatasetLayout("seg/*/images", "seg/*/masks", fine="seg/*/fine"),
    DatasetLayout("matte/*/images", "matte/*/alphas"),
    DatasetLayout("matte/*/rgba", None, photo=False),
    # AISegment: the label is the alpha channel of a PNG
    DatasetLayout(
        "seg/*/clip_img/*/clip_*", "seg/*/matting/*/matting_*", fine="seg/*/fine/*/fine_*"
    ),
    DatasetLayout("matte/*/clip_img/*/clip_*", "matte/*/matting/*/matting_*"),
    # P3M-10k
    DatasetLayout("matte/*/train/blurred_image", "matte/*/train/mask"),
    DatasetLayout(
        "matte/*/validation/P3M-500-P/blurred_image", "matte/*/validation/P3M-500-P/mask", "val"
    ),
    DatasetLayout(
        "matte/*/validation/P3M-500-NP/original_image", "matte/*/validation/P3M-500-NP/mask", "val"
    ),
    # PPM-100, as published and as PaddleSeg packs it: a test set only
    DatasetLayout("matte/*/image", "matte/*/matte", "val"),
    DatasetLayout("matte/PPM*/train/fg", "matte/PPM*/train/alpha", "val"),
    DatasetLayout("matte/PPM*/val/fg", "matte/PPM*/val/alpha", "val"),
    # Distinctions-646
    DatasetLayout("matte/*/Train/FG", "matte/*/Train/GT", photo=False),
    DatasetLayout("matte/*/Test/FG", "matte/*/Test/GT", "val", photo=False),
    # Human-2K
    DatasetLayout("matte/*/train/fg", "matte/*/train/alpha", photo=False),
    DatasetLayout("matte/*/test/fg", "matte/*/test/alpha", "val", photo=False),
)


@dataclass(frozen=True)
class Folder:
    """An existing folder of images of the set `source`, and where their labels belong."""

    source: str
    images: Path
    labels: Path | None
    fine: Path | None
    layout: DatasetLayout


@dataclass(frozen=True)
class Pair:
    """An image and its label file (a mask or an alpha) of the set `source`.

    `label` is None if the image is RGBA: then its alpha channel is the label. `fine` is a
    teacher's alpha of a photograph with a mask, or None if there is none.
    """

    source: str
    image: Path
    label: Path | None
    fine: Path | None = None


def find_data(given: Path | None = None) -> Path:
    """Return the folder DATA: the given one, else $WSSHM_DATA, else ./data.

    Raises:
        CannotOpen: `given` or $WSSHM_DATA is not a folder.
        UsageError: neither is set, and there is no ./data.
    """
    root = given or Path(os.environ.get("WSSHM_DATA") or "data")
    if root.is_dir():
        return root
    if given or os.environ.get("WSSHM_DATA"):
        raise CannotOpen(f"{root}: no such folder{'' if given else ', but $WSSHM_DATA names it'}")
    raise UsageError(
        f"no data: $WSSHM_DATA is not set, and there is no folder {root.absolute()}",
        "name a folder with --data that holds seg/<set>/images + masks, "
        "matte/<set>/rgba or images + alphas, and background; see docs/training.md",
    )


def list_pairs(root: Path, kind: str, split: str, required: bool = True) -> list[Pair]:
    """Return all photographs of a split that have a label.

    Args:
        kind: ``seg`` for photographs with masks, ``matte`` for photographs with alphas.
        required: raise BadData if there are none.

    Raises:
        BadData: an image has no label, or the layout of a folder is not known.
    """
    pairs = _pairs(root, [f for f in _known(root, kind) if f.layout.photo], split)
    if not pairs and required:
        labels = "masks" if kind == "seg" else "alphas"
        raise BadData(
            f"{root}: no {split} images in {kind}/<set>/images with {kind}/<set>/{labels}"
        )
    return pairs


def list_cutouts(root: Path, split: str) -> list[Pair]:
    """Return all images of a split that can be composited, so also photographs with alpha.

    Raises:
        BadData: an image has no label, or the layout of a folder is not known.
    """
    return _pairs(root, _known(root, "matte"), split)


def list_backgrounds(root: Path, split: str, required: bool = True) -> list[Path]:
    """Return all photographs of a split without people.

    Raises:
        BadData: there are none, and they are `required`.
    """
    listed = splits(root)
    found = [p for p in list_images(root / "background") if split_of(root, p, listed) == split]
    if not found and required:
        raise BadData(f"{root}: no {split} images in background", "put some without people there")
    return found


def folders(root: Path, kind: str) -> list[Folder]:
    """Return the folders of images under ``root/<kind>``, in natural order."""
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
            labels, fine = (
                root / p.replace("*", "{}").format(*match.groups()) if p else None
                for p in (layout.labels, layout.fine)
            )
            found[images] = Folder(place.parts[1], images, labels, fine, layout)
    return [found[images] for images in sorted(found, key=natural_key)]


def unknown_sets(root: Path, kind: str) -> list[Path]:
    """Return the folders under ``root/<kind>`` whose layout is not known."""
    known = {f.source for f in folders(root, kind)}
    return [
        p
        for p in sorted((root / kind).glob("*"), key=natural_key)
        if p.is_dir() and p.name[0] != "." and p.name not in known
    ]


def list_images(folder: Path) -> list[Path]:
    """Return the visible images in a folder, known by their suffix, in natural order."""
    inside = folder.iterdir() if folder.is_dir() else ()
    return sorted((p for p in inside if is_image(p)), key=natural_key)


def splits(root: Path) -> dict[str, str]:
    """Read the split files: {path relative to `root`: split}.

    Raises:
        CannotOpen: a file cannot be read.
        BadData: a table lacks a column, or a file is not UTF-8 text.
    """
    listed = _column(root / "manifest.csv", "path")
    backgrounds = _column(root / "background" / "BACKGROUND.csv", "file")
    listed |= {f"background/{file}": split for file, split in backgrounds.items()}
    lines = _text(root / "val.txt").splitlines()
    paths = (re.split(r"(?:^|\s)#", line)[0].strip() for line in lines)
    return listed | {PurePosixPath(path).as_posix(): "val" for path in paths if path}


def _column(table: Path, name: str) -> dict[str, str]:
    """Read {path: split} from a table; {} if there is no such file."""
    reader = csv.DictReader(io.StringIO(_text(table), newline=""))
    if reader.fieldnames and not {name, "split"} <= set(reader.fieldnames):
        raise BadData(f"{table}: its first line must name the columns {name} and split")
    return {row[name]: row["split"] for row in reader}


def _text(path: Path) -> str:
    try:
        with reading(path):
            return path.read_text(encoding="utf-8-sig") if path.exists() else ""
    except UnicodeDecodeError as e:
        raise BadData(f"{path}: not UTF-8 text", "save it as UTF-8") from e


def _known(root: Path, kind: str) -> list[Folder]:
    for folder in unknown_sets(root, kind):
        raise BadData(f"{folder}: {UNKNOWN_LAYOUT}", LAYOUT_REMEDY)
    return folders(root, kind)


def _pairs(root: Path, found: list[Folder], split: str) -> list[Pair]:
    pairs, listed = [], splits(root)
    for folder in found:
        by_stem, fine = (
            {p.stem: p for p in list_images(where)} if where else {}
            for where in (folder.labels, folder.fine)
        )
        for image in list_images(folder.images):
            if split_of(root, image, listed, folder.layout.split) != split:
                continue
            if folder.labels and image.stem not in by_stem:
                raise BadData(f"{image}: no file of that name in {folder.labels}")
            stem = image.stem
            pairs.append(Pair(folder.source, image, by_stem.get(stem), fine.get(stem)))
    return pairs


def split_of(root: Path, path: Path, listed: dict[str, str], default: str = "train") -> str:
    """Return the split of an image, given what `splits` read and its `DatasetLayout.split`."""
    return listed.get(path.relative_to(root).as_posix(), default)
