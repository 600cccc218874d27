"""A whole run: from file to file, as on the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from engines.errors import UsageError, WsshmError
from engines.video import run as pipeline
from engines.video.config import Encoding, PrecisionChoice, RunConfig, Save
from engines.video.pipeline import Stop
from engines.video.summary import Started, Summary
from wsshm._request import (
    PathLike,
    Seconds,
    clip,
    known_errors,
    logger,
    matte,
    network,
    number,
    path_of,
    source,
    word,
)

SaveName = Literal["composite", "alpha", "foreground"]


@dataclass(frozen=True)
class Report:
    """What a run did.

    Attributes:
        outputs: the files and folders that were written.
        left: unfinished files beside an earlier good one, which was not replaced.
        frames: how many were written.
        total: how many there were to come; None if the input did not say.
        seconds: how long it took.
        model: its name.
        device: ``cpu`` or ``cuda:N``.
        precision: ``fp32``, ``fp16`` or ``int8``.
        warnings: what there is to know, in the order in which it happened.
    """

    outputs: list[Path]
    left: list[Path]
    frames: int
    total: int | None
    seconds: float
    model: str
    device: str
    precision: str
    warnings: list[str]


def run(
    input: PathLike,
    output: PathLike | None = None,
    *,
    background: PathLike = "blur",
    save: SaveName | Sequence[SaveName] = "composite",
    start: Seconds = 0,
    duration: Seconds | None = None,
    fps: Seconds | None = None,
    model: PathLike | None = None,
    size: int | Literal["auto"] | None = None,
    device: str = "auto",
    precision: PrecisionChoice = "auto",
    smooth: float = 0.8,
    codec: str | None = None,
    crf: float | None = None,
    bits: Literal[8, 10] = 8,
    audio: bool = True,
    overwrite: bool = False,
    progress: Callable[[int, int | None], object] | None = None,
) -> Report:
    """Matte a clip, an image or a folder of images, and write what is asked for.

    It does what ``wsshm run`` does with one input, and its errors name the options of that:
    ``--bg`` is `background`. No signal handler is installed: Ctrl-C comes as `KeyboardInterrupt`,
    and what was written is finished and kept.

    Args:
        input: see `frames`.
        output: a .mp4, .mkv, .mov or .webm file, an image, or a folder for PNG files, whose name
            ends in ``/`` or has no ending; None for a file named after the input and beside it.
        background: an image or a video, ``#rrggbb``, ``blur``, ``blur:N`` or ``transparent``.
        save: what to write, one or several of ``composite``, ``alpha`` and ``foreground``.
        start, duration: the part of a video to take, in seconds; None means to its end.
        fps: frames a second; makes a video of a folder's images.
        model, device, precision: see `matte`.
        size: see `matte`; ``auto`` is the largest that keeps up with the clip.
        smooth: weight of the past where nothing moves, at least 0 and under 1.
        codec, crf: of the video, as in ``wsshm run --help-all``.
        bits: of a sample of video, 8 or 10.
        audio: whether sound is copied.
        overwrite: whether an existing output may be replaced.
        progress: called after each frame with the number of frames so far, and how many there are
            to come or None. What it raises ends the run, and is raised here.

    Raises:
        WsshmError: see `matte`, and `CannotCreate` or `WriteFailed` for the output. If something
            was written by then, the error's `report` says what.
    """
    total: int | None = None
    stop = Stop()
    raised: BaseException | None = None

    def begin(started: Started) -> None:
        nonlocal total
        total = started.total

    def tell(frames: int) -> None:
        nonlocal raised
        if progress is None:
            return
        try:
            progress(frames, total)
        except BaseException as e:  # kept from the run, which judges errors by what is in them
            raised, stop.requested = e, True

    config = RunConfig(
        input=source(input),
        output=None if output is None else Path(path_of(output, "output")),
        output_is_folder=str(output or "").endswith(("/", os.sep)),
        background=path_of(background, "background"),
        save=_saves(save),
        clip=clip(start, duration),
        matte=matte(smooth),
        encoding=Encoding(
            None if codec is None else word(codec, "codec"),
            None if crf is None else number(crf, "crf"),
            audio,
        ),
        overwrite=overwrite,
        bit_depth=_bit_depth(bits),
        fps=None if fps is None else _rate(fps),
        auto_size=size == "auto",
        **network(model, None if size == "auto" else size, device, precision),
    )
    if not config.has_composite and background not in (RunConfig.background, "transparent"):
        raise UsageError(
            f"background {background}: needs composite in save", "add it, or leave it out"
        )
    with known_errors():
        summary = pipeline.run(config, stop, begin, tell, logger.info)
    for warning in summary.warnings:
        logger.warning(warning)
    report = _report(summary)
    if raised is not None and summary.error is not None:  # one of them can be raised
        logger.warning(summary.error)
    error = summary.error if raised is None else raised
    if error is not None:
        if isinstance(error, WsshmError):
            error.report = report
        raise error
    return report


def _saves(given: str | Sequence[str]) -> tuple[Save, ...]:
    names: Any = [given] if isinstance(given, str) else given
    try:
        found = tuple(Save(name) for name in names)
    except (TypeError, ValueError) as e:
        raise UsageError(
            f"save={given!r}: no name of an output, or several",
            f"use {', '.join(s.value for s in Save)}",
        ) from e
    if not found:
        raise UsageError("save: names nothing to write")
    return found


def _bit_depth(bits: int) -> int:
    if bits not in (8, 10):
        raise UsageError(f"bits={bits}: is 8 or 10")
    return bits


def _rate(fps: Seconds) -> Fraction:
    if not 0.01 < number(fps, "fps") <= 1000:
        raise UsageError(f"fps={fps}: not a frame rate", "give frames a second, at most 1000")
    return Fraction(str(fps))


def _report(summary: Summary) -> Report:
    return Report(
        outputs=summary.outputs,
        left=summary.left,
        frames=summary.frames,
        total=summary.total,
        seconds=summary.seconds,
        model=summary.started.model,
        device=summary.started.device,
        precision=summary.started.precision,
        warnings=summary.warnings,
    )
