"""The outputs of a run: where each one goes, whether it can be created there, and its sink."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from engines.errors import CannotCreate, Say, UsageError, silent, writing
from engines.files import destination, parts_left
from engines.video.config import PIPES, STDOUT, Encoding, RunConfig, Save, Stream
from engines.video.pipeline import Stop
from engines.video.read.source import FrameSource
from engines.video.write.codecs import CONTAINERS, suffixes_with_alpha
from engines.video.write.encoders import for_alpha
from engines.video.write.pictures import (
    SUFFIXES_WITH_ALPHA,
    WRITABLE_SUFFIXES,
    ImageFolderSink,
    ImageSink,
)
from engines.video.write.pipe import check_pipe, is_pipe
from engines.video.write.preview import Preview
from engines.video.write.sink import FrameSink
from engines.video.write.video import VideoSink
from engines.video.write.virtual_camera import open_virtual_camera


class Target(NamedTuple):
    """An output that was asked for.

    Attributes:
        path: a file, a folder for images, or a pipe (see `is_pipe`).
        suffix: the kind of file, as in ``.mp4``; empty for a folder.
        save: what of a frame is written.
        alpha: whether it has an alpha channel.
    """

    path: Path
    suffix: str
    save: Save
    alpha: bool

    @property
    def takes_streams(self) -> bool:
        """Whether the source's audio, subtitles and chapters can go into it."""
        if self.save is Save.alpha or self.suffix not in CONTAINERS:
            return False
        return not CONTAINERS[self.suffix].is_raw


def needs_alpha(save: Save, is_transparent: bool) -> bool:
    """Return whether an output has an alpha channel; `is_transparent` is the background."""
    return save is Save.foreground or (save is Save.composite and is_transparent)


def targets(config: RunConfig, source: FrameSource) -> list[Target]:
    """Return an output for each of `config.save`; see `name_targets`."""
    given = source.path  # the folder, where the input is a pattern
    if isinstance(given, Stream):
        given = Path(given.stem)
    is_image = source.rate is None and source.total == 1 and given.is_file()
    is_video = source.rate is not None and not is_image
    return name_targets(config, given, is_image, is_video)


def name_targets(config: RunConfig, given: Path, is_image: bool, is_video: bool) -> list[Target]:
    """Return an output for each of `config.save`.

    The first goes where ``-o`` says; the others go into the same folder, as ``NAME_alpha.mp4``.

    Args:
        given: what outputs are named after where there is no ``-o``.
        is_image: the input is one image.
        is_video: ... or has a frame rate; it is a folder of images by themselves otherwise.

    Raises:
        UsageError: two outputs have the same name.
        CannotCreate: the name cannot be that of a file.
    """
    base, is_folder = given, given.is_dir()
    output = config.output
    piped = output is not None and is_pipe(output)
    if output is not None and not piped:
        base = output
        with writing(base, begun=False):  # the system refuses names that are too long
            is_folder = config.output_is_folder or base.is_dir() or not base.suffix
    keeps_name = is_image and is_folder  # then it has the name of the input
    if keeps_name:
        base, is_folder = base / given.name, False
    if base.name in ("", ".."):  # a folder named by dots
        base = base.resolve()
    stem, suffix = (base.name, "") if is_folder else (base.stem, base.suffix.lower())
    found: list[Target] = []
    for i, save in enumerate(config.save):
        alpha = needs_alpha(save, config.is_transparent)
        if i == 0 and output is not None:
            if piped:
                path, kind = output, _kind_of_pipe(output, config.encoding, is_image)
            elif keeps_name:
                path, kind = base.with_suffix(".png"), ".png"
            else:
                path, kind = output, suffix
        else:
            kind = ".png" if is_image else ""
            if is_video:
                able = suffixes_with_alpha(config.bit_depth) if alpha else [*CONTAINERS]
                kind = base.suffix if base is output and suffix in able else able[0]
            tag = "wsshm" if save is Save.composite else save.value
            path, kind = base.with_name(f"{stem}_{tag}{kind}"), kind.lower()
        found.append(Target(path, kind, save, alpha))
    with writing(found[0].path, begun=False):
        places = {destination(t.path) for t in found}
    if len(places) < len(found) or len(set(config.save)) < len(config.save):
        raise UsageError("--save names the same output twice")
    return found


def _kind_of_pipe(path: Path, encoding: Encoding, is_image: bool) -> str:
    """Return the suffix of the kind of file that is written into a pipe."""
    suffix = path.suffix.lower()
    if encoding.format or not (suffix in CONTAINERS or suffix in WRITABLE_SUFFIXES):
        return ".png" if is_image and path != STDOUT else f".{encoding.format or PIPES[0]}"
    return suffix


def check_free(path: Path, overwrite: bool) -> list[str]:
    """Check that an output can be created at `path`, before any work is done.

    Returns:
        Warnings: each unfinished file that an earlier run left there, and files to be replaced.

    Raises:
        CannotCreate: it exists and may not be replaced, or its folder is missing or not writable.
    """
    if is_pipe(path):
        return []
    with writing(path, begun=False):  # the system refuses names that are too long
        file = destination(path)
        file.exists()
    folder = file.parent
    if not folder.is_dir():
        raise CannotCreate(f"{path}: the folder {folder} does not exist", "create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotCreate(f"{path}: no permission to write in {folder}")
    if file.is_dir():
        with writing(path, begun=False):
            held = len([p for p in file.iterdir() if p.name[0] != "."])
        if held and not overwrite:
            raise CannotCreate(f"{path}: folder is not empty", "name another, or add --overwrite")
        if held:
            return [f"{path}: holds {held} files already; those of the same name are replaced"]
        return []
    left = parts_left(file) if file.suffix else []
    if file.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists already", "name another with -o, or add --overwrite")
    return [
        f"{p}: left by a run that was killed; it holds what that run had finished" for p in left
    ]


def open_outputs(
    config: RunConfig, source: FrameSource, warn: Say, stop: Stop, say: Say = silent
) -> Iterator[FrameSink]:
    """Open a sink for each of `config.save`, one after the other.

    The source's other streams go into the first that can hold them.

    Args:
        warn: told of files that earlier runs left unfinished, or that will be replaced.
        stop: ends the wait for a reader of a named pipe.
        say: told of that wait at once.

    Raises:
        WsshmError: an output that cannot be created, before anything is written.
    """
    found = targets(config, source)
    encoding = config.encoding
    option = (
        "--codec" if encoding.codec is not None else "--crf" if encoding.crf is not None else ""
    )
    if option and not any(t.suffix in CONTAINERS for t in found):
        raise UsageError(f"{option}: is for video; {found[0].path} gets images")
    folder = config.output if config.output in [t.path.parent for t in found] else None
    if folder and folder.is_file():
        raise CannotCreate(f"{folder}: is a file", "name another folder with -o")
    all_have_alpha = all(t.alpha for t in found)
    is_copied = False
    for target in found:
        path = target.path
        is_made = path.parent == folder and not path.parent.exists()  # with its first image
        for warning in check_free(path.parent if is_made else path, config.overwrite):
            warn(warning)
        if path != STDOUT and is_pipe(path) and path.suffix.lower() != target.suffix:
            warn(f"{path}: written as {target.suffix}")
        if isinstance(config.input, Path) and path.resolve() == config.input.resolve():
            raise UsageError(f"{path}: is the input", "name another output with -o")
        its = encoding
        if not is_pipe(path) and config.output and is_pipe(config.output):
            its = replace(its, format=None)
        if target.alpha and not all_have_alpha:
            its = for_alpha(its, target.suffix, source.format.bit_depth)
        copies = target.takes_streams and not is_copied
        is_copied = is_copied or copies
        yield open_sink(target, source, its, copies, stop, say)


def open_sink(
    target: Target, source: FrameSource, encoding: Encoding, copies: bool, stop: Stop, say: Say
) -> FrameSink:
    """Open the sink that fits a target's suffix and the source.

    Args:
        copies: whether the source's other streams go into this one, if it `takes_streams`.
        stop: ends the wait for a reader of a named pipe.
        say: told of that wait.

    Raises:
        UsageError: the suffix is unknown, or such a file cannot hold what is asked for.
        CannotCreate: a folder is where the file would be, or a file where the folder would be.
        Unavailable: FFmpeg lacks the encoder here, or it does not work.
    """
    path, suffix, save, alpha = target
    is_video = source.rate is not None or bool(source.audio)
    _check_place(path, suffix, encoding, is_video)
    if suffix in CONTAINERS:
        if not is_video:
            raise UsageError(f"{path}: images do not become a video", "use -o NAME.png or a folder")
        if alpha:
            _check_holds_alpha(target, source.format.bit_depth)
        return VideoSink(
            path, suffix, save, source, encoding, alpha=alpha, copies=copies, stop=stop, say=say
        )
    if suffix in WRITABLE_SUFFIXES:
        if is_video or (source.total or 2) > 1:
            raise UsageError(
                f"{path}: one image cannot hold a video or a folder",
                f"name a folder, as in -o {path.stem}/",
            )
        if alpha and suffix not in SUFFIXES_WITH_ALPHA:
            raise UsageError(f"{path}: {suffix} cannot hold transparency", "use .png or .webp")
        return ImageSink(path, save)
    if suffix:
        known = " ".join([*sorted(CONTAINERS), *sorted(WRITABLE_SUFFIXES)])
        raise UsageError(
            f"{path}: unknown kind of output {suffix}", f"use {known}, or {path}/ for a folder"
        )
    if source.format.bit_depth > 8 and save is not Save.alpha:
        raise UsageError(
            f"{path}: PNG files have 8 bits",
            f"for --bits {source.format.bit_depth} use -o NAME.mkv",
        )
    return ImageFolderSink(path, save)


def _check_place(path: Path, suffix: str, encoding: Encoding, is_video: bool) -> None:
    """Check that a path is of the sort that its suffix says: a file, a folder or a pipe."""
    if is_pipe(path):
        check_pipe(path)
        if not is_video and suffix not in WRITABLE_SUFFIXES:
            raise UsageError(f"-o {path}: is for video", "name an image or a folder for images")
        if suffix in CONTAINERS and suffix[1:] not in PIPES:
            raise UsageError(
                f"{path}: {suffix} cannot be written into a pipe", f"add --format {PIPES[0]}"
            )
    elif encoding.format:
        raise UsageError(
            f"--format {encoding.format}: is for -o - and pipes; {path} says by its ending"
        )
    elif suffix and path.is_dir():
        raise CannotCreate(f"{path}: is a folder", "name a file with -o")
    elif not suffix and path.is_file():
        raise CannotCreate(f"{path}: is a file", "name another folder with -o")


def _check_holds_alpha(target: Target, bit_depth: int) -> None:
    """Check that a video file of the target's suffix can hold alpha."""
    able = suffixes_with_alpha(bit_depth)
    if target.suffix in able:
        return
    what = "--bg transparent" if target.save is Save.composite else "--save foreground"
    better = f"{' '.join(able)}, or a folder for PNG files; see docs/transparent.md"
    if bit_depth > 8:
        what, better = f"{what} in {bit_depth} bits", " ".join(able)
    if is_pipe(target.path):
        better = "--format mkv"
    raise UsageError(
        f"{target.path}: {target.suffix} cannot hold the transparency of {what}", f"use {better}"
    )


def open_viewers(
    config: RunConfig,
    source: FrameSource,
    stop: Stop,
    next_background: Callable[[], None],
    say: Say,
) -> Iterator[FrameSink]:
    """Open the outputs that are watched live, one after the other.

    Args:
        stop: requested when the preview window is closed.
        next_background: called by a key in the preview window.
        say: told what happens in the preview window.

    Raises:
        UsageError: the background is transparent, which cannot be shown.
        Unavailable: there is no virtual camera, or no display.
    """
    if config.is_shown and config.is_transparent:
        raise UsageError("--bg transparent: cannot be shown", "give another --bg")
    if config.virtual_camera:
        yield open_virtual_camera(config.virtual_device, source.format, source.rate)
    if config.preview:
        yield Preview(stop, next_background, say)
