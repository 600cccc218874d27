"""`wsshm eval`: models and data → `engines.measure.quality` → tables, JSON, a contact sheet."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.contract import PAPER_SIZE
from engines.measure.estimators.open import describe_estimators
from wsshm_cli import report
from wsshm_cli.app import app, ending

if TYPE_CHECKING:
    from engines.measure.estimators.estimator import Estimator
    from engines.measure.quality.cases import Case
    from engines.measure.quality.clips import Part
    from engines.measure.quality.evaluate import Row

CLIP = "CLIP[@FIRST-LAST]"


class Set(str, Enum):
    """As `engines.measure.quality.cases.SETS`, without importing it for ``--help``."""

    masks = "masks"
    mattes = "mattes"
    composites = "composites"
    empty = "empty"


@app.command("eval")
def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL...",
            show_default=False,
            help=f"A shipped model, {describe_estimators()}, or a checkpoint (.pt, .safetensors). "
            "The others are compared with the first.",
        ),
    ],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="DIR",
            readable=False,
            help="seg/<set>/images + masks, matte/<set>/…, background. "
            "[default: $WSSHM_DATA, then ./data]",
        ),
    ] = None,
    sets: Annotated[
        list[Set] | None,
        typer.Option(
            "--set",
            metavar="masks|mattes|composites|empty",
            help="What to measure on; may be given again. [default: all that DIR holds]",
        ),
    ] = None,
    green: Annotated[
        list[str] | None,
        typer.Option(
            "--green",
            metavar=CLIP,
            help="Measure on this clip before a green screen too; its alpha is keyed. FIRST and "
            "LAST count images from 0; may be given again.",
        ),
    ] = None,
    empty: Annotated[
        list[str] | None,
        typer.Option(
            "--empty",
            metavar=CLIP,
            help="Measure on this clip that shows nobody: how much is taken for a person.",
        ),
    ] = None,
    static: Annotated[
        list[str] | None,
        typer.Option(
            "--static",
            metavar=CLIP,
            help="Measure on this clip whose camera and background stand still: how much alpha "
            "flickers where the image does not change.",
        ),
    ] = None,
    split: Annotated[
        str, typer.Option("--split", metavar="val|test|train", help="Which images of DIR.")
    ] = "val",
    size: Annotated[
        int | None,
        typer.Option(
            "--size",
            min=64,
            max=2160,
            metavar="N",
            help="Shorter edge our models see, in pixels. [default: each model's own, "
            f"{PAPER_SIZE} for weights without their run's folder]",
        ),
    ] = None,
    as_run: Annotated[
        bool,
        typer.Option(
            "--as-run",
            help="Our mattes as wsshm run writes them: fitted to the image's edges and, in "
            "clips, smoothed from frame to frame.",
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option("--limit", min=1, metavar="N", help="At most N images of each source."),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", metavar="GLOB", help="Only images whose source/name matches."),
    ] = None,
    sheet: Annotated[
        Path | None,
        typer.Option(
            "--sheet",
            metavar="FILE.png",
            readable=False,
            help="Draw each model's worst, median and best case of every set.",
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace FILE.png.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON on stdout instead of tables.")
    ] = False,
) -> None:
    """How good models are: wsshm eval default peer.onnx --data DIR"""
    with ending():
        from engines.errors import UsageError
        from engines.measure.drawing import check_path
        from engines.measure.quality import evaluate as measure
        from engines.measure.quality import table
        from engines.measure.quality.sheet import Sheet

        if split not in ("val", "test", "train"):
            raise UsageError(f"--split {split}: no such split; use val, test or train")
        if sheet is not None:
            check_path("--sheet", sheet, overwrite)
        wanted = [s.value for s in sets] if sets else None
        clips = _clips(green=green, empty=empty, static=static)
        root = _data(data, needed=not clips or wanted is not None)
        estimators = [_open(name, size, as_run) for name in model]
        called = [m.name for m in estimators]
        for estimator, typed in zip(estimators, model, strict=True):
            if called.count(estimator.name) > 1:
                estimator.name = typed
        names = [m.name for m in estimators]
        if len(set(names)) < len(names):
            raise UsageError(f"the same model twice: {', '.join(names)}")
        watch = Sheet() if sheet is not None else None
        rows: list[Row] = []
        for name, total, cases in _sets(root, wanted, clips, split, only, limit):
            found = measure.evaluate(estimators, _shown(cases, name, total), watch)
            rows += found
            figures = [v for row in found for v in row.values.values()]
            if name == "static" and found and all(v != v for v in figures):
                raise UsageError("--static: no two images in a row of which a part stands still")
        if not rows:
            raise UsageError(f"no {split} images to measure" + (f" match {only}" if only else ""))
        if sheet is not None and watch is not None:
            watch.write(sheet, rows, names)
        if as_json:
            report.as_json(table.as_json(rows, estimators, split))
        else:
            for line in table.lines(rows, estimators, split):
                report.out(line)
        if sheet is not None:
            report.line(f"contact sheet → {sheet}")


def _data(given: Path | None, needed: bool) -> Path | None:
    """The data folder; None where it is not `needed` and there is none."""
    from engines.datasets.layout import find_data
    from engines.errors import UsageError

    try:
        return find_data(given)
    except UsageError:
        if needed:
            raise
        return None


def _open(name: str, size: int | None, as_run: bool) -> Estimator:
    """A model of any kind, ready to be measured; a checkpoint is exported first."""
    from engines.measure.estimators.open import open_estimator
    from engines.models import resolve_model

    if not name.lower().endswith((".pt", ".safetensors")):
        return open_estimator(name, size=size, as_run=as_run)
    called, path = resolve_model(name)
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        exported = Path(folder) / f"{path.stem}.onnx"
        _export(path, exported, size or _trained_size(path))
        return open_estimator(exported, called, size, as_run)  # read whole, so the file may go


def _trained_size(checkpoint: Path) -> int:
    """The largest crop that a run's checkpoint has seen, as its folder tells; else the paper's."""
    from engines.errors import WsshmError
    from train.config import saved

    try:
        return max(size for stage in saved(checkpoint.parent)["stages"] for size in stage["sizes"])
    except (WsshmError, ValueError, KeyError, TypeError):
        return PAPER_SIZE


def _export(checkpoint: Path, out: Path, size: int) -> None:
    """Raises Unavailable where what training needs is not installed."""
    from engines.contract import ModelSpec
    from engines.errors import Unavailable

    try:
        from train.export.export import export, load_net
    except ModuleNotFoundError as e:
        raise Unavailable(
            f"{checkpoint}: a checkpoint needs {e.name}; pip install 'wsshm[train]', "
            "or give the exported ONNX file"
        ) from e
    net = load_net(checkpoint)
    export(net, out, ModelSpec(checkpoint.stem, net.arch, net.stride, size, ()))


def _clips(**given: list[str] | None) -> dict[str, list[Part]]:
    """The clips of each option that is used; raises as `Part.parse`."""
    from engines.measure.quality.clips import Part

    return {name: [Part.parse(t) for t in texts] for name, texts in given.items() if texts}


def _sets(
    root: Path | None,
    wanted: list[str] | None,
    clips: dict[str, list[Part]],
    split: str,
    only: str | None,
    limit: int | None,
) -> Iterator[tuple[str, int | None, Iterator[Case]]]:
    """Name, number of cases where it is known, and cases of each set that is there."""
    from engines.errors import BadData
    from engines.measure.quality import cases, green_screen
    from engines.measure.quality.clips import empty, static

    for name, find in cases.SETS.items():
        if root is None or (wanted is not None and name not in wanted):
            continue
        found = find(root, split)
        if not found:
            if wanted is not None:
                raise BadData(f"{root}: nothing for --set {name} in its {split} images")
            report.line(f"{name}: left out, {root} holds no {split} images for it")
            continue
        chosen = list(cases.choose(found, only, limit))
        if chosen:
            yield name, len(chosen), iter(chosen)
    find_in = {"green": green_screen.cases, "empty": empty, "static": static}
    for name, parts in clips.items():
        frames = (case for part in parts for case in islice(find_in[name](part), limit))
        yield name, None, cases.choose(frames, only, limit)


def _shown(cases: Iterator[Case], name: str, total: int | None) -> Iterator[Case]:
    from tqdm import tqdm

    pause = 0.2 if sys.stderr.isatty() else 10.0
    bar: Iterator[Case] = tqdm(
        cases, desc=name, total=total, unit=" images", dynamic_ncols=True, mininterval=pause
    )
    return bar
