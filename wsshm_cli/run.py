"""`wsshm run`: options → `RunConfig` → `engines.video.run.run` → lines and an exit code."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from wsshm_cli import report
from wsshm_cli.app import app, ending

if TYPE_CHECKING:
    from engines.video.config import Stream
    from engines.video.pipeline import Stop
    from engines.video.summary import Started, Summary


class Save(str, Enum):
    """As `engines.video.write.sink.Save`, without importing it for ``--help``."""

    composite = "composite"
    alpha = "alpha"
    foreground = "foreground"


class BackgroundFit(str, Enum):
    """As `engines.video.compose.configs.BackgroundFit`."""

    cover = "cover"
    contain = "contain"
    stretch = "stretch"


class Pipe(str, Enum):
    """As `engines.video.write.sink.PIPES`."""

    mkv = "mkv"
    webm = "webm"
    y4m = "y4m"


class Precision(str, Enum):
    """Of the network; auto is the one that is less work on this machine."""

    auto = "auto"
    fp32 = "fp32"
    fp16 = "fp16"
    int8 = "int8"


class BitDepth(str, Enum):
    """Of a code of video."""

    eight = "8"
    ten = "10"


@app.command()
def run(
    input: Annotated[
        str | None,
        typer.Argument(
            metavar="INPUT",
            help="A video, an image, a folder of images or 'folder/*.png', an address (rtsp://… "
            "udp://… http://…) or - for stdin.",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            "-o",
            "--output",
            metavar="OUT",
            help="A .mp4 .mkv .mov .webm file, an image, a folder/ for PNG files, or - for "
            "stdout. [default: INPUT_wsshm.mp4 (.webm where it is transparent, .png for an image) "
            "beside INPUT]",
        ),
    ] = None,
    bg: Annotated[
        str,
        typer.Option(
            "--bg",
            metavar="IMAGE|VIDEO|#rrggbb|blur[:N]|transparent",
            help="What to put behind the person; N is the blur in percent of the shorter edge. "
            "A video is repeated as often as need be.",
        ),
    ] = "blur",
    bg_fit: Annotated[
        BackgroundFit,
        typer.Option(
            "--bg-fit",
            metavar="cover|contain|stretch",
            help="How a background of another shape fills the frame: cut, with bars, or distorted.",
        ),
    ] = BackgroundFit.cover,
    save: Annotated[
        list[Save],
        typer.Option(
            "--save",
            metavar="composite|alpha|foreground",
            help="What to write; give it twice for two outputs in one pass. alpha is the matte, "
            "foreground the person with straight alpha (.mov, .webm, .mkv or PNG files). Sound and "
            "subtitles go into the first that is not alpha.",
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
            "--engine",
            metavar="auto|onnx|tensorrt",
            help="tensorrt needs a plan: wsshm export MODEL --to tensorrt.",
        ),
    ] = "auto",
    precision: Annotated[
        Precision,
        typer.Option(
            "--precision",
            metavar="auto|fp32|fp16|int8",
            help="Of the network. auto times int8 against fp32, once on each machine, and is fp16 "
            "on a GPU.",
        ),
    ] = Precision.auto,
    size: Annotated[
        str | None,
        typer.Option(
            "--size",
            metavar="N|auto",
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
            "--smooth",
            min=0,
            max=0.95,
            metavar="0..0.95",
            help="How much a matte holds on to the one before where the image stands still.",
        ),
    ] = 0.8,
    no_refine: Annotated[
        bool,
        typer.Option(
            "--no-refine",
            help="Do not fit the matte's edges to the frame's.",
        ),
    ] = False,
    no_decontaminate: Annotated[
        bool,
        typer.Option(
            "--no-decontaminate",
            help="Do not take the old background's colour out of the person's edges.",
        ),
    ] = False,
    islands: Annotated[
        float,
        typer.Option(
            "--islands",
            min=0,
            max=1,
            metavar="0..1",
            help="Remove parts that are smaller than this share of the largest one.",
        ),
    ] = 0.0,
    erode: Annotated[
        int,
        typer.Option(
            "--erode",
            min=-64,
            max=64,
            metavar="N",
            help="Make the person N pixels smaller on every side, larger where N is negative.",
        ),
    ] = 0,
    feather: Annotated[
        float,
        typer.Option(
            "--feather",
            min=0,
            max=64,
            metavar="N",
            help="Let edges fade over N pixels to either side.",
        ),
    ] = 0.0,
    webcam: Annotated[bool, typer.Option("--webcam", help="Take a camera as INPUT.")] = False,
    camera: Annotated[
        str | None,
        typer.Option(
            "--camera",
            metavar="N|PATH",
            help="Which camera; see wsshm doctor. [default: the first]",
        ),
    ] = None,
    reconnect: Annotated[
        bool,
        typer.Option(
            "--reconnect", help="Wait for a camera or an address that has stopped to come back."
        ),
    ] = False,
    virtual_cam: Annotated[
        bool,
        typer.Option(
            "--virtual-cam",
            help="Show the result as a camera to other programs; in a file too only with -o.",
        ),
    ] = False,
    virtual_device: Annotated[
        str | None,
        typer.Option(
            "--virtual-device",
            metavar="PATH",
            help="Which virtual camera; see wsshm doctor. [default: the first]",
        ),
    ] = None,
    preview: Annotated[
        bool,
        typer.Option(
            "--preview",
            help="Show the result in a window (q quits, b next background, s snapshot); in a file "
            "too only with -o.",
        ),
    ] = False,
    fps: Annotated[
        str | None,
        typer.Option(
            "--fps",
            metavar="N|N/D",
            help="Make a video of a folder of images, so many a second, as in 30000/1001.",
        ),
    ] = None,
    start: Annotated[
        str, typer.Option("--start", metavar="T", help="Begin here: seconds or [h:]mm:ss.")
    ] = "0",
    duration: Annotated[
        str | None, typer.Option("--duration", metavar="T", help="Stop after this much.")
    ] = None,
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            help="h264, hevc, vp9, av1, prores or an encoder of FFmpeg, as h264_nvenc. "
            "[default: h264; vp9 for .webm; with alpha, prores for .mov and vp9 for .mkv]",
        ),
    ] = None,
    crf: Annotated[
        float | None,
        typer.Option(
            "--crf",
            metavar="N",
            help="Quality of the encoder, lower is better: up to 51, for vp9 and av1 63. "
            "[default: h264 20, hevc 23, vp9 30, 24 with alpha, av1 32]",
        ),
    ] = None,
    bit_depth: Annotated[
        BitDepth,
        typer.Option(
            "--bits",
            metavar="8|10",
            help="Of the colours of video, all the way; the matte has 8. 10 goes into h264, hevc, "
            "av1, prores and ffv1.",
        ),
    ] = BitDepth.eight,
    format: Annotated[
        Pipe | None,
        typer.Option("--format", metavar="mkv|webm|y4m", help="Of -o -. [default: mkv]"),
    ] = None,
    no_audio: Annotated[bool, typer.Option("--no-audio", help="Leave the sound out.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace OUT.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on stdout.")
    ] = False,
) -> None:
    """Put a person on another background: wsshm run clip.mp4 --bg beach.jpg"""
    with ending():
        # Taken over before the imports, so that no signal finds Python's own handlers.
        stop = _catch_signals()
        from engines.errors import UsageError
        from engines.video import config as configs
        from engines.video import run as job
        from engines.video.config import STDOUT, MatteOptions, Stream

        out = None if output is None else Path(output)
        if as_json and out == STDOUT:
            raise UsageError("--json: stdout is taken by the video of -o -; leave one of them out")
        wanted = tuple(configs.Save(s.value) for s in save)
        first = _seconds("--start", start)
        length = None if duration is None else _seconds("--duration", duration)
        if length == 0:
            raise UsageError(f"--duration {duration}: must be over 0")
        if realtime and size not in (None, "auto"):
            raise UsageError(f"--size {size}: --realtime chooses the size; leave one of them out")
        finish = MatteOptions(smooth, not no_refine, not no_decontaminate, islands, erode, feather)
        source = _input(input, webcam, camera)
        if virtual_device is not None and not virtual_cam:
            raise UsageError(f"--virtual-device {virtual_device}: add --virtual-cam")
        config = configs.RunConfig(
            input=source,
            output=out,
            output_is_folder=(output or "").endswith(("/", os.sep)),
            background=bg,
            save=wanted,
            model=model,
            device=device,
            engine=engine,
            precision=precision.value,
            size=_pixels(size),
            auto_size=size == "auto",
            realtime=realtime,
            matte=finish,
            clip=configs.Clip(first, length),
            encoding=configs.Encoding(codec, crf, not no_audio, format=format and format.value),
            overwrite=overwrite,
            background_fit=configs.BackgroundFit(bg_fit.value),
            fps=None if fps is None else _rate(fps),
            reconnect=reconnect,
            virtual_camera=virtual_cam,
            virtual_device=virtual_device,
            preview=preview,
            bit_depth=int(bit_depth.value),
        )
        progress = _Progress()
        if isinstance(source, Stream):
            progress.on_start = _signals_kill()
        try:
            summary = job.run(config, stop, progress.start, progress.step, say=progress.note)
        finally:
            progress.close()
        _report(summary, source, as_json)
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


def _signals_kill() -> Callable[[], None]:
    """Let signals end the process at once, until the function is called that this gives.

    A wait for a stream to begin hears of no stop, and has nothing to finish.
    """
    taken = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    for signum, handler in taken.items():
        if callable(handler):
            signal.signal(signum, signal.SIG_DFL)

    def take_over() -> None:
        for signum, handler in taken.items():
            signal.signal(signum, handler)

    return take_over


def _input(given: str | None, webcam: bool, camera: str | None) -> Path | Stream:
    """What INPUT or ``--webcam`` names."""
    from engines.errors import UsageError
    from engines.video.read.camera import find_camera
    from engines.video.read.stream import parse_input

    if camera is not None and not webcam:
        raise UsageError(f"--camera {camera}: add --webcam")
    if webcam and given is not None:
        raise UsageError(f"{given}: give INPUT or --webcam, not both")
    if webcam:
        return find_camera(camera)
    if given is None:
        raise UsageError("nothing to do: give INPUT, as in wsshm run clip.mp4, or --webcam")
    return parse_input(given)


def _pixels(size: str | None) -> int | None:
    """What ``--size`` says; None for the model's own, and where it is still to be chosen."""
    from engines.errors import UsageError

    if size is None or size == "auto":
        return None
    if not re.fullmatch(r"\d{1,4}", size) or not 64 <= int(size) <= 2160:
        raise UsageError(f"--size {size}: write pixels, from 64 to 2160, or auto")
    return int(size)


def _rate(text: str) -> Fraction:
    """``25``, ``29.97`` and ``30000/1001`` to frames a second."""
    from engines.errors import UsageError

    if re.fullmatch(r"\d{1,5}(\.\d{1,3}|/[1-9]\d{0,4})?", text) and 0.01 < Fraction(text) <= 1000:
        return Fraction(text)
    raise UsageError(f"--fps {text}: write frames a second up to 1000: 25, or 30000/1001")


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
        self.on_start: Callable[[], None] = lambda: None

    def start(self, s: Started) -> None:
        from tqdm import tqdm

        self.on_start()
        why = f" ({s.precision_reason})" if s.precision_reason else ""
        report.line(
            f"{s.model} · {s.engine} · {s.device} · {s.precision}{why} · "
            f"{s.format.width}x{s.format.height}{' in 10 bits' * (s.format.bit_depth == 10)} "
            f"seen at {s.fit.width}x{s.fit.height}"
        )
        # A log file gets a line now and then, a terminal a bar that moves.
        pause = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = tqdm(total=s.total, unit=" frames", dynamic_ncols=True, mininterval=pause)

    def step(self, frames: int) -> None:
        self._bar.update(frames - self._bar.n)

    def note(self, text: str) -> None:
        """A line in between."""
        if self._bar is not None:
            self._bar.clear()
        report.line(text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()


def _report(summary: Summary, source: Path | Stream, as_json: bool) -> None:
    from engines.errors import WsshmError

    s = summary
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
    outputs = ", ".join(str(p) for p in s.outputs) or "nothing"
    frames = "1 frame" if s.frames == 1 else f"{s.frames} frames"
    speed = f"{frames} in {s.seconds:.1f} s, {s.fps:.1f} FPS, slowest stage {s.slowest}"
    if s.dropped is not None:
        speed += f", {s.dropped} dropped"
    if s.latency is not None:
        median, most = (round(1000 * seconds) for seconds in s.latency)
        speed += f", latency p50 {median} ms p95 {most} ms"
    report.line(f"{speed} → {outputs}")
    if as_json:
        with suppress(BrokenPipeError):
            report.as_json(s.to_dict())
