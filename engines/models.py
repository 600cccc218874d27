"""The models that are shipped, by name, and files of the user's own, by path."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from engines.errors import BadData, CannotOpen

WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class Model:
    """A shipped model: file, SHA-256 (hex), one line on what it is, and its card."""

    name: str
    path: Path
    sha256: str
    summary: str
    default: bool

    @property
    def card(self) -> Path:
        return self.path.with_suffix(".md")


def shipped() -> list[Model]:
    """Every shipped model, the default first."""
    index = json.loads((WEIGHTS / "index.json").read_text(encoding="utf-8"))
    models = [
        Model(name, WEIGHTS / m["file"], m["sha256"], m["summary"], name == index["default"])
        for name, m in index["models"].items()
    ]
    return sorted(models, key=lambda m: not m.default)


def find(name: str | None) -> Path:
    """The file of a shipped model, of the default for None, or a path as it is.

    Raises:
        CannotOpen: neither a shipped name nor a file.
    """
    return shipped()[0].path if name is None else named(name, "--model ")[1]


def named(text: str, option: str = "") -> tuple[str, Path]:
    """What a shipped model, or a file, that was given as `text` is called, and its file.

    Args:
        option: what it was given to, for the message.

    Raises:
        CannotOpen: neither a shipped name nor a file.
    """
    models = shipped()
    for model in models:
        if text == model.name:
            return model.name, model.path
    path = Path(text)
    if not path.is_file():
        known = ", ".join(m.name for m in models)
        raise CannotOpen(f"{option}{text}: no such file, and no shipped model (there are: {known})")
    # A run's files have the same name in every folder: the folder's says more.
    return path.absolute().parent.name if path.stem == "model" else path.stem, path


def verify(model: Model) -> None:
    """Check a shipped file against its SHA-256.

    Raises:
        CannotOpen, BadData: missing, or other bytes than were shipped.
    """
    if not model.path.is_file():
        raise CannotOpen(f"{model.path}: missing; install wsshm again")
    digest = hashlib.sha256(model.path.read_bytes()).hexdigest()
    if digest != model.sha256:
        raise BadData(f"{model.path}: SHA-256 is {digest}, expected {model.sha256}; install again")
