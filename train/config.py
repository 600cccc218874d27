"""The config of a training run: a frozen dataclass, read from TOML recipes and saved with results.

A recipe is a TOML file. Its top-level keys are `Config` fields for every kind of run; a table
such as ``[pretrain]``, ``[teacher]`` or ``[student]`` sets those of one. ``recipes/paper.toml`` has
the figures of the paper and supplies the keys that a recipe leaves out.

Imports neither torch nor what needs it: architectures and methods are looked up where they are
built.
"""

from __future__ import annotations

import json
import math
import tomllib
from dataclasses import MISSING, Field, asdict, dataclass, field, fields
from enum import Enum
from pathlib import Path
from typing import Any, Literal, get_args

from engines.errors import BadData, UsageError, reading

RECIPES = Path(__file__).with_name("recipes")
STAGES = ("mpn", "qun", "bshm")  # of the rival BSHM, one after the other
KINDS = ("pretrain", "teacher", "student", "context-aware", *STAGES, "dim")
# Kinds that have the table of another one in a recipe too, below their own.
LIKE = {"context-aware": "teacher", "mpn": "pretrain", "qun": "teacher", "bshm": "teacher"}
AS_LONG_AS = {"bshm": "student"}  # of which they have `DURATION` instead
DURATION = ("stages", "max_minutes")
# What makes a kind what it is, whatever a recipe says.
FIXED: dict[str, dict[str, Any]] = {
    "context-aware": {"method": "context-aware"},
    "mpn": {"method": "supervised", "own_losses": True},
    "qun": {"method": "bshm-unify", "own_losses": True, "composites": 1.0, "empty": 0.0},
    "bshm": {"method": "bshm-refine", "own_losses": True, "composites": 1.0, "empty": 0.0},
}
Precision = Literal["auto", "bf16", "fp16", "fp32"]
PRECISIONS = get_args(Precision)
LOSSES = ("mse", "l1", "alpha", "bce", "gradient", "laplacian", "boundary", "context")
# How a value is written in TOML, where its Python type would mislead.
WRITTEN = {"stages": "[{ steps, batch, sizes = [...] }]", "frozen": '["name*", ...]'}
OLD_KEYS = {"average": "ema_decay", "labels": "method"}


class Labels(str, Enum):
    """The labels that ``--labels`` offers, and that recipes and runs of earlier versions have.

    `method` is the training method that makes them, `words` what they are, for help.
    """

    method: str
    words: str

    blended = "blended", "mlb", "the teacher's matte at its boundary and the mask elsewhere"
    masks = "masks", "supervised", "the masks alone"
    teacher = "teacher", "imitate", "the teacher's mattes alone"

    def __new__(cls, value: str, method: str, words: str) -> Labels:
        """Return a member that is the string `value`."""
        member = str.__new__(cls, value)
        member._value_, member.method, member.words = value, method, words
        return member


@dataclass(frozen=True)
class Stage:
    """`steps` steps of `batch` square crops; the side of each step is one of `sizes`, in pixels."""

    steps: int
    batch: int
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Config:
    """One run. Shares and weights are relative; a set that is not named weighs 1."""

    kind: str  # one of KINDS
    arch: str  # one of train.networks.architectures
    stages: tuple[Stage, ...]
    # Weight of each term of LOSSES; `boundary` is the paper's λ, and left out where the network
    # predicts no boundary.
    loss: dict[str, float]
    lr: float
    # A network of other authors learns by their losses, on the labels that the method makes, in
    # place of `loss`; false: by `loss` on its final alpha alone. What chooses among several mattes
    # (the regions of gfm and p3mnet) learns nothing then.
    own_losses: bool = True
    encoder_lr: float = 0.0  # 0: the same as lr
    weight_decay: float = 0.0
    schedule: str = "cosine"  # or "constant"
    warmup: int = 0  # steps
    clip: float = 1.0  # greatest norm of the gradient
    # Batch norms keep the mean and variance of the weights that a run starts from, where batches
    # are too small to estimate them.
    frozen_norms: bool = False
    # Weights that do not learn, by patterns of their names: ["encoder.*"], say. Each one shortens a
    # step, depthwise kernels most on a CPU.
    frozen: tuple[str, ...] = ()
    ema_decay: float = 0.999  # of the moving average of the weights, which is what is released
    precision: str = "auto"  # one of PRECISIONS; auto: bf16 where the device has it
    method: str = "supervised"  # one of train.methods.METHODS
    strong: bool = True  # strong augmentation of photographs; composites always have it
    # Decay at which a teacher of the student's architecture follows the student; 0: it is frozen.
    teacher_ema: float = 0.999
    composites: float = 0.0  # share of composited samples
    # Probability that a composite's background is shifted towards a colour of the person before it,
    # such as brown behind brown hair.
    low_contrast: float = 0.0
    empty: float = 0.0  # share of samples with nobody in the image
    paste: float = 0.0  # share of photographs into which persons of another are pasted
    # Without a teacher: loss weight of mask pixels within 3 pixels of the mask's edge. With one: 1
    # minus this is the least share of the teacher's matte in the label there.
    mask_edge: float = 1.0
    # Photographs with a fine label (`wsshm train label`) learn that near the edge of their mask, up
    # to this distance as a share of the person's height; 0: they learn the mask, as if it had none.
    fine_radius: float = 0.015
    # There, and as far as three times that, mask and fine label must agree on what is inside and
    # outside: the fine label's mean is at least this inside, at most 1 minus this outside. 0: no
    # agreement is asked for.
    fine_agreement: float = 0.8
    fine_doubt: float = 0.0  # loss weight of pixels, with the mask as label, where they disagree
    # Of the method context-aware: the probabilities that each part of a composite, and then that
    # all of it, goes through JPEG, and the least quality of that, at most 100; the probability that
    # a composite is blurred, and the blur's greatest deviation in pixels.
    recode: float = 0.5
    recode_quality: int = 50
    blur: float = 0.5
    blur_sigma: float = 3.0
    # Numbers of masks and mattes to use; 0: all. They are drawn at random, each set in
    # proportion to its size; with one seed, fewer are among more.
    masks: int = 0
    mattes: int = 0
    # Of a network that takes a trimap: passes over the pictures of all sets with a share above 0,
    # in place of the steps of the last stage; 0: its steps count. In a pass each cut-out is on so
    # many backgrounds.
    epochs: int = 0
    backgrounds_each: int = 1
    whole: bool = False  # pictures stretched to a square, in place of crops at an unknown pixel
    turned: float = 0.0  # share of pictures that are mirrored and rotated
    trimap_min: int = 1  # pixels by which an alpha is eroded and dilated, drawn up to the next
    trimap_max: int = 1
    # Minutes of training, added up over all parts of a resumed run, after which it ends even if
    # steps are left; the cosine falls to zero by whichever comes first. The number of steps, and so
    # the result, then depends on the machine. 0: no limit.
    max_minutes: float = 0.0
    seed: int = 0
    log_every: int = 50
    save_every: int = 500
    evaluate_every: int = 5000  # 0: at the end only
    # Sets of photographs that were squashed to squares: ratio of the long to the short edge that
    # they had. They are stretched back, two in three to landscape.
    squashed: dict[str, float] = field(default_factory=dict)
    mask_sources: dict[str, float] = field(default_factory=dict)
    matte_sources: dict[str, float] = field(default_factory=dict)

    @property
    def network(self) -> str:
        """Name of the network in `train.networks`: a stage has one of its own of each `arch`."""
        return f"{self.kind}-{self.arch}" if self.kind in STAGES else self.arch

    @property
    def steps(self) -> int:
        """Steps of all stages."""
        return sum(s.steps for s in self.stages)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sides of crops in pixels, ascending."""
        return tuple(sorted({size for s in self.stages for size in s.sizes}))

    def plain(self) -> dict[str, Any]:
        """Return the fields as values that JSON and TOML have too."""
        data: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return data

    def to_toml(self, **run: str) -> str:
        """Return TOML that `load` takes as a recipe; `run` are strings for its table ``[run]``."""
        # Except for dictionaries, a JSON value of these kinds is a TOML value too.
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
        """Check the fields and build a `Config`; `where` is named in messages.

        Raises:
            BadData: an unknown key, a missing one, or a value that makes no sense.
        """
        data = modernised(data)
        known = {f.name: str(f.type) for f in fields(cls)}
        if unknown := sorted(set(data) - set(known)):
            raise BadData(
                f"{where}: unknown key {unknown[0]!r}", f"use one of {', '.join(sorted(known))}"
            )
        for name, kind in known.items():
            if name in data and not _is_a(kind, data[name]):
                wanted = WRITTEN.get(name, kind)
                raise BadData(f"{where}: {name} = {data[name]!r} should be {wanted}")
        stages = tuple(Stage(**s | {"sizes": tuple(s["sizes"])}) for s in data.get("stages", ()))
        frozen = tuple(data.get("frozen", ()))
        try:
            config = cls(**data | {"stages": stages, "frozen": frozen})
        except TypeError as e:
            raise BadData(f"{where}: {e}") from e
        config._validate(where)
        return config

    def _validate(self, where: object) -> None:
        rules = {
            "kind": self.kind in KINDS,
            "schedule": self.schedule in ("cosine", "constant"),
            "precision": self.precision in PRECISIONS,
            "loss": bool(self.loss) and set(self.loss) <= set(LOSSES) and _shares(self.loss),
            "squashed": all(ratio >= 1 for ratio in self.squashed.values()),
            "mask_sources": _shares(self.mask_sources),
            "matte_sources": _shares(self.matte_sources),
            "stages": bool(self.stages)
            and all(s.steps > 0 and s.batch > 0 and s.sizes for s in self.stages)
            # Five levels of the pyramid and the deepest stride of any encoder; a network with a
            # trimap takes any size.
            and all(size > 0 and (size % 32 == 0 or self.kind == "dim") for size in self.sizes),
            "epochs": self.epochs >= 0,
            "backgrounds_each": self.backgrounds_each > 0,
            "turned": 0 <= self.turned <= 1,
            "trimap_min": self.trimap_min > 0,
            "trimap_max": self.trimap_max >= self.trimap_min,
            "composites": self.composites >= 0 and self.composites + self.empty <= 1,
            "empty": self.empty >= 0,
            "paste": 0 <= self.paste <= 1,
            "low_contrast": 0 <= self.low_contrast <= 1,
            "lr": self.lr > 0,
            "encoder_lr": self.encoder_lr >= 0,
            "weight_decay": self.weight_decay >= 0,
            "mask_edge": self.mask_edge >= 0,
            "fine_radius": 0 <= self.fine_radius <= 1,
            "fine_agreement": 0 <= self.fine_agreement < 1,
            "fine_doubt": 0 <= self.fine_doubt <= 1,
            "recode": 0 <= self.recode <= 1,
            "recode_quality": 1 <= self.recode_quality <= 100,
            "blur": 0 <= self.blur <= 1,
            "blur_sigma": self.blur_sigma >= 0,
            "max_minutes": self.max_minutes >= 0,
            "clip": self.clip > 0,
            "warmup": self.warmup >= 0,
            "seed": 0 <= self.seed < 2**63,
            "ema_decay": 0 <= self.ema_decay < 1,
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
                    f"{where}: {name} = {getattr(self, name)} makes no sense",
                    "train/config.py says what each key means, crop sizes are multiples of 32",
                )


def _is_a(kind: str, value: Any) -> bool:
    """Return whether a value of TOML has the type of a field."""
    match kind:
        case "str" | "bool" | "int":
            return type(value).__name__ == kind
        case "float":
            return type(value) in (int, float) and math.isfinite(value)
        case "tuple[str, ...]":
            return isinstance(value, list) and all(isinstance(v, str) for v in value)
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


def modernised(data: dict[str, Any], kind: str = "") -> dict[str, Any]:
    """Return fields of a recipe or a run with old keys and values replaced by present ones.

    Args:
        kind: one of `KINDS`, where `data` does not say.
    """
    new = {OLD_KEYS.get(key, key): value for key, value in data.items()}
    if "labels" in data:
        is_student = data.get("kind", kind) == "student"  # the others had the key too, unused
        given = data["labels"] if is_student else Labels.masks
        new["method"] = next((labels.method for labels in Labels if labels == given), given)
    return new


def differing(saved: dict[str, Any], config: Config) -> list[str]:
    """Return the fields in which a run differs from `config`.

    Args:
        saved: its fields, as of `Config.plain`; those that an earlier version did not have yet
            count as their defaults.
    """
    theirs = {f.name: _default(f) for f in fields(Config)} | modernised(saved)
    return [name for name, value in config.plain().items() if theirs.get(name) != value]


def _default(f: Field[Any]) -> Any:
    value = f.default if f.default_factory is MISSING else f.default_factory()
    return list(value) if isinstance(value, tuple) else value


def load(recipe: str, kind: str, **options: Any) -> Config:
    """Read the `Config` of one kind of run.

    Args:
        recipe: name of a shipped recipe, or a TOML file.
        kind: one of `KINDS`.
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
            f"--recipe {recipe}: no such file, and no shipped recipe",
            f"use a file or one of {known}",
        )
    data = _table(RECIPES / "paper.toml", kind) | _table(path, kind)
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in modernised(given, kind).items():
        data[name] = data[name] | value if isinstance(value, dict) else value
    return Config.from_dict(data | FIXED.get(kind, {}) | {"kind": kind}, path)


def saved(out: Path) -> dict[str, Any]:
    """Read the ``config.toml`` of a run's folder: fields as of `Config.plain`, and a table ``run``.

    Raises:
        CannotOpen, BadData: the file.
    """
    return modernised(_read(out / "config.toml"))


def _table(path: Path, kind: str) -> dict[str, Any]:
    data = _read(path)
    shared = {k: v for k, v in data.items() if k not in (*KINDS, "run")}
    own: dict[str, Any] = {}
    for name in (LIKE.get(kind, kind), AS_LONG_AS.get(kind, kind), kind):
        if not isinstance(table := data.get(name, {}), dict):
            raise BadData(f"{path}: {name} is no table")
        is_other = kind != name == AS_LONG_AS.get(kind)
        own |= {k: v for k, v in table.items() if k in DURATION or not is_other}
    if not own and not shared:
        raise BadData(f"{path}: no recipe for a {kind}; it has no table [{kind}]")
    return modernised(shared | own, kind)


def _read(path: Path) -> dict[str, Any]:
    with reading(path):
        text = path.read_bytes()
    try:
        return tomllib.loads(text.decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise BadData(f"{path}: not TOML ({e})") from e
