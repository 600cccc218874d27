"""Where labelled pictures lie on disk, for training and for measuring.

    DATA/seg/<set>/images/* + masks/*.png       photographs with coarse masks, white = person
    DATA/matte/<set>/rgba/*                     cut-outs with straight alpha
    DATA/matte/<set>/images/* + alphas/*        photographs with alpha
    DATA/background/*                           photographs with nobody in them

A ``manifest.csv`` with columns ``path`` and ``split`` (and ``background/BACKGROUND.csv`` with
``file`` and ``split``) keeps ``val`` apart from ``train``; without one every file is ``train``.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import BadData

IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


@dataclass(frozen=True)
class Pair:
    """A photograph with its label file (a mask or an alpha), and the name of its set."""

    source: str
    image: Path
    label: Path


def read_image(path: Path) -> NDArray[np.uint8]:
    """RGB (H, W, 3), or RGBA (H, W, 4) where the file has alpha; uint8, EXIF rotation applied.

    Raises:
        BadData: it cannot be read.
    """
    image = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
    if image is not None and image.ndim == 3 and image.shape[2] == 4:
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise BadData(f"{path}: not a readable picture; remove or replace it")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def read_label(path: Path) -> NDArray[np.uint8]:
    """(H, W) uint8, 255 = person.

    Raises:
        BadData: it cannot be read.
    """
    label = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if label is None:
        raise BadData(f"{path}: not a readable mask; remove or replace it")
    return label


def list_pairs(root: Path, kind: str, split: str) -> list[Pair]:
    """All pairs under ``root/<kind>/<set>``, ``kind`` being ``seg`` or ``matte``.

    Raises:
        BadData: there are none, or a picture has no label.
    """
    splits = _column(root / "manifest.csv", "path")
    labels = "masks" if kind == "seg" else "alphas"
    pairs = []
    for folder in sorted((root / kind).glob("*/images")):
        by_stem = {p.stem: p for p in _images(folder.parent / labels)}
        for image in _images(folder):
            if splits.get(image.relative_to(root).as_posix(), "train") != split:
                continue
            if image.stem not in by_stem:
                raise BadData(f"{image}: no file of that name in {folder.parent / labels}")
            pairs.append(Pair(folder.parent.name, image, by_stem[image.stem]))
    if not pairs:
        raise BadData(
            f"{root}: no {split} pictures in {kind}/<set>/images with {kind}/<set>/{labels}"
        )
    return pairs


def list_cutouts(root: Path, split: str) -> list[tuple[str, Path]]:
    """(set, file) of every RGBA cut-out."""
    splits = _column(root / "manifest.csv", "path")
    return [
        (folder.parent.name, p)
        for folder in sorted((root / "matte").glob("*/rgba"))
        for p in _images(folder)
        if splits.get(p.relative_to(root).as_posix(), "train") == split
    ]


def list_backgrounds(root: Path, split: str) -> list[Path]:
    """Photographs without people."""
    splits = _column(root / "background" / "BACKGROUND.csv", "file")
    return [p for p in _images(root / "background") if splits.get(p.name, "train") == split]


def _images(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise BadData(f"{folder}: no such folder; engines/measure/layout.py says what lies where")
    return sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGES and p.name[0] != ".")


def _column(table: Path, name: str) -> dict[str, str]:
    """{path: split} of a manifest, empty where there is none."""
    if not table.exists():
        return {}
    with table.open(newline="", encoding="utf-8") as f:
        return {row[name]: row["split"] for row in csv.DictReader(f)}
