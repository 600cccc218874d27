"""The commands, and how their errors end."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from engines.errors import WsshmError
from wsshm_cli import __version__, report

app = typer.Typer(
    name="wsshm",
    help="Cut people out of video: no green screen, no GPU needed.",
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@contextmanager
def ending() -> Iterator[None]:
    """One line and an exit code for our errors; a traceback and 70 for our faults."""
    try:
        yield
    except WsshmError as e:
        report.error(str(e))
        raise typer.Exit(e.exit_code) from e
    except (typer.Exit, typer.Abort):
        raise
    except BrokenPipeError:  # whoever reads our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit from None
    except Exception as e:
        report.fault(e)
        raise typer.Exit(WsshmError.exit_code) from e


def _version(wanted: bool) -> None:
    if wanted:
        print(f"wsshm {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Cut people out of video: no green screen, no GPU needed."""


# Each module registers its command on `app`; their bodies import what they need.
from wsshm_cli import bench, doctor, evaluate, export, models, run, train  # noqa: E402, F401
