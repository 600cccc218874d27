"""`wsshm train bshm`: a rival of the method, as its paper compares itself with it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from train.networks import UNETS
from wsshm_cli import train_options as options
from wsshm_cli.help import HelpAll
from wsshm_cli.train import train_step

EXAMPLE = "Example: wsshm train bshm --data DATA"

Arch = Annotated[
    str | None,
    typer.Option(
        "--arch",
        metavar="NAME",
        rich_help_panel="Network",
        help=f"U-Net of the last network: {', '.join(UNETS)}. Those before it are r18x0.5 if it is "
        "r18 or larger, else the same. [default: the recipe's]",
    ),
]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init",
        metavar="FILE",
        rich_help_panel="Network",
        help="Begin after the second network, with its weights.",
    ),
]


def bshm(
    data: options.Data = None,
    masks: options.Masks = None,
    mattes: options.Mattes = None,
    workers: options.Workers = None,
    cache_mb: options.CacheMB = None,
    arch: Arch = None,
    init: Init = None,
    encoder_weights: options.EncoderWeights = "auto",
    tf_encoder: options.TfEncoder = False,
    recipe: options.Recipe = "paper",
    resume: options.Resume = False,
    device: options.Device = "auto",
    precision: options.Precision = None,
    seed: options.Seed = None,
    runs: options.Runs = Path("runs"),
    out: options.Out = None,
    help_all: HelpAll = False,
) -> None:
    """A rival: three networks, from mask to matte.

    They learn one after the other: masks, masks of even quality, mattes (BSHM, 2020). Those that
    are finished in RUNS are not trained again. The last file has all three and runs like any other.
    """
    config: dict[str, Any] = {"arch": arch, "seed": seed, "masks": masks, "mattes": mattes}
    config |= {"precision": precision}
    start = {"cache_mb": cache_mb, "init": init, "encoder": encoder_weights, "tf_range": tf_encoder}
    train_step("bshm", recipe, config, runs, out, data, device, workers, resume, **start)
