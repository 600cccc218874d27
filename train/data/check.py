"""Read every file of a data set once, to name its faults before training."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from PIL import ExifTags, Image

from engines.datasets import layout
from engines.datasets.layout import Pair
from engines.datasets.read import read_alpha, read_cutout, read_image, read_label
from engines.errors import BadData, Say
from engines.files import MAX_PIXELS, counted, natural_key
from engines.images import enable_heif
from train import config as configs

_SIDE = math.isqrt(MAX_PIXELS)
_TOO_LARGE = f"more than {_SIDE}x{_SIDE} pixels; make it smaller or remove it"
TURNED, SIDEWAYS = range(2, 9), range(5, 9)  # EXIF orientations; the latter swap width and height
_LIES = "its label may not lie so; rotate the pixels of both, without the tag"
_EMPTY = "remove it and its image, or put the image in background"

Fault = tuple[Path, str]  # the file, then what is wrong with it and what to do


@dataclass(frozen=True)
class Item:
    """An image with its label, or one of them alone.

    Attributes:
        has_alpha: the image is an RGBA cut-out.
        fine: the photograph's fine label.
    """

    image: Path | None
    label: Path | None = None
    has_alpha: bool = False
    fine: Path | None = None

    @property
    def files(self) -> list[Path]:
        """Image, label and fine label, as far as there are."""
        return [path for path in (self.image, self.label, self.fine) if path]


def check(root: Path, say: Say) -> str:
    """Report every fault of the data in `root`, one line each.

    Returns:
        A line with the number of files, if there is no fault.

    Raises:
        BadData: there are faults; the message says how many, in how many files.
    """
    lines, files = _read_all(root)
    for line in lines:
        say(line)
    if lines:
        faults = f"{root}: {counted(len(lines), 'fault')}"
        if not files:
            raise BadData(f"{faults}, and no file of data")
        raise BadData(f"{faults} in {counted(files, 'file')}", "repair or remove the files named")
    return f"{root}: no fault in {counted(files, 'file')}"


def lacking(root: Path) -> list[str]:
    """Return what steps of training need and would not find, a line for each step; no faults."""
    masks = bool(layout.list_pairs(root, "seg", "train", required=False))
    cutouts = bool(layout.list_cutouts(root, "train"))
    backgrounds = bool(layout.list_backgrounds(root, "train", required=False))
    lines = []
    for kind in ("pretrain", "teacher", "student"):
        config = configs.load("paper", kind)
        needed = {
            "masks in seg/<set>": masks or config.composites + config.empty >= 1,
            "cut-outs in matte/<set>": cutouts or not config.composites,
            "photographs without people in background": backgrounds
            or not config.composites + config.empty,
        }
        if missing := [what for what, is_there in needed.items() if not is_there]:
            lines.append(f"{root}: wsshm train {kind} needs {' and '.join(missing)}")
    return lines


def faults(root: Path) -> list[str]:
    """Return all faults, ``path: what is wrong; what to do``, of all splits in natural order."""
    return _read_all(root)[0]


def _read_all(root: Path) -> tuple[list[str], int]:
    """Return the lines of `faults` and the number of files read."""
    enable_heif()  # as for training
    items, found = _items(root)
    images = {item.image for item in items if item.image}
    found += _split_faults(root, images)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found += chain.from_iterable(pool.map(_faults, items))
    files = {path for item in items for path in item.files}
    if not files:
        found.append((root, f"no images in seg, matte or background; {layout.LAYOUT_REMEDY}"))
    unique = sorted(set(found), key=lambda fault: (natural_key(fault[0]), fault[1]))
    return [f"{path}: {what}" for path, what in unique], len(files)


def _items(root: Path) -> tuple[list[Item], list[Fault]]:
    """Return all files that would be used, and the faults of their names and places."""
    items = [Item(p) for p in layout.list_images(root / "background")]
    found: list[Fault] = []
    for kind in ("seg", "matte"):
        unknown = f"{layout.UNKNOWN_LAYOUT}; {layout.LAYOUT_REMEDY}"
        found += [(p, unknown) for p in layout.unknown_sets(root, kind)]
        for folder in layout.folders(root, kind):
            images = layout.list_images(folder.images)
            if folder.labels is None:
                items += [Item(p, has_alpha=True) for p in images]
                continue
            labels = {p.stem: p for p in layout.list_images(folder.labels)}
            fine = {p.stem: p for p in layout.list_images(folder.fine)} if folder.fine else {}
            items += [Item(p, labels.get(p.stem), fine=fine.get(p.stem)) for p in images]
            found += [
                (p, f"no file of that name in {folder.labels}; add its label or remove it")
                for p in images
                if p.stem not in labels
            ]
            stems = {p.stem for p in images}
            for label in layout.list_images(folder.labels):
                if label.stem not in stems or labels[label.stem] != label:
                    items.append(Item(None, label))
                    found.append((label, f"belongs to no image in {folder.images}; remove it"))
            if folder.fine and folder.fine.is_dir():
                found += _fine_faults(root, folder, folder.fine, fine, stems)
    return items, found


def _fine_faults(
    root: Path, folder: layout.Folder, where: Path, fine: dict[str, Path], stems: set[str]
) -> Iterator[Fault]:
    """Yield fine labels without a photograph, and a fault for all photographs without one."""
    for path in layout.list_images(where):
        if path.stem not in stems or fine[path.stem] != path:
            yield path, f"belongs to no image in {folder.images}; remove it"
    try:
        listed = layout.splits(root)
    except BadData:  # named by `_split_faults`
        listed = {}
    lacking = [
        p
        for p in layout.list_images(folder.images)
        if p.stem not in fine and layout.split_of(root, p, listed, folder.layout.split) == "train"
    ]
    if lacking:
        yield (
            where,
            f"lacks {len(lacking)} of the images in {folder.images}, first {lacking[0].name}; "
            "make them with wsshm train label",
        )


def _split_faults(root: Path, images: set[Path]) -> Iterator[Fault]:
    """Yield the faults of the split files: missing images and unknown splits."""
    try:
        named = layout.splits(root)
    except BadData as e:
        table, _, what = str(e).partition(": ")
        yield Path(table), what
        return
    for name, split in named.items():
        path = root / name
        ours = Path(name).parts[0] in ("seg", "matte", "background")
        if not (path in images if ours else path.is_file()):
            yield path, "a split file names it, but there is no such image; correct that line"
        if split not in ("train", "val", "test"):
            yield path, f"its split is {split!r}; correct it to train, val or test"


def _faults(item: Item) -> list[Fault]:
    found: list[Fault] = []
    sizes: dict[Path, tuple[int, int]] = {}
    for path in item.files:
        size, wrong = _header(item, path)
        if size:
            sizes[path] = size
        if not wrong:
            wrong = _content(item, path)
        found += [(path, what) for what in wrong]
    if item.image not in sizes:
        return found
    width, height = sizes[item.image]
    for path, (w, h) in sizes.items():
        if (w, h) != (width, height):
            remedy = "rotate" if (w, h) == (height, width) else "remove or replace"
            what = f"{width}x{height}, but {path} is {w}x{h}; {remedy} one of them"
            found.append((item.image, what))
    return found


def _header(item: Item, path: Path) -> tuple[tuple[int, int] | None, list[str]]:
    """Return the width and height as shown, if comparable, and the faults of the header."""
    try:
        with Image.open(path) as image:
            size, mode, coding = image.size, image.mode, str(image.tile)
            turn = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
            if size[0] * size[1] > MAX_PIXELS:
                return None, [_TOO_LARGE]
            if image.format in ("JPEG", "MPO"):  # OpenCV invents a missing end
                image.draft(mode, (1, 1))
                image.load()
    except Image.DecompressionBombError:
        return None, [_TOO_LARGE]
    except Exception as e:  # on a broken file, Pillow raises undocumented errors
        reason = getattr(e, "strerror", None) or "not a readable image, or it ends early"
        return None, [f"{reason}; remove or replace it"]
    if path == item.image:
        shown = size[::-1] if turn in SIDEWAYS else size
        # A label of the other size tells whether it was drawn on the image as it is shown.
        unsure = turn in TURNED and item.label is not None and shown == size
        return shown, [f"its EXIF data rotate it, {_LIES}"] if unsure else []
    wrong = {
        "its EXIF data rotate it; rotate the pixels and drop the tag": turn in TURNED,
        "16-bit; save it with 8 bits a channel": ";16" in coding,
        "has a palette; save it as grey or RGB": mode in ("P", "PA"),
        "CMYK; save it as RGB": mode == "CMYK",
    }
    return None if turn in TURNED else size, [what for what, so in wrong.items() if so]


def _content(item: Item, path: Path) -> list[str]:
    """Return the faults of the pixels, read as for training."""
    try:
        if path == item.fine:  # nobody may have been found
            read_alpha(path)
        elif path == item.label:
            return [] if read_label(path).any() else [f"empty, nobody in it; {_EMPTY}"]
        elif item.has_alpha:
            alpha = read_cutout(Pair("", path, None))[..., 3]
            return [] if alpha.any() else [f"its alpha is empty, nobody in it; {_EMPTY}"]
        else:
            read_image(path)
    except BadData as e:
        return [str(e).removeprefix(f"{path}: ")]
    return []
