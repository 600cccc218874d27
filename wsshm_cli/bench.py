"""`wsshm bench`: models and a clip → `engines.measure.speed` → tables, JSON, bars."""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from engines.contract import PAPER_SIZE, ModelSpec
from engines.errors import Unavailable, UsageError
from engines.measure.estimators.open import describe_files
from engines.video.compose.kinds import describe as describe_backgrounds
from engines.video.config import MAX_SIZE, MIN_SIZE
from wsshm_cli import __version__, report
from wsshm_cli.help import HelpAll
from wsshm_cli.parse import SIZES
from wsshm_cli.signals import unwind_on_signals

if TYPE_CHECKING:
    from engines.measure.speed.bench import Network

EXAMPLES = "Example: wsshm bench fast peer.onnx --input clip.mp4"
FRAME = "1280x720"
_models = partial(typer.Option, rich_help_panel="Models")
_clip = partial(typer.Option, rich_help_panel="Clip")
_measure = partial(typer.Option, rich_help_panel="Measurement")
_output = partial(typer.Option, rich_help_panel="Output")


def bench(
    model: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="MODEL",
            rich_help_panel="Models",
            help=f"A shipped model, or {describe_files()}. Each is compared with the first. "
            "[default: default]",
        ),
    ] = None,
    paper: Annotated[
        bool,
        _models(
            "--paper",
            hidden=True,
            help="The paper's networks with random weights at 512x512, batch 1, next to its "
            "figures. Needs 'wsshm[train]'.",
        ),
    ] = False,
    size: Annotated[
        int | None,
        _models(
            "--size",
            min=MIN_SIZE,
            max=MAX_SIZE,
            metavar="PIXELS",
            help=f"Shorter edge of our models' input ({SIZES}). [default: each model's own]",
        ),
    ] = None,
    batch: Annotated[
        int | None,
        _models(
            "--batch",
            min=1,
            max=256,
            metavar="N",
            hidden=True,
            help="Frames per batch of our models when the network runs alone. [default: 1]",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        _models(
            "--threads",
            min=1,
            max=1024,
            metavar="N",
            hidden=True,
            help="Threads of the network. [default: all cores]",
        ),
    ] = None,
    input: Annotated[
        Path | None,
        _clip(
            "--input",
            metavar="CLIP",
            readable=False,
            help="A video. [default: a person under a drifting camera, made for the purpose]",
        ),
    ] = None,
    frames_size: Annotated[
        str | None,
        _clip(
            "--frames-size",
            metavar="WxH",
            hidden=True,
            help=f"Frame size of the clip that is made. [default: {FRAME}]",
        ),
    ] = None,
    bg: Annotated[
        str,
        _clip(
            "--bg",
            metavar="BACKGROUND",
            help=f"As in wsshm run: {describe_backgrounds(only_opaque=True)}.",
        ),
    ] = "blur",
    end_to_end: Annotated[
        bool | None,
        _measure(
            "--end-to-end/--model-only",
            show_default=False,
            help="Only from file to file, or only the network. [default: both]",
        ),
    ] = None,
    seconds: Annotated[
        float,
        _measure(
            "--seconds",
            min=0.1,
            max=3600,
            metavar="S",
            help="How long a model runs per round, and how much of the clip is used.",
        ),
    ] = 3.0,
    repeats: Annotated[
        int,
        _measure(
            "--repeats",
            min=1,
            max=1000,
            metavar="N",
            help="Rounds; in each, the models take turns.",
        ),
    ] = 3,
    plot: Annotated[
        Path | None,
        _output("--plot", metavar="FILE.png", readable=False, help="Draw the result as bars."),
    ] = None,
    overwrite: Annotated[
        bool, _output("--overwrite", help="Replace FILE.png if it exists.")
    ] = False,
    as_json: Annotated[
        bool, _output("--json", help="Print JSON on stdout instead of tables.")
    ] = False,
    help_all: HelpAll = False,
) -> None:
    """Measure the speed of models.

    Each network is timed alone and in a run from file to file.
    """
    unwind_on_signals()
    from engines import machine
    from engines.measure import drawing
    from engines.measure.speed import bench_table
    from engines.measure.speed.bench import versions

    if paper:
        if end_to_end or any(x is not None for x in (input, frames_size, size, batch)):
            raise UsageError(
                "--paper fixes what is measured",
                "leave out --input, --end-to-end, --frames-size, --size and --batch",
            )
        end_to_end, frames_size, size = False, f"{PAPER_SIZE}x{PAPER_SIZE}", PAPER_SIZE
    if end_to_end is not False:
        _check_background(bg)
    if plot is not None:
        drawing.check_path("--plot", plot, overwrite)
    frame = _frame(input, frames_size)
    found = machine.facts()
    if found["load"] is not None and found["load"] > found["cores"] / 4:
        report.warning(
            f"the machine is busy (load {found['load']:.1f} on {found['cores']} "
            "cores): times are too long, core-ms are still right"
        )
    found["versions"] = {"wsshm": __version__, **versions()}
    found |= {"threads": threads or found["cores"], "model_only": None, "end_to_end": None}
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        networks = _networks(model, paper, Path(folder), frame, size, batch or 1)
        found["models"] = bench_table.models(networks)
        for m in found["models"]:
            if Path(folder) in Path(m["file"]).parents:
                m["file"] = None  # a temporary file with random weights
        if end_to_end is not True:
            found["model_only"] = _alone(networks, threads, seconds, repeats, batch or 1, paper)
        if end_to_end is not False:
            clip = input or _make_clip(Path(folder), seconds, frame)
            found["end_to_end"] = _run_clip(networks, clip, frame, bg, threads, seconds, repeats)
            found["end_to_end"]["clip"] = str(input or "a clip that was made")
    if plot is not None:
        drawing.save(plot, bench_table.chart(found))
    if as_json:
        report.as_json(found)
    else:
        for line in bench_table.lines(found):
            report.out(line)
    if plot is not None:
        report.line(f"bars → {plot}")


def _frame(input: Path | None, size: str | None) -> tuple[int, int]:
    """Return width and height of the clip's frames, in pixels; raises UsageError."""
    if input is None:
        from engines.files import MAX_PIXELS

        most = math.isqrt(MAX_PIXELS)
        match = re.fullmatch(r"(\d{2,5})x(\d{2,5})", size or FRAME)
        if match is None or any(int(x) % 2 or not 64 <= int(x) <= most for x in match.groups()):
            raise UsageError(f"--frames-size {size}: write WxH, both even, from 64 to {most}")
        return int(match[1]), int(match[2])
    if size is not None:
        raise UsageError(
            "--frames-size is for the clip that is made", "leave out --frames-size or --input"
        )
    from engines.video.read.open import open_source
    from engines.video.read.video import VideoSource

    with open_source(input) as source:
        if not isinstance(source, VideoSource):
            raise UsageError(f"--input {input}: not a video")
        return source.format.width, source.format.height


def _check_background(spec: str) -> None:
    """Raise a WsshmError if ``--bg`` cannot be used."""
    from engines.video.compose.open import open_background

    if open_background(spec) is None:
        raise UsageError(
            f"--bg {spec}: cannot go into an mp4", f"use {describe_backgrounds(only_opaque=True)}"
        )


def _networks(
    names: list[str] | None,
    paper: bool,
    folder: Path,
    frame: tuple[int, int],
    size: int | None,
    batch: int,
) -> list[Network]:
    """Return the paper's networks, then those in `names`, else the default, with unique names."""
    from engines.measure.speed.bench import describe
    from engines.models import own_size, resolve_model, shipped

    found = [(*model, size) for model in _random(folder)] if paper else []
    if names or not paper:
        for name in names or [shipped()[0].name]:
            found.append((*resolve_model(name), size or own_size(name)))
    networks: list[Network] = []
    seen: Counter[str] = Counter()
    for called, path, lines in found:
        network = describe(called, path, frame, lines, batch)
        seen[network.name] += 1
        if (times := seen[network.name]) > 1:
            network = replace(network, name=f"{network.name} ({times})")
        networks.append(network)
    if any(n.cost is None for n in networks):
        report.line(
            "MACs and parameters are left out; to count them, run: pip install 'wsshm[train]'"
        )
    return networks


def _random(folder: Path) -> list[tuple[str, Path]]:
    """Export the paper's networks into `folder`, and return their names and files.

    Raises:
        Unavailable: what training needs is not installed.
    """
    from engines.measure.speed.bench import PAPER_FPS

    try:
        import torch

        from train.export.export import export
        from train.networks import build
    except ModuleNotFoundError as e:
        raise Unavailable(f"--paper needs {e.name}", "run: pip install 'wsshm[train]'") from e
    torch.manual_seed(0)
    files = []
    for arch in PAPER_FPS:
        report.line(f"{arch}: exporting with random weights")
        net, path = build(arch).eval(), folder / f"{arch}.onnx"
        export(net, path, ModelSpec(arch, arch, net.stride, PAPER_SIZE, ()))
        files.append((arch, path))
    return files


def _alone(
    networks: list[Network],
    threads: int | None,
    seconds: float,
    rounds: int,
    batch: int,
    paper: bool,
) -> dict[str, Any]:
    """Time the networks alone, and return the rows of the table."""
    from engines.measure.speed import bench, bench_table

    with report.bar(" rounds", "alone") as show:
        step = _counter(show, len(networks) * rounds)
        speeds = bench.measure(networks, threads, seconds, rounds, step)
    return bench_table.speeds(
        speeds,
        batch=batch,
        rounds=rounds,
        seconds=seconds,
        paper=bench_table.paper() if paper else None,
    )


def _make_clip(folder: Path, seconds: float, frame: tuple[int, int]) -> Path:
    """Write a clip of that length and frame size, and return its path."""
    from engines.measure.speed import sample

    path = folder / "made.mp4"
    sample.write(path, seconds, *frame)
    return path


def _run_clip(
    networks: list[Network],
    clip: Path,
    frame: tuple[int, int],
    background: str,
    threads: int | None,
    seconds: float,
    runs: int,
) -> dict[str, Any]:
    """Time runs from file to file, and return the rows of the table."""
    from engines.measure.speed import bench_clip, bench_table
    from engines.video.config import Clip, RunConfig

    config = RunConfig(
        input=clip, background=background, clip=Clip(0.0, seconds), network_threads=threads
    )
    with report.bar(" rounds", "end to end") as show:
        speeds = bench_clip.measure(networks, config, runs, _counter(show, len(networks) * runs))
    return bench_table.speeds(
        speeds,
        width=frame[0],
        height=frame[1],
        background=background,
        encoder=bench_clip.ENCODER,
        runs=runs,
    )


def _counter(show: report.Show, total: int) -> Callable[[str], None]:
    """Return a function that moves the bar on by one round."""
    rounds = count()
    show(next(rounds), total)
    return lambda _: show(next(rounds), total)
