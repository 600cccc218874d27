"""Make masks for photographs with boxes around persons: ``wsshm train pseudo``.

A model sees each person alone, cropped around its box and enlarged, and the whole image as well.
Boxes are complete: nobody is outside them, and an image with an empty box is skipped. OUT becomes a
set of masks like any other: OUT/images and OUT/masks. Masks that are there already are kept.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import F32, U8
from engines.datasets.layout import list_images
from engines.datasets.read import read_image
from engines.engine import MattingEngine, estimate_alpha
from engines.errors import BadData, reading, writing
from engines.files import replacing

MARGIN_SHARE = 0.25  # of the box's longer side, added on every side of the crop
CROP_WEIGHT = 0.6  # of the alpha of the enlarged crop; the whole image has the rest
MIN_FILLED_SHARE = 0.2  # of a box that a person fills
Box = tuple[float, float, float, float]  # centre x and y, width, height; as shares of the image


def read_boxes(path: Path) -> dict[str, list[Box]]:
    """Read boxes, by the stem of their image's name.

    Args:
        path: CSV with the columns name and cx, cy, w, h of a `Box`.

    Raises:
        CannotOpen, BadData: the file.
    """
    boxes: dict[str, list[Box]] = defaultdict(list)
    with reading(path), path.open(newline="", encoding="utf-8-sig") as f:
        table = csv.DictReader(f)
        try:
            for row in table:
                cx, cy, w, h = (float(row[key]) for key in ("cx", "cy", "w", "h"))
                if not all(0 <= centre <= 1 for centre in (cx, cy)):
                    raise ValueError(f"the centre {cx:g}, {cy:g}")
                if not all(0 < side <= 2 for side in (w, h)):  # of a box that the image cuts
                    raise ValueError(f"the size {w:g} x {h:g}")
                boxes[Path(row["name"]).stem].append((cx, cy, w, h))
        except (KeyError, TypeError, ValueError) as e:
            raise BadData(
                f"{path}: not a table of name, cx, cy, w, h (line {table.line_num}: {e!r})",
                "give boxes in parts of the image, as 0.5 for its middle",
            ) from e
    return dict(boxes)


def label(engine: MattingEngine, rgb: U8, boxes: list[Box]) -> U8 | None:
    """Return a mask (H, W) uint8, 0 or 255, of the persons in boxes; None if a box is empty.

    Args:
        rgb: (H, W, 3) uint8.
    """
    height, width = rgb.shape[:2]
    whole = _both_ways(engine, rgb)
    person = np.zeros((height, width), np.float32)
    for cx, cy, w, h in boxes:
        margin = MARGIN_SHARE * max(w * width, h * height)
        x0, x1 = (round((cx + side * w / 2) * width) for side in (-1, 1))
        y0, y1 = (round((cy + side * h / 2) * height) for side in (-1, 1))
        x0, y0 = min(max(x0, 0), width - 1), min(max(y0, 0), height - 1)
        x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)  # one pixel at least
        box = np.s_[y0:y1, x0:x1]
        top, left = max(0, round(y0 - margin)), max(0, round(x0 - margin))
        part = np.ascontiguousarray(rgb[top : round(y1 + margin), left : round(x1 + margin)])
        close = np.zeros_like(person)
        close[top : top + part.shape[0], left : left + part.shape[1]] = _both_ways(engine, part)
        mixed = CROP_WEIGHT * close[box] + (1 - CROP_WEIGHT) * whole[box]
        if (mixed > 0.5).mean() < MIN_FILLED_SHARE:
            return None
        person[box] = np.maximum(person[box], mixed)
    return np.where(person > 0.5, 255, 0).astype(np.uint8)


def _both_ways(engine: MattingEngine, rgb: U8) -> F32:
    """Return the mean alpha of an image and its mirror image."""
    size = engine.spec.size
    there = estimate_alpha(engine, rgb, size)
    mirrored = estimate_alpha(engine, np.ascontiguousarray(rgb[:, ::-1]), size)
    mean = (there + mirrored[:, ::-1]) / 2
    return mean.astype(np.float32)


def label_folder(
    engine: MattingEngine,
    images: Path,
    boxes: Path,
    out: Path,
    on_image: Callable[[int, int], object],
) -> tuple[int, int]:
    """Write ``out/images`` and ``out/masks``, and return how many images were kept, of how many.

    Args:
        images: the folder of photographs; those without a box are left out.
        boxes: a table for `read_boxes`.
        on_image: called with the number of images done and their total.

    Raises:
        CannotOpen, BadData: a file; no image has a box.
        CannotCreate, WriteFailed: the output.
    """
    table = read_boxes(boxes)
    found = [p for p in list_images(images) if p.stem in table]
    if not found:
        raise BadData(f"{images}: no image that {boxes} has boxes of")
    masks = out / "masks"
    there = {p.stem for p in list_images(masks)}
    with writing(out, begun=False):
        for folder in (out / "images", masks):
            folder.mkdir(parents=True, exist_ok=True)
    kept = 0
    for done, path in enumerate(found):
        on_image(done, len(found))
        if path.stem in there:
            kept += 1
            continue
        mask = label(engine, np.ascontiguousarray(read_image(path)[..., :3]), table[path.stem])
        if mask is None:
            continue
        with replacing(out / "images" / path.name, durable=False) as f:
            f.write(path.read_bytes())
        _, png = cv2.imencode(".png", mask, [cv2.IMWRITE_PNG_BILEVEL, 1])
        with replacing(masks / f"{path.stem}.png", durable=False) as f:  # last: it marks this done
            f.write(png.tobytes())
        kept += 1
    on_image(len(found), len(found))
    return kept, len(found)
