"""Help pages: commands and options in groups, rare options under ``--help-all``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from engines.errors import UsageError
from wsshm_cli import report

GROUPS = {"argument": "Arguments", "option": "Options"}  # of parameters that name none
COLUMN = 24  # characters of the first column; a longer entry has a line to itself
ALL = "wsshm_cli.help.all"  # key in a context's `meta`: show every option


class Command(TyperCommand):
    """A command whose options are listed by their ``rich_help_panel``.

    An option declared as hidden is left out of ``--help`` and listed by ``--help-all``; the shell
    completes it like any other.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.rare = {p.name for p in self.params if isinstance(p, TyperOption) and p.hidden}
        for param in self.params:
            if isinstance(param, TyperOption):
                param.hidden = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments, and say how to name a file that looks like an option."""
        given = list(args)
        try:
            rest: list[str] = super().parse_args(ctx, args)
        except Exception as e:
            files = [a for a in given if a[:1] == "-" and a != "-" and Path(a).exists()]
            if type(e).__name__ == "NoSuchOption" and files:  # click's, wherever Typer keeps it
                raise UsageError(
                    f"{files[0]}: begins like an option", f"name it after --, or as ./{files[0]}"
                ) from e
            raise
        return rest

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write every group that has options to show, with one width of the first column."""
        groups: dict[str, list[tuple[str, str]]] = {}
        for param in self.get_params(ctx):
            if param.name not in self.rare or ctx.meta.get(ALL):
                group = getattr(param, "rich_help_panel", None) or GROUPS[param.param_type_name]
                groups.setdefault(group, []).append(_row(param))
        groups[GROUPS["option"]] = groups.pop(GROUPS["option"])  # the last
        for title, rows in groups.items():
            with formatter.section(title):
                formatter.write_dl([(left.ljust(COLUMN), right) for left, right in rows], COLUMN)


class Group(TyperGroup):
    """A group of commands that are listed by their ``rich_help_panel``, in the order of adding."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write every group of commands, with one width of the first column."""
        names = self.list_commands(ctx)
        width, panels = max(map(len, names)), dict[str, list[tuple[str, str]]]()
        for name in names:
            command: Any = self.get_command(ctx, name)
            panel = getattr(command, "rich_help_panel", None)
            text = command.get_short_help_str(formatter.width - 6 - width)
            panels.setdefault(panel if isinstance(panel, str) else "Commands", []).append(
                (name.ljust(width), text)
            )
        for title, rows in panels.items():
            with formatter.section(title):
                formatter.write_dl(rows)


def _row(param: Any) -> tuple[str, str]:
    """Return the two columns of a parameter: how it is written, and what it does."""
    text = param.help or ""
    if param.param_type_name == "argument":
        return param.metavar + ("..." if param.nargs != 1 else ""), text
    names = ", ".join(sorted(param.opts, key=len))
    if param.secondary_opts:
        names += f" / {', '.join(param.secondary_opts)}"
    if param.metavar:
        names += f" {param.metavar}"
    default = getattr(param.default, "value", param.default)
    if param.show_default and isinstance(default, str | int | float | Path) and not param.is_flag:
        text += (
            f" [default: {default:g}]" if isinstance(default, float) else f" [default: {default}]"
        )
    return names, text


def _show_all(ctx: typer.Context, wanted: bool) -> None:
    if wanted:
        ctx.meta[ALL] = True
        report.out(ctx.get_help())
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option("--help-all", is_eager=True, callback=_show_all, help="Show all options."),
]
