"""Training samples, drawn and composited on the fly; `engines.measure.layout` has the folders."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from engines.errors import BadData
from engines.measure.layout import (
    list_backgrounds,
    list_cutouts,
    list_pairs,
    read_image,
    read_label,
)
from train import augment
from train.augment import U8
from train.config import Recipe


class Samples(Dataset):
    """Sample i of a run: everything random about it follows from (seed, i) alone.

    So a run does not depend on the number of workers, and resumes by starting at another i.
    An item is image (3, S, S) uint8, label (1, S, S) uint8, and whether the label is an alpha.
    """

    def __init__(self, root: Path, recipe: Recipe):
        self.recipe = recipe
        pairs = list_pairs(root, "seg", "train")
        cutouts = list_cutouts(root, "train")
        if not cutouts and recipe.composites:
            raise BadData(
                f"{root}: no cut-outs in matte/<set>/rgba; add some or set composites = 0"
            )
        with ThreadPoolExecutor() as pool:  # decoded once, shared with workers by fork
            self.photos = list(
                pool.map(lambda p: (read_image(p.image)[..., :3], read_label(p.label)), pairs)
            )
            self.people = list(
                pool.map(lambda c: augment.extend_foreground(read_image(c[1])), cutouts)
            )
            self.backgrounds = list(
                pool.map(lambda p: read_image(p)[..., :3], list_backgrounds(root, "train"))
            )
        self.photo_weight = _weights([p.source for p in pairs], recipe.mask_sources)
        self.people_weight = _weights([c[0] for c in cutouts], recipe.matte_sources)

    def __getitem__(self, key: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor, bool]:
        index, size = key
        rng = np.random.Generator(np.random.Philox(key=[self.recipe.seed, index]))
        kind = rng.random()
        composites, empty = self.recipe.composites, self.recipe.empty
        if kind < composites:
            n = 1 + (rng.random() < 0.2) + (rng.random() < 0.05)
            people = [self.people[i] for i in rng.choice(len(self.people), n, p=self.people_weight)]
            image, label = augment.composite(rng, people, self._background(rng), size)
        elif kind < composites + empty:
            image, label = augment.zoom_crop(rng, self._background(rng), None, size)
            image = augment.photometric(rng, image)
        else:
            photo = self.photos[rng.choice(len(self.photos), p=self.photo_weight)]
            image, label = augment.zoom_crop(rng, *photo, size)
            image = augment.photometric(rng, image)
        image = augment.degrade(rng, image)
        return (
            torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1),
            torch.from_numpy(label)[None],
            kind < composites + empty,
        )

    def _background(self, rng: np.random.Generator) -> U8:
        return self.backgrounds[rng.integers(len(self.backgrounds))]


def _weights(sources: list[str], shares: dict[str, float]) -> np.ndarray:
    """Chance of each item: its set's share, spread evenly over the set."""
    counts = {s: sources.count(s) for s in set(sources)}
    w = np.array([shares.get(s, 1.0) / counts[s] for s in sources])
    return w / w.sum()


class Batches(Sampler):
    """Batches of (index, crop size) from `start` (a step) to the end of the recipe's stages."""

    def __init__(self, recipe: Recipe, start: int = 0):
        self.recipe, self.start = recipe, start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = index = 0
        for stage in self.recipe.stages:
            for _ in range(stage.steps):
                if step >= self.start:
                    yield [(index + i, stage.size) for i in range(stage.batch)]
                step, index = step + 1, index + stage.batch

    def __len__(self) -> int:
        return self.recipe.steps - self.start
