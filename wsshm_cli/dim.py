"""`wsshm train dim`: options → `train.chain.chain` → lines and an exit code."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from train.networks import describe_architectures
from wsshm_cli import report
from wsshm_cli import train_options as options
from wsshm_cli.help import HelpAll
from wsshm_cli.train import require_torch

EXAMPLE = "Example: wsshm train dim --data DATA --augment"
LEFT_OUT = "val.txt"


def dim(
    data: options.Data = None,
    mattes: options.Mattes = None,
    workers: options.Workers = None,
    cache_mb: options.CacheMB = None,
    arch: Annotated[
        str | None,
        typer.Option(
            "--arch",
            metavar="NAME",
            rich_help_panel="Network",
            help=f"{describe_architectures(takes_trimap=True)}. [default: the recipe's]",
        ),
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            metavar="FILE",
            rich_help_panel="Network",
            help="Start from these weights, a checkpoint of wsshm.",
        ),
    ] = None,
    encoder_weights: options.EncoderWeights = "auto",
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            rich_help_panel="Training",
            help="paper (pictures of 28×28), dim320 (crops of 320×320), or your own TOML file.",
        ),
    ] = "paper",
    augment: Annotated[
        bool | None,
        typer.Option(
            "--augment/--no-augment",
            rich_help_panel="Training",
            help="Mirror and rotate half of the pictures, or none. [default: the recipe's]",
        ),
    ] = None,
    resume: options.Resume = False,
    device: options.Device = "auto",
    precision: options.Precision = None,
    seed: options.Seed = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
    help_all: HelpAll = False,
) -> None:
    """Deep Image Matting: alpha from image and trimap.

    Trimaps are made of the mattes in the data, so that the result is for comparison: wsshm eval
    measures it, and wsshm run, which has no trimap, refuses it.
    """
    require_torch()
    from engines.datasets.layout import find_data
    from engines.files import replacing
    from train import config as configs
    from train.chain import chain
    from train.data.trimaps import held_out, with_epochs
    from train.run import Run

    fields: dict[str, Any] = {"arch": arch, "seed": seed, "mattes": mattes, "precision": precision}
    fields["turned"] = None if augment is None else 0.5 * augment
    root = find_data(data)
    config = with_epochs(configs.load(recipe, "dim", **fields), root)
    folder = out or runs / f"dim-{config.arch}"
    run = Run(
        config,
        root,
        folder,
        init=init,
        encoder=encoder_weights,
        resume=resume,
        workers=workers,
        cache_mb=cache_mb,
    )
    with report.bar(" steps", slow=True) as show:
        code = chain(run, recipe, runs, device, report.line, show)
    left_out = [path.relative_to(root).as_posix() for path in held_out(root)]
    if left_out and code == 0:
        listing = folder / LEFT_OUT
        with replacing(listing) as f:
            f.write("".join(f"{path}\n" for path in left_out).encode())
        report.line(
            f"{root} names no val images, so a fifth was left out: {listing} lists it; "
            f"copied to {root}, wsshm eval measures on it"
        )
    raise typer.Exit(code)
