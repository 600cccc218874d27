"""`wsshm run`: options → `RunConfig` → `engines.video.run.run` → lines and an exit code."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from engines.errors import UsageError, WsshmError
from engines.machine import check_memory
from engines.video.config import (
    STDOUT,
    BackgroundFit,
    Clip,
    Encoding,
    MatteOptions,
    RunConfig,
    Save,
    Stream,
)
from wsshm_cli import parse, report
from wsshm_cli import run_options as options
from wsshm_cli.help import HelpAll
from wsshm_cli.signals import end_on_signals, stop_on_signals

if TYPE_CHECKING:
    from engines.video.pipeline import Stop
    from engines.video.summary import Started, Summary

EXAMPLES = """
\b
Examples:
  wsshm run clip.mp4 --bg beach.jpg          another background
  wsshm run clip.mp4 --save alpha            the matte, for an editor
  wsshm run takes/ -o out/ --bg beach.jpg    every video and image in a folder
  wsshm run --webcam --virtual-cam           your room out of focus, in calls
"""


def run(
    inputs: options.Inputs = None,
    recursive: options.Recursive = False,
    start: options.Start = "0",
    duration: options.Duration = None,
    fps: options.Fps = None,
    output: options.Output = None,
    save: options.Saves = None,
    overwrite: options.Overwrite = False,
    no_audio: options.NoAudio = False,
    format: options.Format = None,
    as_json: options.AsJson = False,
    bg: options.Background = "blur",
    bg_fit: options.Fit = BackgroundFit.cover,
    bg_color: options.BackgroundColour = None,
    smooth: options.Smooth = 0.8,
    no_refine: options.NoRefine = False,
    no_decontaminate: options.NoDecontaminate = False,
    islands: options.Islands = 0.0,
    erode: options.Erode = 0,
    feather: options.Feather = 0.0,
    model: options.Model = None,
    size: options.Size = None,
    realtime: options.Realtime = False,
    device: options.Device = "auto",
    engine: options.Engine = "auto",
    precision: options.Precision = "auto",
    jobs: options.Jobs = None,
    segments: options.Segments = None,
    cluster: options.Cluster = None,
    webcam: options.Webcam = False,
    camera: options.Camera = None,
    reconnect: options.Reconnect = False,
    virtual_cam: options.VirtualCam = False,
    virtual_device: options.VirtualDevice = None,
    preview: options.Preview = False,
    codec: options.Codec = None,
    crf: options.Crf = None,
    bits: options.Bits = "8",
    help_all: HelpAll = False,
) -> None:
    """Put a person on another background."""
    stop = stop_on_signals()  # before the heavy imports, so that no signal finds Python's handlers
    check_memory()
    out = None if output is None else Path(output)
    if as_json and out == STDOUT:
        raise UsageError("--json: -o - writes the video to stdout", "leave one of them out")
    begin = parse.seconds("--start", start)
    length = None if duration is None else parse.seconds("--duration", duration)
    if length == 0:
        raise UsageError(f"--duration {duration}: must be over 0")
    if realtime and size not in (None, "auto"):
        raise UsageError(f"--size {size}: --realtime chooses the size", "leave one of them out")
    texts = parse.paths_of_urls(inputs or [])
    part = None if segments is None else parse.seconds("--segments", segments)
    of_files = {"--recursive": recursive, f"--jobs {jobs}": jobs, f"--cluster {cluster}": cluster}
    of_files[f"--segments {segments}"] = segments
    for_files = next((option for option, given in of_files.items() if given), "")
    if webcam and for_files:
        raise UsageError(f"{for_files}: is for files, not for --webcam", "leave it out")
    config = RunConfig(
        input=parse.source(texts, webcam, camera),
        output=out,
        output_is_folder=(output or "").endswith(("/", os.sep)),
        background=bg,
        background_fit=bg_fit,
        background_colour=bg_color,
        save=tuple(save or [Save.composite]),
        model=model,
        device=device,
        engine=engine,
        precision=precision,
        size=parse.size(size),
        auto_size=size == "auto",
        realtime=realtime,
        matte=MatteOptions(smooth, not no_refine, not no_decontaminate, islands, erode, feather),
        clip=Clip(begin, length),
        encoding=Encoding(codec, crf, not no_audio, format=format),
        overwrite=overwrite,
        fps=None if fps is None else parse.rate(fps),
        reconnect=reconnect,
        virtual_camera=virtual_cam,
        virtual_device=virtual_device,
        preview=preview,
        bit_depth=int(bits),
    )
    if not config.has_composite and bg not in (RunConfig.background, "transparent"):
        raise UsageError(f"--bg {bg}: needs --save composite", "add it, or leave --bg out")
    if virtual_device is not None and not virtual_cam:
        raise UsageError(f"--virtual-device {virtual_device}: needs --virtual-cam", "add it")
    are_many = _are_many(config, texts, recursive)
    if isinstance(config.input, Stream) and not are_many and for_files:
        raise UsageError(f"{for_files}: is for files, not for {config.input}", "leave it out")
    if are_many and part is not None:
        raise UsageError(f"--segments {segments}: is for one video, not for several inputs")
    if are_many or cluster or part is not None:
        from wsshm_cli import executors, run_many, run_segments

        execute = executors.choose(config, cluster, jobs)
        if part is not None:
            raise typer.Exit(run_segments.run(config, part, execute, stop, as_json))
        raise typer.Exit(run_many.run(config, texts, recursive, execute, stop, as_json))
    summary = _run(config, stop)
    _report(summary, config.input)
    if as_json:
        with suppress(BrokenPipeError):
            report.as_json(summary.to_dict())
    raise typer.Exit(summary.exit_code)


def _are_many(config: RunConfig, texts: list[str], recursive: bool) -> bool:
    """Return whether each of several inputs has an output of its own.

    One video goes with the others where its output folder has a manifest.
    """
    from engines.batch.inputs import are_many
    from engines.batch.manifest import NAME

    if len(texts) > 1:
        return True
    if isinstance(config.input, Stream) or config.fps is not None:
        return False
    return are_many(texts, recursive) or (
        config.output is not None and os.path.exists(config.output / NAME)
    )


def _run(config: RunConfig, stop: Stop) -> Summary:
    """Run with a first line and a bar."""
    from engines.video.run import run

    take_over = end_on_signals() if isinstance(config.input, Stream) else None
    with report.bar(" frames") as show:

        def start(s: Started) -> None:
            if take_over is not None:
                take_over()
            reason = f" ({s.precision_reason})" if s.precision_reason else ""
            depth = " in 10 bits" if s.format.bit_depth == 10 else ""
            report.line(
                f"{s.model} · {s.engine} · {s.device} · {s.precision}{reason} · "
                f"{s.format.width}x{s.format.height}{depth} seen at {s.fit.width}x{s.fit.height}"
            )
            show(0, s.total, "")

        return run(config, stop, start, show, say=report.line)


def _report(s: Summary, source: Path | Stream) -> None:
    """Say what went wrong, how long it took and what was written."""
    for text in s.warnings:
        report.warning(text)
    for path in s.left:
        report.warning(f"{path}: holds what was finished; the earlier file was not replaced")
    if isinstance(s.error, WsshmError):
        of = f" of {s.total}" if s.total else ""
        report.error(f"{s.error} ({s.frames}{of} frames written)")
    elif s.error is not None:
        report.fault(s.error)
    elif s.signum:
        report.line(f"{source}: stopped by {signal.Signals(s.signum).name}")
    frames = "1 frame" if s.frames == 1 else f"{s.frames} frames"
    speed = f"{frames} in {s.seconds:.1f} s, {s.fps:.1f} FPS, slowest stage {s.slowest}"
    if s.dropped is not None:
        speed += f", {s.dropped} dropped"
    if s.latency is not None:
        median, most = (round(1000 * seconds) for seconds in s.latency)
        speed += f", latency p50 {median} ms p95 {most} ms"
    outputs = ", ".join(str(path) for path in s.outputs) or "nothing"
    report.line(f"{speed} → {outputs}")
