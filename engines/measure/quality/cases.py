"""Find the images to evaluate on, with their truth, in sets that determine the metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import U8
from engines.datasets.composites import choose_backgrounds, composite
from engines.datasets.layout import Pair, list_backgrounds, list_cutouts, list_pairs
from engines.datasets.read import read_cutout, read_image, read_pair
from engines.measure.quality.sets import Set


@dataclass(frozen=True)
class Case:
    """One image to evaluate on.

    `read` returns the image, (H, W, 3) uint8 RGB, and its truth, (H, W) uint8, 255 = person. The
    truth is a coarse mask in the set ``masks`` and an alpha in the others; the set ``static`` has
    no truth: there 255 marks the pixels that have not changed since the frame before. Cases of one
    `group` show the same subject and are drawn together when intervals are estimated. `frame` is
    the number of an image in its sequence; None for photographs.
    """

    set: str
    source: str
    name: str
    group: str
    read: Callable[[], tuple[U8, U8]]
    frame: int | None = None


def masks(data: Path, split: str) -> list[Case]:
    """Return the photographs with coarse masks.

    Raises:
        BadData: an image has no label, or the layout of a folder is not known.
    """
    return _photographs("masks", list_pairs(data, "seg", split, required=False))


def mattes(data: Path, split: str) -> list[Case]:
    """Return the photographs with alpha; raise as `masks`."""
    return _photographs("mattes", list_pairs(data, "matte", split, required=False))


def composites(data: Path, split: str) -> list[Case]:
    """Return each cut-out on its backgrounds, by `engines.datasets.composites`; raise as `masks`.

    Photographs with alpha are not composited: they are in the set ``mattes``.
    """
    photographs = {p.image for p in list_pairs(data, "matte", split, required=False)}
    backgrounds = list_backgrounds(data, split, required=False)
    cases = []
    for pair in list_cutouts(data, split):
        if pair.image in photographs:
            continue
        stem = pair.image.stem
        for path in choose_backgrounds(f"{pair.source}/{stem}", backgrounds):

            def read(pair: Pair = pair, path: Path = path) -> tuple[U8, U8]:
                return composite(read_cutout(pair), read_image(path)[..., :3])

            cases.append(Case("composites", pair.source, f"{stem}+{path.stem}", stem, read))
    return cases


def empty(data: Path, split: str) -> list[Case]:
    """Return the photographs with nobody in them; their truth is 0."""

    def reader(path: Path) -> Callable[[], tuple[U8, U8]]:
        def read() -> tuple[U8, U8]:
            rgb = read_image(path)[..., :3]
            return rgb, np.zeros(rgb.shape[:2], np.uint8)

        return read

    found = list_backgrounds(data, split, required=False)
    return [Case("empty", "background", p.stem, p.stem, reader(p)) for p in found]


SETS: dict[Set, Callable[[Path, str], list[Case]]] = {
    Set.masks: masks,
    Set.mattes: mattes,
    Set.composites: composites,
    Set.empty: empty,
}


def choose(
    cases: Iterable[Case], only: str | None = None, limit: int | None = None
) -> Iterator[Case]:
    """Yield the cases whose ``source/name`` matches `only`, at most `limit` of each source.

    Args:
        only: a pattern like those of file names; None for all.
        limit: None for all.
    """
    seen: Counter[str] = Counter()
    for case in cases:
        if only is not None and not fnmatchcase(f"{case.source}/{case.name}", only):
            continue
        seen[case.source] += 1
        if limit is None or seen[case.source] <= limit:
            yield case


def squared(case: Case, side: int) -> Case:
    """Return the case with its image and truth stretched to a square of `side` pixels."""

    def read() -> tuple[U8, U8]:
        rgb, truth = case.read()
        smaller = side * side < truth.size
        how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
        rgb, truth = (cv2.resize(x, (side, side), interpolation=how) for x in (rgb, truth))
        return rgb, truth

    return replace(case, read=read)


def _photographs(kind: str, pairs: list[Pair]) -> list[Case]:
    def reader(pair: Pair) -> Callable[[], tuple[U8, U8]]:
        return lambda: read_pair(pair)

    return [Case(kind, p.source, p.image.stem, p.image.stem, reader(p)) for p in pairs]
