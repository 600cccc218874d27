"""The outputs of a run: where each goes, and what of the request is meant for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from engines.errors import UsageError
from engines.video.encoders import can_hold_alpha, holds_alpha
from engines.video.sinks import (
    STDOUT,
    VIDEOS,
    FrameSink,
    Save,
    carries,
    check_free,
    needs_alpha,
    open_sink,
)
from engines.video.sources import FrameSource
from engines.video.stream import Stream

if TYPE_CHECKING:
    from engines.video.job import RunConfig


def output_paths(config: RunConfig, source: FrameSource) -> list[Path]:
    """Where each of `config.save` goes: the first where ``-o`` says, others by a name beside it."""
    given = source.path  # the folder, where the input is a pattern
    if isinstance(given, Stream):
        given = Path(given.stem)
    still = source.rate is None and source.total == 1 and given.is_file()
    base = config.output if config.output not in (None, STDOUT) else given
    if still and config.output is not None and config.output.is_dir():
        base = config.output / given.name
    if base.name in ("", ".."):  # a folder named by dots
        base = base.resolve()
    paths: list[Path] = []
    for i, save in enumerate(config.save):
        if i == 0 and config.output is not None:
            path = config.output
            if still and path.is_dir():
                path = base.with_suffix(".png")
        else:
            rgba = needs_alpha(save, config.background == "transparent")
            tag = "wsshm" if save is Save.composite else save.value
            suffix = ".png" if still else ""
            if source.rate and not still:
                kind = base.suffix.lower() if base is config.output else ""
                fitting = holds_alpha(source.layout.bits) if rgba else [".mp4", *VIDEOS]
                suffix = base.suffix if kind in fitting else fitting[0]
            path = base.with_name(f"{base.stem}_{tag}{suffix}")
        paths.append(path)
    if len(set(paths)) < len(paths) or len(set(config.save)) < len(config.save):
        raise UsageError("--save names the same output twice")
    return paths


def open_outputs(config: RunConfig, source: FrameSource) -> list[FrameSink]:
    """An output for each of `config.save`; the first that can takes the source's other streams.

    Raises:
        WsshmError: what cannot be written, before anything is.
    """
    sinks: list[FrameSink] = []
    transparent, copied = config.background == "transparent", False
    for path, save in zip(output_paths(config, source), config.save, strict=True):
        source.warnings.extend(check_free(path, config.overwrite))
        if isinstance(config.input, Path) and path.resolve() == config.input.resolve():
            raise UsageError(f"{path}: is the input; name another output with -o")
        encoding = config.encoding
        if path != STDOUT and config.output == STDOUT:
            encoding = replace(encoding, format=None)
        is_for_others = len(config.save) > 1 and needs_alpha(save, transparent)
        if is_for_others and encoding.codec and not can_hold_alpha(encoding.codec):
            encoding = replace(encoding, codec=None, crf=None)
        copies = not copied and carries(path, save, encoding)
        copied = copied or copies
        sinks.append(open_sink(path, save, transparent, source, encoding, copies))
    return sinks
