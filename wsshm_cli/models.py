"""`wsshm models`: list the shipped models, show their cards, verify their files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from engines.errors import BadData, CannotOpen, reading
from wsshm_cli import report

if TYPE_CHECKING:
    from engines.models import Model


EXAMPLES = """
\b
Examples:
  wsshm models                          what is shipped
  wsshm models show fast                its card
  wsshm run clip.mp4 --model fast       use it
"""
LIST_EXAMPLE = "Example: wsshm models list"
SHOW_EXAMPLE = "Example: wsshm models show fast"
VERIFY_EXAMPLE = "Example: wsshm models verify"


def root(context: typer.Context) -> None:
    """List, show and verify the shipped models."""
    if context.invoked_subcommand is None:
        list_models()


def list_models() -> None:
    """List the shipped models, the default first."""
    from engines.models import shipped

    for m in shipped():
        sizes = {p: f.path.stat().st_size for p, f in m.files.items() if f.path.exists()}
        files = ", ".join(f"{p} {size / 1e6:.1f} MB" for p, size in sizes.items()) or "missing"
        report.out(f"{m.name}\t{files}\t{m.summary}")


def show(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A shipped model. [default: default]")
    ] = None,
) -> None:
    """Print a model's card: data, quality, licence.

    The card names the data and their terms, the recipe, the figures and the limits.
    """
    card = _find(name).card
    with reading(card):
        text = card.read_text(encoding="utf-8")
    report.out(text.rstrip())


def verify(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="A shipped model. [default: all]")
    ] = None,
) -> None:
    """Check the files' SHA-256, and load each."""
    from engines import models
    from engines.engine import open_engine

    for model in models.shipped() if name is None else [_find(name)]:
        models.verify(model)
        for precision, file in model.files.items():
            engine = open_engine(file.path)
            if engine.spec.precision != precision:
                raise BadData(f"{file.path}: is {engine.spec.precision}, not {precision}")
            report.out(f"{model.name}: good ({precision}, {file.path})")


def _find(name: str | None) -> Model:
    """Return a shipped model by name, the default for None; raises CannotOpen."""
    from engines.models import shipped

    for model in shipped():
        if name in (None, model.name):
            return model
    known = ", ".join(m.name for m in shipped())
    raise CannotOpen(f"{name}: no shipped model of that name (there are: {known})")
