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
from wsshm_cli.help import Command, Group


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
    callback: Callable[..., None], name: str, epilog: str, *, alone: bool = False
) -> typer.Typer:
    """Return a group of commands; without a command it shows its help, or calls `callback`."""
    group = typer.Typer(
        name=name,
        cls=Group,
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
    group: typer.Typer,
    panel: str,
    function: Callable[..., None],
    epilog: str,
    name: str | None = None,
) -> None:
    """Make `function` a command of the group, called like it unless `name` says otherwise.

    Args:
        panel: the title that it is listed under.
        epilog: what its help ends with: examples.
    """
    add = group.command(name, cls=Command, epilog=epilog, rich_help_panel=panel)
    add(report.ending()(function))


EXAMPLES = """
\b
Examples:
  wsshm run clip.mp4 --bg beach.jpg                   another place: clip_wsshm.mp4
  wsshm run clip.mp4 --save foreground -o person.mov  the person alone, for an editor
  wsshm run --help                                    more of them; so for every command
"""
_USE, _MEASURE, _TRAIN = "Use", "Measure", "Train"

app = _group(root, "wsshm", EXAMPLES)
_add(app, _USE, run.run, run.EXAMPLES)
_models = _group(models.root, "models", models.EXAMPLES, alone=True)
_add(_models, "Commands", models.list_models, models.LIST_EXAMPLE, "list")
_add(_models, "Commands", models.show, models.SHOW_EXAMPLE)
_add(_models, "Commands", models.verify, models.VERIFY_EXAMPLE)
app.add_typer(_models, rich_help_panel=_USE)
_add(app, _USE, doctor.doctor, doctor.EXAMPLE)
_add(app, _MEASURE, evaluate.evaluate, evaluate.EXAMPLES, "eval")
_add(app, _MEASURE, bench.bench, bench.EXAMPLES)

_STEPS, _OTHERS, _TOOLS = "Steps", "Rivals and other methods", "Tools"
_train = _group(train.root, "train", train.EXAMPLES)
_add(_train, _STEPS, train.pretrain, train.PRETRAIN_EXAMPLE)
_add(_train, _STEPS, train.teacher, train.TEACHER_EXAMPLE)
_add(_train, _STEPS, train.student, train.STUDENT_EXAMPLES)
_add(_train, _OTHERS, context_aware.context_aware, context_aware.EXAMPLE)
_add(_train, _OTHERS, bshm.bshm, bshm.EXAMPLE)
_add(_train, _OTHERS, dim.dim, dim.EXAMPLE)
_add(_train, _TOOLS, train_tools.label, train_tools.LABEL_EXAMPLE)
_add(_train, _TOOLS, train_tools.average, train_tools.AVERAGE_EXAMPLE)
_add(_train, _TOOLS, train_tools.pseudo, train_tools.PSEUDO_EXAMPLE)
app.add_typer(_train, rich_help_panel=_TRAIN)
_add(app, _TRAIN, export.export, export.EXAMPLES)
