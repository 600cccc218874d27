"""Pictures with their alpha and a trimap made of it, for networks that take one.

They are the photographs with alpha of ``DATA/matte``, and its cut-outs over photographs without
people; each is seen once in a pass over them. A trimap is made at the size that is shown. Where the
data name no ``val`` images, a fifth is left out, as *Image Matting* (Lang et al., 2021) splits
AISegment's.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.random import Generator
from torch.utils.data import Dataset

from engines.arrays import U8
from engines.datasets.composites import composite
from engines.datasets.layout import Pair, list_backgrounds, list_cutouts, list_pairs
from engines.datasets.read import read_pair
from engines.datasets.trimap import BACKGROUND, PERSON, comparison_radius, make_trimap
from engines.errors import BadData
from train.config import Config
from train.data.augment import resize
from train.data.cache import cached, memory_budget
from train.data.samples import generator, image_tensor, read_background, read_person, some

HELD_OUT = 5  # one in so many images is left out where the data name none
CROP_SCALES = (1.0, 1.5, 2.0)  # side of a crop in the picture: 320, 480 and 640 for 320 pixels
KEPT_SCALE = 4  # a picture that is shown whole is kept at so many times its side there
MAX_DEGREES = 15.0  # of a rotation; neither paper says how far
# generator(seed, …) draws the order of pass n by ORDERS + n, and a picture that is not augmented by
# PLAIN and its place.
ORDERS, PLAIN = 2**62, 2**61


class TrimapSamples(Dataset):
    """The samples of a run, by (index, size), as `train.data.samples.Samples` are.

    An item has ``image``, ``label`` (an alpha), ``has_alpha`` and ``name`` as there, and ``trimap``
    (1, S, S) uint8. `left_out` are the samples that the run is tested on.

    Args:
        cache_bytes: of decoded images kept in memory; None for half of what is free.
        test: be the samples that the run is tested on.

    Raises:
        BadData: files that cannot be read, all of them named, or none of a kind that is needed.
    """

    def __init__(
        self,
        root: Path,
        config: Config,
        processes: int = 1,
        cache_bytes: int | None = None,
        test: bool = False,
    ):
        self.config = config
        self.photos, self.cutouts, self.backgrounds = listed(root, config, test)
        paths = [p.image for p in (*self.photos, *self.cutouts)] + self.backgrounds
        names = "\n".join(path.relative_to(root).as_posix() for path in paths)
        self.fingerprint = hashlib.sha256(names.encode()).hexdigest()
        side = max(config.sizes) * KEPT_SCALE if config.whole else None
        budget = memory_budget(cache_bytes) // processes
        self._photos, budget = cached(self.photos, partial(_read_photo, side=side), budget)
        self._cutouts, budget = cached(self.cutouts, partial(_read_cutout, side=side), budget)
        self._backgrounds, budget = cached(
            self.backgrounds, partial(_read_background, side=side), budget
        )
        self._order: tuple[int, Any] = (-1, None)
        if not test:
            self.left_out = TrimapSamples(root, config, 1, budget, test=True)

    def __len__(self) -> int:
        return len(self.photos) + len(self.cutouts) * self.config.backgrounds_each

    @property
    def contents(self) -> str:
        """What the samples are made of, in words."""
        return (
            f"{len(self.photos)} photographs with alpha, {len(self.cutouts)} cut-outs, "
            f"{len(self.backgrounds)} backgrounds"
        )

    @property
    def sets(self) -> list[str]:
        """The names of the sets that the pictures come from."""
        return sorted({p.source for p in (*self.photos, *self.cutouts)})

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, size = key
        rng, (number, place) = generator(self.config.seed, index), divmod(index, len(self))
        if self._order[0] != number:
            order = generator(self.config.seed, ORDERS + number).permutation(len(self))
            self._order = number, order
        place = int(self._order[1][place])
        image, alpha, name = self._picture(place, int(rng.integers(2**32)))
        image, alpha = self._framed(rng, image, alpha, size)
        if rng.random() < self.config.turned:
            image, alpha = turn(rng, image, alpha)
        radius = int(rng.integers(self.config.trimap_min, self.config.trimap_max + 1))
        return _item(image, alpha, radius, name)

    def plain(self, place: int, size: int) -> dict[str, Any]:
        """Return the sample at a place, less than the length: always the same, not augmented."""
        image, alpha, name = self._picture(place, place)
        image, alpha = self._framed(generator(self.config.seed, PLAIN + place), image, alpha, size)
        return _item(image, alpha, comparison_radius(size), name)

    def _picture(self, place: int, behind: int) -> tuple[U8, U8, str]:
        """Return an image, its alpha and its name; cut-outs are on a background by its number."""
        if place < len(self.photos):
            return *self._photos(place), self.photos[place].image.name
        i, j = (place - len(self.photos)) % len(self.cutouts), behind % len(self.backgrounds)
        image, alpha = composite(self._cutouts(i), self._backgrounds(j))
        return image, alpha, f"{self.cutouts[i].image.name} {self.backgrounds[j].name}"

    def _framed(self, rng: Generator, image: U8, alpha: U8, size: int) -> tuple[U8, U8]:
        if self.config.whole:
            return _stretched(image, alpha, size)
        return crop(rng, image, alpha, size)


def listed(root: Path, config: Config, test: bool) -> tuple[list[Pair], list[Pair], list[Path]]:
    """List the photographs with alpha, the other cut-outs and the backgrounds a run draws from.

    Args:
        test: those that the run is tested on, all of them.

    Raises:
        BadData: there are none, or no backgrounds for cut-outs.
    """
    left_out, split = set(held_out(root)), "val" if test else "train"
    named = "train" if left_out else split
    photos = list_pairs(root, "matte", named, required=False)
    known = {p.image for p in photos}
    cutouts = [p for p in list_cutouts(root, named) if p.image not in known]
    photos, cutouts = (
        [p for p in pairs if config.matte_sources.get(p.source, 1.0) > 0]
        for pairs in (photos, cutouts)
    )
    backgrounds = list_backgrounds(root, named, required=False)
    if left_out:
        photos, cutouts = (
            [p for p in pairs if (p.image in left_out) == test] for pairs in (photos, cutouts)
        )
        backgrounds = [p for p in backgrounds if (p in left_out) == test]
    if not test:
        chosen = set(some([*photos, *cutouts], config.mattes, config.seed))
        photos, cutouts = ([p for p in pairs if p in chosen] for pairs in (photos, cutouts))
    if not photos and not cutouts:
        raise BadData(f"{root}: no {split} images with alpha", "put some in matte/<set>")
    if cutouts and not backgrounds:
        raise BadData(
            f"{root}: no {split} images in background, and cut-outs need some",
            "put photographs without people there",
        )
    return photos, cutouts, backgrounds


def with_epochs(config: Config, root: Path) -> Config:
    """Return a config whose last stage has the steps of ``epochs`` passes, if it asks for any.

    Raises:
        BadData: the data cannot be listed.
    """
    if not config.epochs:
        return config
    photos, cutouts, _ = listed(root, config, test=False)
    seen = config.epochs * (len(photos) + len(cutouts) * config.backgrounds_each)
    *before, last = config.stages
    return replace(config, stages=(*before, replace(last, steps=-(-seen // last.batch))))


def held_out(root: Path) -> list[Path]:
    """Return the images that are left out of training where the data name none, else nothing.

    They are a fifth of those with alpha and a fifth of the backgrounds: the first by the hash of
    their paths, so that images which are added later change little.
    """
    if list_cutouts(root, "val"):  # photographs too
        return []

    def fifth(paths: list[Path]) -> list[Path]:
        return sorted(paths, key=rank)[: round(len(paths) / HELD_OUT)]

    def rank(path: Path) -> bytes:
        return hashlib.sha256(path.relative_to(root).as_posix().encode()).digest()

    return [
        *fifth([p.image for p in list_cutouts(root, "train")]),
        *fifth(list_backgrounds(root, "train", required=False)),
    ]


def crop(rng: Generator, image: U8, alpha: U8, size: int) -> tuple[U8, U8]:
    """Crop a random square around a pixel that is neither person nor background, to `size` pixels.

    Its side is `size` times one of `CROP_SCALES`, or the picture's shorter side if that is less.
    """
    height, width = alpha.shape
    side = min(round(size * rng.choice(CROP_SCALES)), height, width)
    edge = np.flatnonzero((alpha > BACKGROUND) & (alpha < PERSON))
    y, x = divmod(int(rng.choice(edge)), width) if len(edge) else (height // 2, width // 2)
    top, left = (int(np.clip(c - side // 2, 0, n - side)) for c, n in ((y, height), (x, width)))
    window = np.s_[top : top + side, left : left + side]
    return _stretched(image[window], alpha[window], size)


def turn(rng: Generator, image: U8, alpha: U8) -> tuple[U8, U8]:
    """Mirror a square image and its alpha, and rotate them by at most `MAX_DEGREES`."""
    size = alpha.shape[0]
    middle = ((size - 1) / 2,) * 2
    matrix = cv2.getRotationMatrix2D(middle, rng.uniform(-MAX_DEGREES, MAX_DEGREES), 1)
    return tuple(  # type: ignore[return-value]
        cv2.warpAffine(
            np.ascontiguousarray(x[:, ::-1]), matrix, (size, size), borderMode=cv2.BORDER_REFLECT
        )
        for x in (image, alpha)
    )


def _item(image: U8, alpha: U8, radius: int, name: str) -> dict[str, Any]:
    return {
        "image": image_tensor(image),
        "label": torch.from_numpy(alpha)[None],
        "trimap": torch.from_numpy(make_trimap(alpha, radius))[None],
        "has_alpha": True,
        "name": name,
    }


def _stretched(image: U8, alpha: U8, size: int) -> tuple[U8, U8]:
    return resize(image, size, size), resize(alpha, size, size)


def _read_photo(pair: Pair, side: int | None) -> tuple[U8, ...]:
    return tuple(_shrunk(x, side) for x in read_pair(pair))


def _read_cutout(pair: Pair, side: int | None) -> tuple[U8]:
    return (_shrunk(*read_person(pair), side),)


def _read_background(path: Path, side: int | None) -> tuple[U8]:
    return (_shrunk(*read_background(path), side and 2 * side),)  # it covers a tall person too


def _shrunk(image: U8, side: int | None) -> U8:
    """Return an image whose shorter side is at most `side` pixels; None for any."""
    height, width = image.shape[:2]
    if side is None or min(height, width) <= side:
        return image
    scale = side / min(height, width)
    return resize(image, round(width * scale), round(height * scale))
