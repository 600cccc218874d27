"""What a training run does: a frozen dataclass, read from TOML recipes and written beside results.

A recipe is a TOML file. Its top-level keys are `Config` fields for every kind of run; a table
``[pretrain]``, ``[teacher]`` or ``[student]`` sets those of one kind. ``recipes/paper.toml`` has
the figures of the paper and is what a recipe's missing keys fall back to.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from engines.errors import BadData, UsageError, reading

RECIPES = Path(__file__).with_name("recipes")
KINDS = ("pretrain", "teacher", "student")
LABELS = ("blended", "masks", "teacher")
LOSSES = ("mse", "l1", "bce", "gradient", "laplacian", "boundary", "context")


@dataclass(frozen=True)
class Stage:
    """`steps` steps of `batch` square crops; each step's side is drawn from `sizes`, in pixels."""

    steps: int
    batch: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Config:
    """One run. Shares and weights are relative; a set that is not named weighs 1."""

    kind: str  # of KINDS
    arch: str
    stages: tuple[Stage, ...]
    loss: dict[str, float]  # weight of each term of LOSSES; `boundary` is the paper's λ
    lr: float
    encoder_lr: float = 0.0  # 0: the same as lr
    weight_decay: float = 0.0
    schedule: str = "cosine"  # or "constant"
    warmup: int = 0  # steps
    clip: float = 1.0  # greatest norm of the gradient
    average: float = 0.999  # decay of the running average of the weights, which is what is released
    precision: str = "auto"  # "bf16", "fp16" or "fp32"; auto: bf16 where the device has it
    labels: str = "blended"  # of the student; of LABELS
    strong: bool = True  # strong augmentation of photographs; composites always have theirs
    teacher_ema: float = (
        0.999  # decay at which a teacher of the same architecture follows; 0: never
    )
    composites: float = 0.0  # share of composited samples
    empty: float = 0.0  # share of samples with nobody in the image
    paste: float = 0.0  # share of photographs into which another's persons are pasted
    # Weight of a coarse mask within 3 pixels of its edge; with a teacher, whose matte has the rest.
    mask_edge: float = 1.0
    masks: int = 0  # how many masks to use, drawn at random; 0: all
    mattes: int = 0  # likewise
    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    evaluate_every: int = 5000  # 0: at the end only
    mask_sources: dict[str, float] = field(default_factory=dict)
    matte_sources: dict[str, float] = field(default_factory=dict)

    @property
    def steps(self) -> int:
        return sum(s.steps for s in self.stages)

    @property
    def has_teacher(self) -> bool:
        return self.kind == "student" and self.labels != "masks"

    @property
    def sizes(self) -> tuple[int, ...]:
        """Every side of a crop, ascending."""
        return tuple(sorted({size for s in self.stages for size in s.sizes}))

    def plain(self) -> dict[str, Any]:
        """As JSON and TOML have it: lists, dictionaries, numbers and strings."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    def to_toml(self, **run: str) -> str:
        """TOML that `load` takes as a recipe; `run` are strings for its table ``[run]``."""
        # A JSON value of these kinds is a TOML value too, dictionaries apart.
        lines, tables = [], []
        for name, value in (self.plain() | {"run": run}).items():
            for entry in value if name == "stages" else [value]:
                if isinstance(entry, dict):
                    head = "[[stages]]" if name == "stages" else f"[{name}]"
                    rows = [f"{json.dumps(k)} = {json.dumps(v)}" for k, v in entry.items()]
                    tables += ["", head, *rows]
                else:
                    lines.append(f"{name} = {json.dumps(entry)}")
        return "\n".join([*lines, *tables, ""])

    @classmethod
    def from_dict(cls, data: dict[str, Any], where: object) -> Config:
        """Check and build; `where` is for messages.

        Raises:
            BadData: an unknown key, a missing one, or a value that makes no sense.
        """
        known = {f.name: str(f.type) for f in fields(cls)}
        if unknown := sorted(set(data) - set(known)):
            raise BadData(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(sorted(known))}")
        for name, kind in known.items():
            if name in data and not _is_a(kind, data[name]):
                wanted = "[{ steps, batch, sizes = [...] }]" if name == "stages" else kind
                raise BadData(f"{where}: {name} = {data[name]!r} should be {wanted}")
        stages = tuple(Stage(**s | {"sizes": tuple(s["sizes"])}) for s in data.get("stages", ()))
        try:
            config = cls(**data | {"stages": stages})
        except TypeError as e:
            raise BadData(f"{where}: {e}") from e
        config._validate(where)
        return config

    def _validate(self, where: object) -> None:
        rules = {
            "kind": self.kind in KINDS,
            "labels": self.labels in LABELS,
            "schedule": self.schedule in ("cosine", "constant"),
            "precision": self.precision in ("auto", "bf16", "fp16", "fp32"),
            "loss": bool(self.loss)
            and set(self.loss) <= set(LOSSES)
            and all(weight >= 0 for weight in self.loss.values())
            and ("context" not in self.loss or self.has_teacher),
            "mask_sources": _shares(self.mask_sources),
            "matte_sources": _shares(self.matte_sources),
            "stages": bool(self.stages)
            and all(s.steps > 0 and s.batch > 0 and s.sizes for s in self.stages)
            # Five levels of the pyramid and the deepest stride of any encoder.
            and all(size > 0 and size % 32 == 0 for size in self.sizes),
            "composites": self.composites >= 0 and self.composites + self.empty <= 1,
            "empty": self.empty >= 0,
            "paste": 0 <= self.paste <= 1,
            "lr": self.lr > 0,
            "encoder_lr": self.encoder_lr >= 0,
            "weight_decay": self.weight_decay >= 0,
            "mask_edge": self.mask_edge >= 0,
            "clip": self.clip > 0,
            "warmup": self.warmup >= 0,
            "seed": 0 <= self.seed < 2**63,
            "average": 0 <= self.average < 1,
            "teacher_ema": 0 <= self.teacher_ema < 1,
            "log_every": self.log_every > 0,
            "save_every": self.save_every > 0,
            "evaluate_every": self.evaluate_every >= 0,
            "masks": self.masks >= 0,
            "mattes": self.mattes >= 0,
        }
        for name, good in rules.items():
            if not good:
                raise BadData(
                    f"{where}: {name} = {getattr(self, name)} makes no sense; "
                    "train/config.py says what each key means, crop sizes are multiples of 32"
                )


def _is_a(kind: str, value: Any) -> bool:
    """Whether a value of TOML is one of a field's type."""
    match kind:
        case "str" | "bool" | "int":
            return type(value).__name__ == kind
        case "float":
            return type(value) in (int, float) and math.isfinite(value)
        case "dict[str, float]":
            return isinstance(value, dict) and all(_is_a("float", v) for v in value.values())
    # stages
    return isinstance(value, list) and all(
        isinstance(stage, dict)
        and set(stage) == {"steps", "batch", "sizes"}
        and isinstance(stage["sizes"], list)
        and all(_is_a("int", n) for n in (stage["steps"], stage["batch"], *stage["sizes"]))
        for stage in value
    )


def _shares(weights: dict[str, float]) -> bool:
    return all(w >= 0 for w in weights.values()) and (not weights or max(weights.values()) > 0)


def load(recipe: str, kind: str, **options: Any) -> Config:
    """The `Config` of one kind of run.

    Args:
        recipe: name of a shipped recipe, or a TOML file.
        kind: of `KINDS`.
        options: fields that override the recipe's; None leaves the recipe's. A dictionary is
            merged into the recipe's.

    Raises:
        UsageError: no shipped recipe of that name, and no file.
        CannotOpen, BadData: the file.
    """
    path = RECIPES / f"{recipe}.toml"
    if not path.is_file():
        path = Path(recipe)
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in RECIPES.glob("*.toml")))
        raise UsageError(
            f"--recipe {recipe}: no such file, and no shipped recipe (there are: {known})"
        )
    data = _table(RECIPES / "paper.toml", kind) | _table(path, kind)
    for name, value in options.items():
        if value is not None:
            data[name] = data[name] | value if isinstance(value, dict) else value
    config = Config.from_dict(data | {"kind": kind}, path)
    if kind == "student" and not config.has_teacher:  # masks alone: the loss of pre-training
        config = replace(config, loss=load(recipe, "pretrain").loss)
    return config


def saved(out: Path) -> dict[str, Any]:
    """The ``config.toml`` of a run's folder: as `Config.plain`, and a table ``run``.

    Raises:
        CannotOpen, BadData: the file.
    """
    return _read(out / "config.toml")


def _table(path: Path, kind: str) -> dict[str, Any]:
    data = _read(path)
    own = data.get(kind, {})
    shared = {k: v for k, v in data.items() if k not in (*KINDS, "run")}
    if not isinstance(own, dict):
        raise BadData(f"{path}: {kind} is no table")
    if not own and not shared:
        raise BadData(f"{path}: says nothing of a {kind}; it has no table [{kind}]")
    return shared | own


def _read(path: Path) -> dict[str, Any]:
    with reading(path):
        text = path.read_bytes()
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadData(f"{path}: not TOML ({e})") from e
