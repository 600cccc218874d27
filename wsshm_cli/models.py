"""`wsshm models`: what is shipped, what it can do, whether it is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from wsshm_cli import report
from wsshm_cli.app import app, ending

if TYPE_CHECKING:
    from engines.models import Model

models = typer.Typer(
    name="models",
    help="List, show and verify the shipped models.",
    invoke_without_command=True,
    rich_markup_mode=None,
)
app.add_typer(models)


@models.callback()
def root(context: typer.Context) -> None:
    """List, show and verify the shipped models; lists them when nothing is named."""
    if context.invoked_subcommand is None:
        list_models()


@models.command("list")
def list_models() -> None:
    """The shipped models, one a line; `default` is what commands take."""
    with ending():
        from engines.models import shipped

        for m in shipped():
            sizes = {p: f.path.stat().st_size for p, f in m.files.items() if f.path.exists()}
            files = ", ".join(f"{p} {size / 1e6:.1f} MB" for p, size in sizes.items()) or "missing"
            report.out(f"{m.name}\t{files}\t{m.summary}")


@models.command()
def show(
    name: Annotated[str | None, typer.Argument(help="The default when left out.")] = None,
) -> None:
    """The model card: data and their terms, recipe, figures, limits."""
    with ending():
        from engines.errors import reading

        card = _named(name).card
        with reading(card):
            text = card.read_text(encoding="utf-8")
        report.out(text.rstrip())


@models.command()
def verify(name: Annotated[str | None, typer.Argument(help="All when left out.")] = None) -> None:
    """Check files against their SHA-256, and that they load and run."""
    with ending():
        from engines.engine import open_engine
        from engines.errors import BadData
        from engines.models import shipped
        from engines.models import verify as check

        for model in shipped() if name is None else [_named(name)]:
            check(model)
            for precision, file in model.files.items():
                engine = open_engine(file.path)
                if engine.spec.precision != precision:
                    raise BadData(f"{file.path}: is {engine.spec.precision}, not {precision}")
                report.out(f"{model.name}: good ({precision}, {file.path})")


def _named(name: str | None) -> Model:
    """The shipped model of a name; the default for None."""
    from engines.errors import CannotOpen
    from engines.models import shipped

    for model in shipped():
        if name in (None, model.name):
            return model
    known = ", ".join(m.name for m in shipped())
    raise CannotOpen(f"{name}: no shipped model of that name (there are: {known})")
