"""Read clips as sequences of cases; two sets need no truth: nobody there, and a still scene."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from engines.arrays import U8
from engines.errors import BadData, CannotOpen, UsageError
from engines.measure.quality.cases import Case
from engines.measure.quality.metrics import unchanged


@dataclass(frozen=True)
class Part:
    """The images `first` to `last` of a clip, counted from 0, both included; None is its end."""

    path: Path
    first: int = 0
    last: int | None = None

    @classmethod
    def parse(cls, text: str) -> Part:
        """Parse ``CLIP`` or ``CLIP@FIRST-LAST``.

        Raises:
            CannotOpen: there is no such clip.
            UsageError: the part ends before it begins.
        """
        match = re.fullmatch(r"(.+)@(\d+)-(\d+)", text)
        if Path(text).exists() or match is None:
            part = cls(Path(text))
        else:
            part = cls(Path(match[1]), int(match[2]), int(match[3]))
        if part.last is not None and part.last < part.first:
            raise UsageError(f"{text}: ends before it begins", "write CLIP@FIRST-LAST")
        if not part.path.exists():
            raise CannotOpen(f"{part.path}: no such file (a part of a clip is CLIP@FIRST-LAST)")
        return part

    def case(self, kind: str, index: int, rgb: U8, truth: U8) -> Case:
        """Return image `index` of the clip as a case of the set `kind`; the clip is one group."""
        stem = self.path.stem
        return Case(kind, stem, f"{index:05}", stem, lambda: (rgb, truth), frame=index)


def read(part: Part) -> Iterator[tuple[int, U8]]:
    """Yield the images of a part of a clip, (H, W, 3) uint8 RGB, each with its number.

    Raises:
        CannotOpen: the clip.
        BadData: the clip; its size changes, or it ends before the part does.
    """
    from engines.video.frame import RgbScaler
    from engines.video.read.open import open_source

    with open_source(part.path) as source:
        fmt, seen = source.format, 0
        to_rgb = RgbScaler(fmt)
        last = part.last if part.last is None else part.last + 1
        for frame in islice(source.frames(), last):
            if (frame.format.width, frame.format.height) != (fmt.width, fmt.height):
                raise BadData(f"{part.path}, image {seen}: not of the first one's size")
            if seen >= part.first:
                yield seen, to_rgb(frame.image, fmt.width, fmt.height)
            seen += 1
        if source.fault:
            raise BadData(source.fault)
        if part.last is not None and seen <= part.last:
            raise BadData(f"{part.path}: ends before image {part.last}, it has {seen}")


def empty(part: Part) -> Iterator[Case]:
    """Yield the images of a clip that shows nobody; their truth is 0. Raise as `read`."""
    for i, rgb in read(part):
        yield part.case("empty", i, rgb, np.zeros(rgb.shape[:2], np.uint8))


def static(part: Part) -> Iterator[Case]:
    """Yield the images of a clip; their truth marks what stands still. Raise as `read`."""
    before = None
    for i, rgb in read(part):
        still = np.zeros(rgb.shape[:2], np.uint8)  # in the first image, no pixel is known to
        if before is not None:
            still[unchanged(before, rgb)] = 255
        yield part.case("static", i, rgb, still)
        before = rgb
