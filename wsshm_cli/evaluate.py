"""`wsshm eval`: models and data → `engines.measure.quality` → tables, JSON, a contact sheet."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engines.contract import PAPER_SIZE, ModelSpec
from engines.errors import BadData, Unavailable, UsageError, WsshmError
from engines.measure.estimators.open import describe_estimators
from engines.measure.quality.sets import Set
from engines.video.config import MAX_SIZE, MIN_SIZE
from wsshm_cli import report
from wsshm_cli.help import HelpAll
from wsshm_cli.parse import SIZES

if TYPE_CHECKING:
    from engines.measure.estimators.estimator import Estimator
    from engines.measure.quality.cases import Case
    from engines.measure.quality.clips import Part
    from engines.measure.quality.evaluate import Row

CLIP = "CLIP[@FIRST-LAST]"


EXAMPLES = "Example: wsshm eval default peer.onnx --data DIR"
_models = partial(typer.Option, rich_help_panel="Models")
_data_group = partial(typer.Option, rich_help_panel="Data")
_output = partial(typer.Option, rich_help_panel="Output")


def evaluate(
    model: Annotated[
        list[str],
        typer.Argument(
            metavar="MODEL",
            rich_help_panel="Models",
            help=f"A shipped model, {describe_estimators()}, or a checkpoint (.pt, .safetensors). "
            "Each is compared with the first.",
        ),
    ],
    size: Annotated[
        int | None,
        _models(
            "--size",
            min=MIN_SIZE,
            max=MAX_SIZE,
            metavar="PIXELS",
            help=f"Shorter edge of our models' input ({SIZES}). [default: each model's own, "
            f"{PAPER_SIZE} for weights without their run's folder]",
        ),
    ] = None,
    as_run: Annotated[
        bool,
        _models(
            "--as-run",
            help="Post-process our mattes as wsshm run does: refined at the image's edges and, in "
            "clips, smoothed over time.",
        ),
    ] = False,
    data: Annotated[
        Path | None,
        _data_group(
            "--data",
            metavar="DIR",
            readable=False,
            help="Folder with seg/SET/images and masks, matte/SET/… and background. "
            "[default: $WSSHM_DATA, then ./data]",
        ),
    ] = None,
    sets: Annotated[
        list[Set] | None,
        _data_group(
            "--set",
            metavar="|".join(Set),
            help="What to measure on; repeatable. [default: all that DIR holds]",
        ),
    ] = None,
    split: Annotated[
        str,
        _data_group("--split", metavar="val|test|train", hidden=True, help="Which images of DIR."),
    ] = "val",
    only: Annotated[
        str | None,
        _data_group(
            "--only", metavar="GLOB", hidden=True, help="Only images whose source/name matches."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        _data_group("--limit", min=1, metavar="N", help="Use at most N images of each source."),
    ] = None,
    side: Annotated[
        int | None,
        _data_group(
            "--square",
            min=8,
            max=MAX_SIZE,
            metavar="PIXELS",
            hidden=True,
            help="Stretch images and truth to squares of this side first, as papers do that work "
            "on 28×28.",
        ),
    ] = None,
    green: Annotated[
        list[str] | None,
        _data_group(
            "--green",
            metavar=CLIP,
            hidden=True,
            help="Measure on this clip of a green screen too, against its keyed alpha. FIRST and "
            "LAST count frames from 0; repeatable.",
        ),
    ] = None,
    empty: Annotated[
        list[str] | None,
        _data_group(
            "--empty",
            metavar=CLIP,
            hidden=True,
            help="Measure on this clip without people how much is taken for a person; repeatable.",
        ),
    ] = None,
    static: Annotated[
        list[str] | None,
        _data_group(
            "--static",
            metavar=CLIP,
            hidden=True,
            help="Measure on this clip with a still camera and background how much alpha flickers "
            "where the frame does not change; repeatable.",
        ),
    ] = None,
    sheet: Annotated[
        Path | None,
        _output(
            "--sheet",
            metavar="FILE.png",
            readable=False,
            help="Draw each model's worst, median and best case of every set.",
        ),
    ] = None,
    overwrite: Annotated[
        bool, _output("--overwrite", help="Replace FILE.png if it exists.")
    ] = False,
    as_json: Annotated[
        bool, _output("--json", help="Print JSON on stdout instead of tables.")
    ] = False,
    help_all: HelpAll = False,
) -> None:
    """Measure the quality of models on labelled data."""
    from engines.measure.drawing import check_path
    from engines.measure.estimators.estimator import GuidedEstimator
    from engines.measure.quality import evaluate as measure
    from engines.measure.quality import table
    from engines.measure.quality.cases import squared
    from engines.measure.quality.sheet import Sheet

    if split not in ("val", "test", "train"):
        raise UsageError(f"--split {split}: no such split", "use val, test or train")
    if sheet is not None:
        check_path("--sheet", sheet, overwrite)
    wanted = sets or None
    clips = _clips(green=green, empty=empty, static=static)
    root = _data(data, needed=not clips or wanted is not None)
    if split == "train" and root is not None:
        report.warning(
            f"train images: a model that learnt from them scores too well; to keep some out of "
            f"training, list them in {root / 'val.txt'}"
        )
    estimators = [_open(name, size, as_run) for name in model]
    for estimator in estimators:
        if static and isinstance(estimator, GuidedEstimator):
            raise UsageError(
                f"{estimator.name}: it needs the truth, and --static has none",
                "measure it without --static",
            )
    guided = [m for m in estimators if isinstance(m, GuidedEstimator) and m.needs_alpha]
    excluded = {name: guided[0].name for name in ("masks", "empty") if guided}
    for name in {*(wanted or ()), *clips} & excluded.keys():
        raise UsageError(
            f"{excluded[name]}: takes trimaps, which are made of an alpha; {name} has none",
            "measure it on --set mattes or composites",
        )
    called = [m.name for m in estimators]
    for estimator, typed in zip(estimators, model, strict=True):
        if called.count(estimator.name) > 1:
            estimator.name = typed
    names = [m.name for m in estimators]
    if len(set(names)) < len(names):
        raise UsageError(f"the same model twice: {', '.join(names)}", "name each once")
    watch = Sheet() if sheet is not None else None
    rows: list[Row] = []
    for name, total, cases in _sets(root, wanted, clips, split, only, limit, excluded):
        if side is not None:
            cases = (squared(case, side) for case in cases)
        found = measure.evaluate(estimators, _counted(cases, name, total), watch)
        rows += found
        figures = [v for row in found for v in row.values.values()]
        if name == "static" and found and all(v != v for v in figures):
            raise UsageError("--static: no two images in a row have a part that stands still")
    if not rows:
        if only or root is None or split != "val":
            raise UsageError(f"no {split} images to measure" + (f" match {only}" if only else ""))
        raise UsageError(
            "no val images to measure", f"list some in {root / 'val.txt'}, or use --split train"
        )
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
    """Return the data folder; None if it is missing and not `needed`."""
    from engines.datasets.layout import find_data

    try:
        return find_data(given)
    except UsageError:
        if needed:
            raise
        return None


def _open(name: str, size: int | None, as_run: bool) -> Estimator:
    """Open a model of any kind; a checkpoint is exported to a temporary file first."""
    from engines.measure.estimators.open import open_estimator
    from engines.models import resolve_model

    if not name.lower().endswith((".pt", ".safetensors")):
        return open_estimator(name, size=size, as_run=as_run)
    called, path = resolve_model(name)
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        exported = Path(folder) / f"{path.stem}.onnx"
        _export(path, exported, size or _trained_size(path))
        return open_estimator(exported, called, size, as_run)  # holds all of the file


def _trained_size(checkpoint: Path) -> int:
    """Return the largest crop of the checkpoint's run, in pixels; the paper's if unknown."""
    from train.config import saved

    try:
        return max(size for stage in saved(checkpoint.parent)["stages"] for size in stage["sizes"])
    except (WsshmError, ValueError, KeyError, TypeError):
        return PAPER_SIZE


def _export(checkpoint: Path, out: Path, size: int) -> None:
    """Write a checkpoint as an ONNX file; raises Unavailable if training is not installed."""
    try:
        from train.export.export import export, load_net
    except ModuleNotFoundError as e:
        raise Unavailable(
            f"{checkpoint}: a checkpoint needs {e.name}",
            "run: pip install 'wsshm[train]', or give the exported ONNX file",
        ) from e
    net = load_net(checkpoint)
    export(net, out, ModelSpec(checkpoint.stem, net.arch, net.stride, size, ()))


def _clips(**given: list[str] | None) -> dict[str, list[Part]]:
    """Return the clips of each option that is used; raises as `Part.parse`."""
    from engines.measure.quality.clips import Part

    return {name: [Part.parse(t) for t in texts] for name, texts in given.items() if texts}


def _sets(
    root: Path | None,
    wanted: list[Set] | None,
    clips: dict[str, list[Part]],
    split: str,
    only: str | None,
    limit: int | None,
    excluded: dict[str, str],
) -> Iterator[tuple[str, int | None, Iterator[Case]]]:
    """Yield name, number of cases (None if not known) and cases of each set that exists.

    Args:
        excluded: the sets that a model cannot be measured on, and the model.
    """
    from engines.measure.quality import cases, green_screen
    from engines.measure.quality.clips import empty, static

    for name, find in cases.SETS.items():
        if root is None or (wanted is not None and name not in wanted):
            continue
        if name in excluded:
            report.line(f"{name}: left out, as {excluded[name]} takes trimaps made of an alpha")
            continue
        found = find(root, split)
        if not found:
            if wanted is not None:
                raise BadData(f"{root}: nothing for --set {name} in its {split} images")
            report.line(f"{name}: left out, as {root} has no {split} images for it")
            continue
        chosen = list(cases.choose(found, only, limit))
        if chosen:
            yield name, len(chosen), iter(chosen)
    find_in = {"green": green_screen.cases, "empty": empty, "static": static}
    for option, parts in clips.items():
        frames = (case for part in parts for case in islice(find_in[option](part), limit))
        yield option, None, cases.choose(frames, only, limit)


def _counted(cases: Iterator[Case], name: str, total: int | None) -> Iterator[Case]:
    """Yield the cases, and draw a bar of how many have been measured."""
    with report.bar(" images", name) as show:
        show(0, total)
        for done, case in enumerate(cases, 1):
            yield case
            show(done, total)
