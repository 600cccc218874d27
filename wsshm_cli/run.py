"""`wsshm run`: options → `RunConfig` → `engines.video.job.run` → lines and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from contextlib import suppress
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsshm_cli import report
from wsshm_cli.app import app, ending

if TYPE_CHECKING:
    from engines.video.job import Started, Summary
    from engines.video.pipeline import Stop


class Save(str, Enum):
    """As `engines.video.sinks.Save`, without importing it for ``--help``."""

    composite = "composite"
    alpha = "alpha"
    foreground = "foreground"


MATTE = "What is done to the matte"  # a part of the help


class Precision(str, Enum):
    """Of the network; auto is the one that is less work on this machine."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


@app.command()
def run(
    input: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT", readable=False, help="A video, a picture or a folder of pictures."
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="OUT", readable=False,
            help="A .mp4 .mkv .mov .webm file, a picture, or a folder for PNG files. "
            "[default: INPUT_wsshm.mp4 (.png for a picture) beside INPUT]",
        ),
    ] = None,
    bg: Annotated[
        str,
        typer.Option(
            "--bg", metavar="IMAGE|#rrggbb|blur[:N]|transparent",
            help="What to put behind the person; N is the blur in percent of the shorter edge.",
        ),
    ] = "blur",
    save: Annotated[
        list[Save],
        typer.Option(
            "--save", metavar="composite|alpha|foreground",
            help="What to write; give it twice for two outputs in one pass. alpha is the matte, "
            "foreground the person with straight alpha (PNG). Sound goes into the composite.",
        ),
    ] = [Save.composite],  # noqa: B006 - Typer copies it
    model: Annotated[
        str | None,
        typer.Option("--model", metavar="NAME|FILE", help="See wsshm models."),
    ] = None,
    device: Annotated[
        str,
        typer.Option("--device", metavar="auto|cpu|cuda[:N]", help="What runs the network."),
    ] = "auto",
    engine: Annotated[
        str,
        typer.Option(
            "--engine", metavar="auto|onnx|tensorrt",
            help="tensorrt needs a plan: wsshm export MODEL --to tensorrt.",
        ),
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision", metavar="auto|fp32|fp16|int8",
            help="Of the network. auto times int8 against fp32, once on each machine.",
        ),
    ] = Precision.auto,
    size: Annotated[
        str | None,
        typer.Option(
            "--size", metavar="N|auto",
            help="Shorter edge of what the network sees, in pixels; auto is the largest that keeps "
            "up with the clip on this machine. [default: the model's]",
        ),
    ] = None,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Choose model and size so as to keep up with the clip."),
    ] = False,
    smooth: Annotated[
        float,
        typer.Option(
            "--smooth", min=0, max=0.95, rich_help_panel=MATTE, metavar="0..0.95",
            help="How much a matte holds on to the one before where the picture stands still.",
        ),
    ] = 0.8,
    no_refine: Annotated[
        bool,
        typer.Option(
            "--no-refine", rich_help_panel=MATTE,
            help="Do not fit the matte's edges to the frame's.",
        ),
    ] = False,
    no_decontaminate: Annotated[
        bool,
        typer.Option(
            "--no-decontaminate", rich_help_panel=MATTE,
            help="Do not take the old background's colour out of the person's edges.",
        ),
    ] = False,
    islands: Annotated[
        float,
        typer.Option(
            "--islands", min=0, max=1, rich_help_panel=MATTE, metavar="0..1",
            help="Remove parts that are smaller than this share of the largest one.",
        ),
    ] = 0.0,
    erode: Annotated[
        int,
        typer.Option(
            "--erode", min=-64, max=64, rich_help_panel=MATTE, metavar="N",
            help="Make the person N pixels smaller on every side, larger where N is negative.",
        ),
    ] = 0,
    feather: Annotated[
        float,
        typer.Option(
            "--feather", min=0, max=64, rich_help_panel=MATTE, metavar="N",
            help="Let edges fade over N pixels to either side.",
        ),
    ] = 0.0,
    start: Annotated[
        str, typer.Option("--start", metavar="T", help="Begin here: seconds or [h:]mm:ss.")
    ] = "0",
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="T", help="Stop after this much.")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec", metavar="NAME",
            help="h264, hevc, vp9, av1 or an encoder of FFmpeg. [default: h264; vp9 for .webm]",
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            "--crf", min=0, max=63, metavar="N",
            help="Quality of the encoder, lower is better. "
            "[default: h264 20, hevc 23, vp9 30, av1 32]",
        ),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
) -> None:  # fmt: skip
    """Put a person on another background: wsshm run clip.mp4 --bg beach.jpg"""
    with ending():
        # Taken over before the imports, so that no signal finds Python's own handlers.
        stop = _catch_signals()
        from engines.errors import UsageError
        from engines.video import job, sinks, sources
        from engines.video.matte import Finish

        wanted = tuple(sinks.Save(s.value) for s in save)
        first = _seconds("--start", start)
        length = None if duration is None else _seconds("--duration", duration)
        if length == 0:
            raise UsageError(f"--duration {duration}: must be over 0")
        if realtime and size not in (None, "auto"):
            raise UsageError(f"--size {size}: --realtime chooses the size; leave one of them out")
        finish = Finish(smooth, not no_refine, not no_decontaminate, islands, erode, feather)
        config = job.RunConfig(
            input=input, output=output, background=bg, save=wanted, model=model, device=device,
            engine=engine, precision=precision.value, size=_pixels(size),
            finish=finish, clip=sources.Clip(first, length),
            encoding=sinks.Encoding(codec, crf, not no_audio), overwrite=overwrite,
        )  # fmt: skip
        if realtime or size == "auto":
            from engines.video.realtime import settle

            config, choice = settle(config, realtime, stop)
            if choice:
                report.line(choice)
        progress = _Progress()
        try:
            summary = job.run(config, stop, progress.start, progress.step)
        finally:
            progress.close()
        _report(summary, progress.started, input, as_json)
    raise typer.Exit(summary.exit_code)


def _catch_signals() -> Stop:
    """First signal: finish what there is. Third: leave at once."""
    from engines.video.pipeline import Stop

    stop, seen = Stop(), 0

    def handle(signum: int, _: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > 2:
            os._exit(128 + signum)
        stop.signum = stop.signum or signum
        stop.requested = True

    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handle)
    return stop


def _pixels(size: str | None) -> int | None:
    """What ``--size`` says; None for the model's own, and where it is still to be chosen."""
    from engines.errors import UsageError

    if size is None or size == "auto":
        return None
    if not re.fullmatch(r"\d{1,4}", size) or not 64 <= int(size) <= 2160:
        raise UsageError(f"--size {size}: write pixels, from 64 to 2160, or auto")
    return int(size)


def _seconds(option: str, text: str) -> float:
    """``90``, ``1:30`` and ``0:01:30.5`` to seconds."""
    from engines.errors import UsageError

    if not re.fullmatch(r"(\d+:){0,2}\d+(\.\d*)?|\.\d+", text):
        raise UsageError(f"{option} {text}: write seconds (90.5) or [h:]mm:ss (1:30.5)")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    if seconds > 1e7:
        raise UsageError(f"{option} {text}: no video is that long")
    return seconds


class _Progress:
    """The first line and the bar."""

    def __init__(self) -> None:
        self._bar: Any = None
        self.started: Started | None = None

    def start(self, s: Started) -> None:
        from tqdm import tqdm

        self.started = s
        report.line(
            f"{s.model} · {s.engine} · {s.device} · {s.precision}{f' ({s.why})' * bool(s.why)} · "
            f"{s.layout.width}x{s.layout.height} seen at {s.fit.width}x{s.fit.height}"
        )
        # A log file gets a line now and then, a terminal a bar that moves.
        pause = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=s.total, unit=" frames", dynamic_ncols=True, mininterval=pause)

    def step(self, frames: int) -> None:
        self._bar.update(frames - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _report(summary: Summary, started: Started | None, source: Path, as_json: bool) -> None:
    from engines.errors import WsshmError

    s = summary
    assert started is not None
    for text in s.warnings:
        report.warning(text)
    for path in s.left:
        report.warning(f"{path}: holds what was finished; the earlier file was not replaced")
    fps = s.frames / s.seconds if s.seconds else 0.0
    if isinstance(s.error, WsshmError):
        of = f" of {s.total}" if s.total else ""
        report.error(f"{s.error} ({s.frames}{of} frames written)")
    elif s.error is not None:
        report.fault(s.error)
    elif s.signum:
        report.line(f"{source}: stopped by {signal.Signals(s.signum).name}")
    outputs = ", ".join(str(p) for p in s.outputs) or "nothing"
    speed = f"{s.frames} frames in {s.seconds:.1f} s, {fps:.1f} FPS, slowest stage {s.slowest}"
    report.line(f"{speed} → {outputs}")
    if as_json:
        with suppress(BrokenPipeError):
            report.as_json({
                "model": started.model, "device": started.device,
                "precision": started.precision, "size": started.size,
                "frames": s.frames, "total": s.total, "seconds": round(s.seconds, 3),
                "fps": round(fps, 2), "slowest": s.slowest,
                "busy": {k: round(v, 3) for k, v in s.busy.items()},
                "outputs": [str(p) for p in s.outputs], "left": [str(p) for p in s.left],
                "warnings": s.warnings, "error": str(s.error) if s.error else None,
                "exit_code": s.exit_code,
            })  # fmt: skip
