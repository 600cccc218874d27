"""Find a model: a shipped one by its name and precision, or any ONNX file by its path."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engines.contract import ModelSpec
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
    """A shipped model: its files by precision, and a one-line summary.

    `size` is the shorter edge at which it runs, in pixels, if it shares its files with a model of
    another size; None: the files state it.
    """

    name: str
    files: dict[str, File]
    summary: str
    default: bool
    size: int | None = None

    @property
    def path(self) -> Path:
        """The fp32 file, which every model has."""
        return self.files["fp32"].path

    @property
    def card(self) -> Path:
        """The model card, in Markdown."""
        return WEIGHTS / f"{self.name}.md"


def shipped() -> list[Model]:
    """Return every shipped model, the default first."""
    index = json.loads((WEIGHTS / "index.json").read_text(encoding="utf-8"))
    models = [
        Model(
            name,
            {p: File(WEIGHTS / f["file"], f["sha256"]) for p, f in m["files"].items()},
            m["summary"],
            name == index["default"],
            m.get("size"),
        )
        for name, m in index["models"].items()
    ]
    return sorted(models, key=lambda m: not m.default)


def own_size(text: str | None) -> int | None:
    """Return the size at which a model runs, in pixels, if not at that of its file; else None.

    Args:
        text: what a user typed: as for `resolve_model`; None for the default.
    """
    model = _named(text)
    return None if model is None else model.size


def own_spec(text: str | None, spec: ModelSpec) -> ModelSpec:
    """Return the spec of a model whose file states `spec`: with its own name and size.

    Args:
        text: what a user typed: as for `resolve_model`; None for the default.
    """
    model = _named(text)
    if model is None or model.size is None:
        return spec
    return replace(spec, name=model.name, size=model.size)


def _named(text: str | None) -> Model | None:
    """Return the shipped model of a name, with or without a precision; None if it is a file."""
    for model in shipped():
        names = [model.name, *(f"{model.name}-{precision}" for precision in model.files)]
        if text in names or (text is None and model.default):
            return model
    return None


def files(name: str | None, precisions: Sequence[str]) -> dict[str, Path]:
    """Return the files of a shipped model by precision, in the order of `precisions`.

    Precisions that the model is not shipped in are left out.

    Args:
        name: a shipped model, None for the default; or the path of a file, which is returned as it
            is: `precisions` is ignored then.

    Raises:
        CannotOpen: `name` is neither a shipped model nor a file.
        UsageError: the model is shipped in none of `precisions`.
    """
    for model in shipped():
        if name == model.name or (name is None and model.default):
            found = {p: model.files[p].path for p in precisions if p in model.files}
            if not found:
                raise UsageError(
                    f"--precision {', '.join(precisions)}: {model.name} is shipped in "
                    f"{', '.join(model.files)}",
                    _remedy(model.name) if "fp16" in precisions else "",
                )
            return found
    path = find(name)
    return {path.name: path}


def find(name: str | None) -> Path:
    """Return the fp32 file of a shipped model, of the default for None, or a file's own path.

    Raises:
        CannotOpen: `name` is neither a shipped model nor a file.
    """
    return shipped()[0].path if name is None else resolve_model(name, "--model ")[1]


def resolve_model(text: str, option: str = "") -> tuple[str, Path]:
    """Return the name and the file of a model that a user typed.

    ``fast-int8`` is the shipped model ``fast`` in int8; without a precision it is in fp32. A file
    is named after itself.

    Args:
        text: a shipped model, or the path of a file of any kind.
        option: the option that `text` was given to, with a space; it begins the error message.

    Raises:
        CannotOpen: `text` is neither a shipped model nor a file.
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
        remedy = next((_remedy(m.name) for m in models if text == f"{m.name}-fp16"), "")
        raise CannotOpen(
            f"{option}{text}: no such file, and no shipped model (there are: {known})", remedy
        )
    # Every training run writes a file called model: its folder's name says more.
    return path.absolute().parent.name if path.stem == "model" else path.stem, path


def _remedy(name: str) -> str:
    """Return how to get a shipped model in float16, in which none is shipped."""
    return f"make {name}-fp16.onnx: wsshm export {name} --precision fp16; then --model takes it"


def verify(model: Model) -> None:
    """Compare the files of a shipped model with their SHA-256.

    Raises:
        CannotOpen: a file is missing.
        BadData: the bytes of a file are not those that were shipped.
    """
    for file in model.files.values():
        if not file.path.is_file():
            raise CannotOpen(f"{file.path}: missing", "install wsshm again")
        if (digest := sha256(file.path)) != file.sha256:
            raise BadData(
                f"{file.path}: SHA-256 is {digest}, expected {file.sha256}", "install wsshm again"
            )
