"""`wsshm train average` and `pseudo`: tools for masks and finished weights."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from engines.errors import UsageError
from wsshm_cli import report
from wsshm_cli.train import require_torch

AVERAGE_EXAMPLE = "Example: wsshm train average mean.safetensors STUDENT=0.7 TEACHER=0.3"
PSEUDO_EXAMPLE = "Example: wsshm train pseudo fast IMAGES BOXES.csv DATA/seg/NAME"


def average(
    out: Annotated[
        Path, typer.Argument(metavar="OUT", readable=False, help="The .safetensors file to write.")
    ],
    files: Annotated[
        list[str],
        typer.Argument(
            metavar="FILE[=WEIGHT]",
            help="Weights of one architecture; WEIGHT is relative, 1 unless given.",
        ),
    ],
) -> None:
    """Write the weighted mean of finished weights."""
    parts = [_part(text) for text in files]
    require_torch()
    from train.checkpoint.checkpoint import save_weights
    from train.tools import average as tool

    arch, mean = tool.average(parts)
    names = ", ".join(f"{path.parent.name}/{path.name} {weight:g}" for path, weight in parts)
    save_weights(out, arch, mean, {"mean_of": names})
    report.out(f"{out}: {arch}, the mean of {names}")


def pseudo(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A shipped model or an ONNX file.")],
    images: Annotated[Path, typer.Argument(metavar="IMAGES", help="The folder of photographs.")],
    boxes: Annotated[
        Path,
        typer.Argument(
            metavar="BOXES.csv",
            help="Columns name, cx, cy, w, h: the box of each person, in parts of the image.",
        ),
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The set to write, DATA/seg/NAME.")],
) -> None:
    """Make masks for photographs with boxes."""
    from engines.models import resolve_model
    from train.tools.pseudo import label_folder

    _, file = resolve_model(model)
    with report.bar(" images") as show:
        kept, total = label_folder(file, images, boxes, out, show)
    report.out(f"{out}: {kept} of {total} images; the others have a box with nobody in it")


def _part(text: str) -> tuple[Path, float]:
    """Return ``FILE=WEIGHT`` as file and weight; raises UsageError."""
    name, sign, weight = text.rpartition("=")
    if not sign:
        return Path(text), 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"{text}: not a weight", "write FILE=WEIGHT with a weight over 0")
    return Path(name), value
