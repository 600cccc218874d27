"""`wsshm train label`, `pseudo` and `average`: tools for masks and finished weights."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from engines.errors import BadData, UsageError
from engines.files import check_free
from engines.measure.estimators.open import describe_files
from wsshm_cli import report, signals
from wsshm_cli import train_options as options
from wsshm_cli.train import require_torch

AVERAGE_EXAMPLE = "Example: wsshm train average mean.safetensors STUDENT=0.7 TEACHER=0.3"
LABEL_EXAMPLE = "Example: wsshm train label --with isnet.onnx --data DATA --sheet labels.png"
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
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace OUT if it exists.")
    ] = False,
) -> None:
    """Write the weighted mean of finished weights."""
    parts = [_part(text) for text in files]
    if out.suffix != ".safetensors":
        raise UsageError(f"{out}: OUT must end in .safetensors")
    check_free(out, overwrite, "name another OUT")
    require_torch()
    from train.checkpoint.checkpoint import save_weights
    from train.tools import average as tool

    arch, mean = tool.average(parts)
    names = ", ".join(f"{path.parent.name}/{path.name} {weight:g}" for path, weight in parts)
    save_weights(out, arch, mean, {"mean_of": names})
    report.out(f"{out}: {arch}, the mean of {names}")


def label(
    model: Annotated[
        str,
        typer.Option(
            "--with",
            metavar="MODEL",
            help=f"The teacher: a shipped model, or {describe_files()}. See that its licence lets "
            "it teach.",
        ),
    ],
    data: options.Data = None,
    sets: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="SET",
            help="Only photographs of DIR/seg/SET; repeatable. [default: all]",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            readable=False,
            help="Draw photographs of every set with what is learnt of their fine labels.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace FILE.png if it exists.")
    ] = False,
    recipe: Annotated[
        str,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="Whose fine_radius, fine_agreement and fine_doubt the sheet shows.",
        ),
    ] = "paper",
) -> None:
    """Make fine labels for photographs with masks.

    A teacher's alphas, from which training learns the edges of the persons in the masks. Those that
    exist in DIR/seg/SET/fine are kept, so a run that was stopped goes on.
    """
    from engines.datasets.layout import find_data
    from engines.measure.drawing import check_path
    from engines.measure.estimators.open import open_estimator
    from engines.models import resolve_model
    from train import config as configs
    from train.data.blend import BlendRule
    from train.tools import label as tool
    from train.tools.label_sheet import draw

    if sheet is not None:
        check_path("--sheet", sheet, overwrite)
    rule = BlendRule.of(configs.load(recipe, "student"))
    root = find_data(data)
    pairs = tool.photographs(root, sets or ())
    todo = tool.jobs(root, pairs)
    _, file = resolve_model(model, "--with ")
    teacher = open_estimator(model)

    caught: list[int] = []

    def stop(signum: int, _: Any) -> None:
        if caught:
            os._exit(128 + signum)
        caught.append(signum)

    signals.handle(stop)
    faults = made = 0
    with report.bar(" images") as show:
        show(0, len(todo))
        for done, fault in enumerate(tool.label(teacher, file, todo), 1):
            if fault:
                report.warning(fault)
            faults, made = faults + bool(fault), made + (not fault)
            show(done, len(todo))
            if caught and done < len(todo):
                report.line(f"stopped, {len(todo) - done} are left; the same command goes on")
                raise typer.Exit(128 + caught[0])
    signals.end_on_signals()  # all labels are written
    if sheet is not None:
        draw(sheet, tool.photographs(root, sets or ()), rule, report.warning)
        report.line(f"contact sheet → {sheet}")
    kept = f", {len(pairs) - len(todo)} were there already" if len(todo) < len(pairs) else ""
    report.out(f"{root}: {made} fine labels made by {teacher.name}{kept}")
    if faults:
        raise BadData(
            f"{root}: {faults} of {len(pairs)} photographs have no fine label, as said above",
            "repair or remove their files and run again",
        )


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
    """Make masks for photographs with boxes.

    Masks that exist in OUT are kept, so a run that was stopped goes on.
    """
    from engines.engine import as_shipped, open_engine
    from engines.models import resolve_model
    from train.tools.pseudo import label_folder

    _, file = resolve_model(model)
    engine = as_shipped(open_engine(file), model)
    with report.bar(" images") as show:
        kept, total = label_folder(engine, images, boxes, out, show)
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
