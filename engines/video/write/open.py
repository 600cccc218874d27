"""The outputs of a run: where each goes, and what of the request is meant for it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from engines.errors import CannotCreate, Say, UsageError, silent, writing
from engines.video.config import PIPES, STDOUT, Save, Stream
from engines.video.read.source import FrameSource
from engines.video.write.encoders import holds_alpha, meant_for_alpha
from engines.video.write.sink import VIDEOS, FrameSink, carries, check_free, needs_alpha, open_sink

if TYPE_CHECKING:
    from engines.video.config import RunConfig


class Target(NamedTuple):
    """Where an output goes, and of which kind it is, as in ``.mp4``; a folder has no `ending`."""

    path: Path
    ending: str


def targets(config: RunConfig, source: FrameSource) -> list[Target]:
    """Where each of `config.save` goes: the first where ``-o`` says, others by a name beside it."""
    given = source.path  # the folder, where the input is a pattern
    if isinstance(given, Stream):
        given = Path(given.stem)
    still = source.rate is None and source.total == 1 and given.is_file()
    base, in_folder = given, given.is_dir()
    if config.output not in (None, STDOUT):
        base = config.output
        with writing(base, begun=False):  # a name can be too long to ask
            in_folder = config.output_is_folder or base.is_dir() or not base.suffix
    into = still and in_folder  # an image keeps its name there
    if into:
        base, in_folder = base / given.name, False
    if base.name in ("", ".."):  # a folder named by dots
        base = base.resolve()
    stem, kind = (base.name, "") if in_folder else (base.stem, base.suffix.lower())
    found: list[Target] = []
    for i, save in enumerate(config.save):
        if i == 0 and config.output is not None:
            if config.output == STDOUT:
                target = Target(STDOUT, f".{config.encoding.format or PIPES[0]}")
            elif into:
                target = Target(base.with_suffix(".png"), ".png")
            else:
                target = Target(config.output, kind)
        else:
            rgba = needs_alpha(save, config.background == "transparent")
            tag = "wsshm" if save is Save.composite else save.value
            suffix = ".png" if still else ""
            if source.rate and not still:
                fitting = holds_alpha(source.format.bit_depth) if rgba else [".mp4", *VIDEOS]
                suffix = base.suffix if base is config.output and kind in fitting else fitting[0]
            target = Target(base.with_name(f"{stem}_{tag}{suffix}"), suffix.lower())
        found.append(target)
    if len({t.path for t in found}) < len(found) or len(set(config.save)) < len(config.save):
        raise UsageError("--save names the same output twice")
    return found


def open_outputs(config: RunConfig, source: FrameSource, say: Say = silent) -> list[FrameSink]:
    """An output for each of `config.save`; the first that can takes the source's other streams.

    Raises:
        WsshmError: what cannot be written, before anything is.
    """
    sinks: list[FrameSink] = []
    transparent, copied = config.background == "transparent", False
    found = targets(config, source)
    codec, crf = config.encoding.codec, config.encoding.crf
    asked = "--codec" if codec is not None else "--crf" if crf is not None else ""
    if asked and not any(t.ending in VIDEOS for t in found):
        raise UsageError(f"{asked}: is for video; {found[0].path} gets images")
    all_rgba = all(needs_alpha(save, transparent) for save in config.save)
    folder = config.output if config.output in [t.path.parent for t in found] else None
    if folder and folder.is_file():
        raise CannotCreate(f"{folder}: is a file; name another folder with -o")
    for (path, ending), save in zip(found, config.save, strict=True):
        made = path.parent == folder and not path.parent.exists()  # with its first image
        for text in check_free(path.parent if made else path, config.overwrite):
            say(text)
        if isinstance(config.input, Path) and path.resolve() == config.input.resolve():
            raise UsageError(f"{path}: is the input; name another output with -o")
        encoding = config.encoding
        if path != STDOUT and config.output == STDOUT:
            encoding = replace(encoding, format=None)
        if needs_alpha(save, transparent) and not all_rgba:
            encoding = meant_for_alpha(encoding, ending, source.format.bit_depth)
        copies = not copied and carries(ending, save)
        copied = copied or copies
        sinks.append(open_sink(path, ending, save, transparent, source, encoding, copies))
    return sinks
