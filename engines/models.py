"""The models that are shipped, by name and precision, and files of the user's own, by path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engines.errors import BadData, CannotOpen, UsageError
from engines.files import sha256

WEIGHTS = Path(__file__).with_name("weights")


@dataclass(frozen=True)
class File:
    """A shipped file and its SHA-256 (hex)."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class Model:
    """A shipped model: its files by precision, one line on what it is, and its card."""

    name: str
    files: dict[str, File]
    summary: str
    default: bool

    @property
    def path(self) -> Path:
        """The file in fp32, which every model has."""
        return self.files["fp32"].path

    @property
    def card(self) -> Path:
        return WEIGHTS / f"{self.name}.md"


def shipped() -> list[Model]:
    """Every shipped model, the default first."""
    index = json.loads((WEIGHTS / "index.json").read_text(encoding="utf-8"))
    models = [
        Model(
            name,
            {p: File(WEIGHTS / f["file"], f["sha256"]) for p, f in m["files"].items()},
            m["summary"],
            name == index["default"],
        )
        for name, m in index["models"].items()
    ]
    return sorted(models, key=lambda m: not m.default)


def files(name: str | None, precisions: Sequence[str]) -> dict[str, Path]:
    """A shipped model's files, the default's for None, by those of `precisions` that it has.

    A path stands alone, whatever it holds.

    Raises:
        CannotOpen: neither a shipped name nor a file.
        UsageError: the model is shipped in none of them.
    """
    for model in shipped():
        if name == model.name or (name is None and model.default):
            found = {p: model.files[p].path for p in precisions if p in model.files}
            if not found:
                raise UsageError(
                    f"--precision {', '.join(precisions)}: {model.name} is shipped in "
                    f"{', '.join(model.files)}"
                )
            return found
    path = find(name)
    return {path.name: path}


def find(name: str | None) -> Path:
    """The file of a shipped model in fp32, of the default for None, or a path as it is.

    Raises:
        CannotOpen: neither a shipped name nor a file.
    """
    return shipped()[0].path if name is None else named(name, "--model ")[1]


def named(text: str, option: str = "") -> tuple[str, Path]:
    """What a shipped model, or a file, that was given as `text` is called, and its file.

    ``fast-int8`` is the shipped model ``fast`` in int8; without a precision it is fp32.

    Args:
        option: what it was given to, for the message.

    Raises:
        CannotOpen: neither a shipped name nor a file.
    """
    models = shipped()
    for model in models:
        if text == model.name:
            return text, model.path
        for precision, file in model.files.items():
            if text == f"{model.name}-{precision}":
                return text, file.path
    path = Path(text)
    if not path.is_file():
        known = ", ".join(m.name for m in models)
        raise CannotOpen(f"{option}{text}: no such file, and no shipped model (there are: {known})")
    # A run's files have the same name in every folder: the folder's says more.
    return path.absolute().parent.name if path.stem == "model" else path.stem, path


def verify(model: Model) -> None:
    """Check a shipped model's files against their SHA-256.

    Raises:
        CannotOpen, BadData: one is missing, or holds other bytes than were shipped.
    """
    for file in model.files.values():
        if not file.path.is_file():
            raise CannotOpen(f"{file.path}: missing; install wsshm again")
        if (digest := sha256(file.path)) != file.sha256:
            raise BadData(
                f"{file.path}: SHA-256 is {digest}, expected {file.sha256}; install again"
            )
