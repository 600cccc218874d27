"""`wsshm export`: checkpoint or fp32 file → `train.export` → ONNX → `engines.tensorrt` → plan.

Each step says how far its alpha is from that of the step before.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer

from engines.contract import PAPER_SIZE, ModelSpec, Precision
from engines.errors import Unavailable, UsageError, reading
from engines.files import check_free
from engines.video.config import MAX_SIZE, MIN_SIZE
from wsshm_cli import report
from wsshm_cli.help import HelpAll
from wsshm_cli.parse import SIZES

if TYPE_CHECKING:
    from train.export.export import Exported


EXAMPLES = "Example: wsshm export runs/student-lite0/model.safetensors --precision int8"
_output = partial(typer.Option, rich_help_panel="Output")
_card = partial(typer.Option, rich_help_panel="Description in the file")


def export(
    checkpoint: Annotated[
        Path,
        typer.Argument(
            metavar="CHECKPOINT",
            rich_help_panel="Input",
            readable=False,
            help="A run's model.safetensors or step-….pt; with --precision fp16 or --to tensorrt, "
            "also a shipped model or an ONNX file of wsshm.",
        ),
    ],
    calibrate: Annotated[
        Path | None,
        typer.Option(
            "--calibrate",
            metavar="DIR",
            rich_help_panel="Input",
            readable=False,
            help="Images, or training data: int8 is calibrated on them, and every file is compared "
            "with torch on them. [default: $WSSHM_DATA, then ./data]",
        ),
    ] = None,
    to: Annotated[
        Literal["onnx", "tensorrt"],
        _output(
            "--to",
            metavar="onnx|tensorrt",
            help="tensorrt builds a plan for this machine's GPU and keeps it in wsshm's cache; a "
            "checkpoint becomes an ONNX file first.",
        ),
    ] = "onnx",
    precision: Annotated[
        Precision | None,
        _output(
            "--precision",
            metavar="|".join(get_args(Precision)),
            help="fp32 runs anywhere, fp16 is for GPUs, int8 for CPUs. [default: fp32; with --to "
            "tensorrt, fp16 of a checkpoint, a model file's own]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        _output(
            "-o",
            "--output",
            metavar="OUT",
            readable=False,
            help="The ONNX file. [default: CHECKPOINT ending in .onnx, -fp16.onnx or -int8.onnx]",
        ),
    ] = None,
    overwrite: Annotated[bool, _output("--overwrite", help="Replace OUT if it exists.")] = False,
    as_json: Annotated[
        bool, _output("--json", help="Print the result as one JSON object on stdout.")
    ] = False,
    name: Annotated[
        str | None,
        _card("--name", metavar="NAME", help="Name of the model. [default: its run's or file's]"),
    ] = None,
    size: Annotated[
        int | None,
        _card(
            "--size",
            min=MIN_SIZE,
            max=MAX_SIZE,
            metavar="PIXELS",
            help=f"Shorter edge at which it runs by default ({SIZES}). [default: the run's "
            f"largest crop, {PAPER_SIZE} for weights without their run's folder]",
        ),
    ] = None,
    trained_sizes: Annotated[
        list[int] | None,
        _card(
            "--trained-size",
            min=1,
            metavar="PIXELS",
            hidden=True,
            help="Side of the training crops; repeatable. [default: the run's]",
        ),
    ] = None,
    trained_on: Annotated[
        str | None,
        _card(
            "--trained-on",
            metavar="TEXT",
            hidden=True,
            help="The training data, in words. [default: unstated]",
        ),
    ] = None,
    licence: Annotated[
        str | None,
        _card(
            "--licence",
            metavar="TEXT",
            hidden=True,
            help="Licence of the weights. [default: unstated]",
        ),
    ] = None,
    metric: Annotated[
        list[str] | None,
        _card(
            "--metric",
            metavar="NAME=VALUE",
            hidden=True,
            help="A measured figure; repeatable.",
        ),
    ] = None,
    help_all: HelpAll = False,
) -> None:
    """Make a model file from a checkpoint."""
    from engines.models import own_size

    is_model = checkpoint.suffix.lower() not in (".pt", ".safetensors")
    if to == "tensorrt":
        if is_model:
            _check_none(
                checkpoint,
                precision=precision,
                calibrate=calibrate,
                output=output,
                name=name,
                trained_size=trained_sizes,
                trained_on=trained_on,
                licence=licence,
                metric=metric,
            )
            return _build(_onnx(checkpoint), size or own_size(str(checkpoint)), as_json)
        _check_tensorrt(precision)
    elif is_model:
        _check_none(
            checkpoint,
            name=name,
            size=size,
            trained_size=trained_sizes,
            trained_on=trained_on,
            licence=licence,
            metric=metric,
        )
        return _halve(checkpoint, precision, calibrate, output, overwrite, as_json)
    precision = precision or ("fp16" if to == "tensorrt" else "fp32")
    end = ".onnx" if precision == "fp32" else f"-{precision}.onnx"
    out = output or checkpoint.with_name(checkpoint.stem + end)
    check_free(out, overwrite)
    metrics = _metrics(metric or [])
    with reading(checkpoint):
        checkpoint.stat()
    folder = _images(calibrate, needed=precision == "int8")
    exporter = _exporter()
    from engines.models import resolve_model

    net = exporter.load_net(checkpoint)
    sizes = tuple(trained_sizes or exporter.trained_sizes(checkpoint))
    called = name or resolve_model(str(checkpoint))[0]
    spec = ModelSpec(
        called,
        net.arch,
        net.stride,
        size or max(sizes, default=PAPER_SIZE),
        sizes,
        precision,
        trained_on=trained_on or "unstated",
        licence=licence or "unstated",
        metrics=metrics,
    )
    frames = exporter.real_frames(folder, spec.size, spec.stride) if folder else []
    if frames:
        report.line(f"{called}: {net.arch}, compared on {len(frames)} images of {folder}")
    exported = exporter.export(net, out, spec, frames)
    if to == "onnx" or not as_json:
        _show(out, precision, exported, as_json)
    if to == "tensorrt":
        _build(out, None, as_json)


def _halve(
    model: Path,
    precision: Precision | None,
    calibrate: Path | None,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
) -> None:
    """Make a float16 file of a shipped model or of a float32 file, and print the result."""
    from engines.models import own_spec, resolve_model

    called, file = resolve_model(str(model))
    if precision != "fp16":
        raise UsageError(
            f"{model}: is no checkpoint (.pt, .safetensors)",
            "give one, or add --precision fp16 to convert a model file for GPUs",
        )
    beside = model.with_suffix("") if file == model else Path(called)
    out = output or beside.with_name(f"{beside.name}-fp16.onnx")
    check_free(out, overwrite)
    folder = _images(calibrate, needed=False)
    exporter = _exporter()
    from engines.onnx_engine import OnnxEngine

    spec = own_spec(str(model), OnnxEngine(file).spec)
    if spec.precision != "fp32":
        raise UsageError(f"{model}: is {spec.precision}", "give a file in fp32, or a checkpoint")
    frames = exporter.real_frames(folder, spec.size, spec.stride) if folder else []
    exported = exporter.export_half(file, out, replace(spec, precision="fp16"), frames)
    _show(out, "fp16", exported, as_json, of="the file")


def _exporter() -> Any:
    """Return `train.export.export`; raises Unavailable."""
    try:  # torch takes seconds: what is wrong before is said at once
        from train.export import export as exporter
    except ModuleNotFoundError as e:
        raise Unavailable(f"export needs {e.name}", "run: pip install 'wsshm[train]'") from e
    return exporter


def _check_tensorrt(precision: Precision | None) -> None:
    """Raise UsageError or Unavailable before any work is done."""
    from engines.cuda import find_gpu
    from engines.tensorrt.engine import import_tensorrt

    if precision == "int8":
        raise UsageError("--precision int8 is for CPUs", "--to tensorrt takes fp16 or fp32")
    find_gpu()
    import_tensorrt()


def _check_none(model: Path, **options: object) -> None:
    """Raise UsageError for an option that is given and does not apply to a model file."""
    for name, value in options.items():
        if value is not None:
            raise UsageError(
                f"--{name.replace('_', '-')} is for a checkpoint: {model} is a model file already",
                "leave it out",
            )


def _onnx(model: Path) -> Path:
    """Return a shipped model's file for GPUs, or the file at a path."""
    from engines.models import files, resolve_model

    resolve_model(str(model))  # raises CannotOpen with the argument as it was given
    return next(iter(files(str(model), ("fp16", "fp32")).values()))


def _build(model: Path, size: int | None, as_json: bool) -> None:
    """Build a TensorRT plan, and print the result."""
    from engines.tensorrt.build import build_plan

    with report.bar(" %") as show:
        built = build_plan(
            model,
            size=size,
            on_progress=lambda phase, fraction: show(round(100 * fraction), 100, phase),
        )
    if as_json:
        report.as_json(
            {
                "file": str(built.path),
                "bytes": built.path.stat().st_size,
                "model": str(model),
                "is_new": built.is_new,
                "parity": built.plan.parity,
            }
        )
        return
    found = "built" if built.is_new else "already in the cache"
    report.out(f"{built.path}: plan of {model}, {found}")
    values = ", ".join(f"{name} {value:.2g}" for name, value in built.plan.parity.items())
    report.out(f"alpha differs from ONNX Runtime's by {values}")


def _metrics(given: list[str]) -> dict[str, float]:
    """Return ``NAME=VALUE`` of each ``--metric``; raises UsageError."""
    found = {}
    for text in given:
        name, _, value = text.partition("=")
        try:
            found[name] = float(value)
        except ValueError:
            raise UsageError(f"--metric {text}: write NAME=VALUE with a number as VALUE") from None
    return found


def _images(given: Path | None, needed: bool) -> Path | None:
    """Return the folder of images; None if it is missing and not `needed`."""
    from engines.datasets.layout import find_data

    try:
        return find_data(given)
    except UsageError:
        if needed:
            raise UsageError(
                "int8 is calibrated on real images", "name a folder of them with --calibrate"
            ) from None
        report.line("compared on synthetic frames only; --calibrate takes real images")
        return None


def _show(
    out: Path, precision: Precision, exported: Exported, as_json: bool, of: str = "torch"
) -> None:
    """Print what was written, and how far its alpha is from that `of` what it was made from."""
    if as_json:
        report.as_json(
            {"file": str(out), "bytes": out.stat().st_size, "precision": precision}
            | asdict(exported)
        )
        return
    report.out(f"{out}: {precision}, {out.stat().st_size / 1e6:.1f} MB")
    report.out(f"alpha differs from {of}'s by {exported.parity}")
    if exported.peak is not None:
        report.out(f"largest value: {exported.peak:.0f}; float16 holds 65504")
    if exported.floats is not None:
        report.out(f"convolutions that stay in float32: {exported.floats}")
    if exported.tap is not None:
        report.out(f"float32 up to {exported.tap}, int8 from there on")
