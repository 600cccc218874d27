"""Training samples, drawn and composited on the fly; `engines.datasets.layout` has the folders."""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

from engines.arrays import U8
from engines.datasets.composites import extend_foreground
from engines.datasets.layout import Pair, list_backgrounds, list_cutouts, list_pairs
from engines.datasets.read import read_cutout, read_fine, read_image, read_pair
from engines.errors import ENDING_SIGNALS, BadData
from train import methods
from train.config import Config
from train.data import augment
from train.data.augment import Labelled
from train.data.blend import BlendRule, blend
from train.data.cache import cached, memory_budget
from train.data.spoil import spoilt
from train.data.traces import TraceRule


def generator(seed: int, index: int) -> np.random.Generator:
    """Return a generator keyed by (seed, index); indices from 2**63 on are draws per step."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))


class Samples(Dataset):
    """The samples of a run, by (index, crop size): all randomness follows from (seed, index).

    So a run does not depend on the number of workers or processes, and resumes by starting at
    another index. An item is a dictionary:

    - ``image`` (3, S, S) uint8 RGB: the network's input, with strong augmentation;
    - ``weak`` (3, S, S) uint8 RGB: the same crop without it, if the method needs that;
    - ``label`` (1, S, S) uint8: mask or alpha, 255 = person;
    - ``has_alpha`` bool: whether `label` is an alpha;
    - ``masks`` (2, S / 4, S / 4) uint8: the label and its spoilt twin, if the method needs that;
    - ``contrast`` (1, S, S) uint8: of `train.data.augment.Composite`, 0 for what is none, if the
      method needs that;
    - ``weight`` (1, S, S) uint8: what each pixel of `label` may teach, 255 = everything; if some
      photograph of the run has a fine label;
    - ``name`` str: the files it was made of.

    Args:
        cache_bytes: of decoded images kept in memory; None for half of what is free.

    Raises:
        BadData: files that cannot be read, all of them named, or none of a kind that is needed.
    """

    def __init__(
        self, root: Path, config: Config, processes: int = 1, cache_bytes: int | None = None
    ):
        self.config = config
        self.method = method = methods.find(config.method)
        self.two_views = method.needs_weak_view
        self.traces = TraceRule.of(config) if method.hides_traces else None
        photos, cutouts, backgrounds = listed(root, config)
        self.photos = some(photos, config.masks, config.seed)
        self.people = some(cutouts, config.mattes, config.seed)
        self.backgrounds = backgrounds
        self.fine_count = sum(p.fine is not None for p in self.photos)
        self.photo_weight = _weights(self.photos, config.mask_sources)
        self.people_weight = _weights(self.people, config.matte_sources)
        names = [p.image.relative_to(root).as_posix() for p in (*self.photos, *self.people)]
        names += [p.relative_to(root).as_posix() for p in self.backgrounds]
        names += [p.fine.relative_to(root).as_posix() for p in self.photos if p.fine]
        self.fingerprint = hashlib.sha256("\n".join(names).encode()).hexdigest()
        # Decoded and blended once, and shared with the workers by fork.
        budget = memory_budget(cache_bytes) // processes
        read_photo = partial(_read_photo, rule=BlendRule.of(config))
        self._photos, budget = cached(self.photos, read_photo, budget)
        self._people, budget = cached(self.people, read_person, budget)
        self._backgrounds, budget = cached(self.backgrounds, read_background, budget)

    @property
    def contents(self) -> str:
        """What the samples are made of, in words."""
        fine = f" ({self.fine_count} with fine labels)" if self.fine_count else ""
        return (
            f"{len(self.photos)} masks{fine}, {len(self.people)} mattes, "
            f"{len(self.backgrounds)} backgrounds"
        )

    @property
    def sets(self) -> list[str]:
        """The names of the sets that photographs and people come from."""
        return sorted({p.source for p in (*self.photos, *self.people)})

    def __getitem__(self, key: tuple[int, int]) -> dict[str, Any]:
        index, size = key
        rng = generator(self.config.seed, index)
        kind, contrast = rng.random(), None
        composites, empty = self.config.composites, self.config.empty
        if kind < composites:
            n = 1 + (rng.random() < 0.2) + (rng.random() < 0.05)
            chosen = [int(i) for i in rng.choice(len(self.people), n, p=self.people_weight)]
            people = [self._people(i) for i in chosen]
            background, name = self._background(rng)
            made = augment.composite(
                rng,
                people,
                background,
                size,
                self.traces,
                self.method.needs_contrast,
                self.config.low_contrast,
            )
            image, contrast = augment.degrade(rng, made.image), made.contrast
            crop, has_alpha = Labelled(image, made.alpha), True
            names = [self.people[i].image.name for i in chosen] + [name]
        elif kind < composites + empty:
            background, name = self._background(rng)
            crop, has_alpha = augment.zoom_crop(rng, augment.empty(background), size), True
            image, names = augment.strong(rng, crop.image), [name]
        else:
            photo, pair = self._photo(rng)
            crop, has_alpha = augment.zoom_crop(rng, photo, size), pair.fine is not None
            names = [pair.image.name]
            if self.config.paste and rng.random() < self.config.paste:
                photo, pair = self._photo(rng)
                crop = augment.paste(rng, crop, photo)
                names.append(pair.image.name)
            image = augment.strong(rng, crop.image) if self.config.strong else crop.image
        item = {
            "image": image_tensor(image),
            "label": torch.from_numpy(crop.label)[None],
            "has_alpha": has_alpha,
            "name": " ".join(names),
        }
        if self.method.spoils_masks:
            fine = augment.resize(crop.label, size // 4, size // 4)
            item["masks"] = torch.from_numpy(np.stack([fine, spoilt(rng, fine)]))
        if self.method.needs_contrast:
            nothing = np.zeros((size, size), np.uint8)
            item["contrast"] = torch.from_numpy(nothing if contrast is None else contrast)[None]
        if self.fine_count:
            item["weight"] = torch.from_numpy(crop.weighted().weight)[None]
        return item | {"weak": image_tensor(crop.image)} if self.two_views else item

    def _photo(self, rng: np.random.Generator) -> tuple[Labelled, Pair]:
        i = int(rng.choice(len(self.photos), p=self.photo_weight))
        photo, pair = Labelled(*self._photos(i)), self.photos[i]
        if self.fine_count:
            photo = photo.weighted()
        if ratio := self.config.squashed.get(pair.source):
            photo = augment.unsquash(rng, photo, ratio)
        return photo, pair

    def _background(self, rng: np.random.Generator) -> tuple[U8, str]:
        i = int(rng.integers(len(self.backgrounds)))
        return self._backgrounds(i), self.backgrounds[i].name


def listed(root: Path, config: Config) -> tuple[list[Pair], list[Pair], list[Path]]:
    """List the photographs with masks, cut-outs and backgrounds of ``train`` that a run draws from.

    Photographs have a fine label only where the run uses it.

    Raises:
        BadData: there are none of a kind that the run needs.
    """
    composites, made = config.composites, config.composites + config.empty
    photos = list_pairs(root, "seg", "train") if made < 1 else []
    if not (config.fine_radius and methods.find(config.method).uses_masks):
        photos = [replace(pair, fine=None) for pair in photos]
    cutouts = list_cutouts(root, "train") if composites else []
    backgrounds = list_backgrounds(root, "train") if made else []
    if composites and not cutouts:
        raise BadData(f"{root}: no cut-outs for composites", "put some in matte/<set>/rgba")
    return photos, cutouts, backgrounds


def image_tensor(image: U8) -> torch.Tensor:
    """Return an image (H, W, 3) as (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)


def _read_photo(pair: Pair, rule: BlendRule) -> tuple[U8, ...]:
    """Read a photograph, its label and, if it has a fine label, the weight of the blended one."""
    rgb, mask = read_pair(pair)
    return (rgb, *blend(mask, read_fine(pair, rgb), rule)) if pair.fine else (rgb, mask)


def read_person(pair: Pair) -> tuple[U8]:
    """Read a cut-out (H, W, 4) RGBA, its colour extended outwards."""
    return (extend_foreground(read_cutout(pair)),)


def read_background(path: Path) -> tuple[U8]:
    """Read a photograph (H, W, 3) RGB."""
    return (read_image(path)[..., :3],)


def some(items: list[Pair], count: int, seed: int) -> list[Pair]:
    """Draw `count` of the items, keeping their order; 0 draws all.

    With one seed, few are among many. The items of each set are spread evenly over the order in
    which they are drawn, so few have the sets' shares of all, as near as whole numbers can.
    """
    if not count or count >= len(items):
        return items
    rng, turn = np.random.default_rng(seed), np.empty(len(items))
    for source in sorted({p.source for p in items}):
        own = [i for i, p in enumerate(items) if p.source == source]
        turn[rng.permutation(own)] = (np.arange(len(own)) + rng.random()) / len(own)
    return [items[i] for i in sorted(np.argsort(turn, kind="stable")[:count])]


def _weights(items: list[Pair], shares: dict[str, float]) -> np.ndarray:
    """Return the probability of each item: the share of its set, spread evenly over the set."""
    sources = [p.source for p in items]
    counts = {s: sources.count(s) for s in set(sources)}
    w = np.array([shares.get(s, 1.0) / counts[s] for s in sources])
    if len(w) and not w.any():
        raise BadData(f"every set in the data ({', '.join(sorted(counts))}) has a share of 0")
    return w / w.sum() if len(w) else w


class Batches(Sampler):
    """Batches of (index, crop size) from step `start` to the end of the stages.

    Process `rank` of `processes` gets every `processes`-th sample of each batch.
    """

    def __init__(self, config: Config, start: int = 0, rank: int = 0, processes: int = 1):
        self.config, self.start, self.rank, self.processes = config, start, rank, processes

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        step = index = 0
        for stage in self.config.stages:
            for _ in range(stage.steps):
                if step >= self.start:
                    rng = generator(self.config.seed, 2**63 + step)
                    size = int(rng.choice(stage.sizes))
                    yield [(index + i, size) for i in range(self.rank, stage.batch, self.processes)]
                step, index = step + 1, index + stage.batch

    def __len__(self) -> int:
        return self.config.steps - self.start


def quiet_worker(_: int) -> None:
    """Prepare a loader's worker process: it ignores signals, which its parent handles."""
    for signum in ENDING_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    cv2.setNumThreads(1)
