"""What a training run does, as frozen dataclasses read from TOML."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Stage:
    """`steps` steps of `batch` square crops of `size` pixels."""

    size: int
    batch: int
    steps: int


@dataclass(frozen=True)
class Recipe:
    """One run. Shares and weights are relative; a set that is not named weighs 1."""

    arch: str
    stages: tuple[Stage, ...]
    lr: float = 1e-3
    encoder_lr: float = 3e-4
    weight_decay: float = 1e-4
    warmup: int = 300
    ema: float = 0.999
    boundary_weight: float = 0.01
    composites: float = 0.25  # share of composited samples
    empty: float = 0.04  # share of samples with nobody in the picture
    seed: int = 0
    mask_sources: dict[str, float] = field(default_factory=dict)
    matte_sources: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return sum(s.steps for s in self.stages)

    @classmethod
    def load(cls, path: Path) -> Recipe:
        """Read a recipe; raises `OSError`, `tomllib.TOMLDecodeError` or `TypeError` (bad key)."""
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return cls(**data | {"stages": tuple(Stage(**s) for s in data["stages"])})
