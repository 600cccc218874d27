"""The commands of `wsshm`: their names, groups, and error handling."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from wsshm_cli import (
    __version__,
    bench,
    bshm,
    context_aware,
    dim,
    doctor,
    evaluate,
    export,
    models,
    report,
    run,
    train,
    train_tools,
)
from wsshm_cli.help import Command


def _version(wanted: bool) -> None:
    if wanted:
        report.out(f"wsshm {__version__}")
        raise typer.Exit


def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Cut people out of video: no green screen, no GPU needed."""


def _group(
    callback: Callable[..., None], name: str, *, epilog: str = "", alone: bool = False
) -> typer.Typer:
    """Return a group of commands; without a command it shows its help, or calls `callback`."""
    group = typer.Typer(
        name=name,
        epilog=epilog,
        no_args_is_help=not alone,
        invoke_without_command=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    group.callback()(report.ending()(callback))
    return group


def _add(
    group: typer.Typer, function: Callable[..., None], name: str | None = None, epilog: str = ""
) -> None:
    """Make `function` a command of the group, called like it unless `name` says otherwise."""
    group.command(name, cls=Command, epilog=epilog)(report.ending()(function))


app = _group(root, "wsshm", epilog="Start with: wsshm run clip.mp4 --bg beach.jpg")
_add(app, run.run, epilog=run.EXAMPLES)
_add(app, evaluate.evaluate, "eval", evaluate.EXAMPLES)
_add(app, bench.bench, epilog=bench.EXAMPLES)
_add(app, export.export, epilog=export.EXAMPLES)
_add(app, doctor.doctor)

_models = _group(models.root, "models", alone=True)
_add(_models, models.list_models, "list")
_add(_models, models.show)
_add(_models, models.verify)
app.add_typer(_models)

_train = _group(train.root, "train")
_add(_train, train.pretrain)
_add(_train, train.teacher)
_add(_train, train.student)
_add(_train, context_aware.context_aware)
_add(_train, bshm.bshm)
_add(_train, dim.dim, epilog=dim.EXAMPLE)
_add(_train, train_tools.label, epilog=train_tools.LABEL_EXAMPLE)
_add(_train, train_tools.average, epilog=train_tools.AVERAGE_EXAMPLE)
_add(_train, train_tools.pseudo, epilog=train_tools.PSEUDO_EXAMPLE)
app.add_typer(_train)
