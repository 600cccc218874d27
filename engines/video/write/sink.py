"""Where finished frames go: a video file, an image, a folder of images.

Everything is written beside its final name and renamed when whole, so that a name never stands for
half a file and an earlier good file is never lost. Whatever ends a run, `close` keeps what exists.
"""

from __future__ import annotations

import os
import sys
from abc import ABC, abstractmethod
from glob import escape
from pathlib import Path

import av
import cv2
import numpy as np

from engines.arrays import Plane
from engines.errors import CannotCreate, UsageError, WriteFailed, writing
from engines.files import IMAGE_SUFFIXES
from engines.video import frame as fr
from engines.video.compose.composite import Composited
from engines.video.config import STDOUT, Encoding, Save
from engines.video.frame import FrameFormat
from engines.video.read.source import FrameSource

VIDEOS = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".y4m"}
STILLS = IMAGE_SUFFIXES - {".avif", ".tif", ".tiff"}
WITH_ALPHA = {".png", ".webp"}


class FrameSink(ABC):
    """Takes composited frames in order."""

    path: Path  # where the result is or will be
    frames: int = 0  # whole frames that are in the output once it is closed
    warnings: list[str]
    left_at: Path | None = None  # set when the result could not be moved to `path`

    @abstractmethod
    def write(self, item: Composited) -> None:
        """Add a frame. Raises `CannotCreate` or `WriteFailed`."""

    def packet(self, packet: av.Packet) -> None:  # noqa: B027 - most sinks have no use for them
        """Add a packet of a copied stream."""

    @abstractmethod
    def close(self, whole: bool) -> None:
        """Finish the output; `whole` is false when the run was cut short.

        Raises `WriteFailed` when it cannot be finished; what exists stays on disk all the same.
        """


def check_free(path: Path, overwrite: bool) -> list[str]:
    """See that an output can be created at `path`, before any work is done.

    Returns:
        A warning for each unfinished file that an earlier run left beside it.

    Raises:
        CannotCreate: it exists and may not be replaced, or its folder is missing or not writable.
    """
    if path == STDOUT:
        return []
    folder = path.parent
    with writing(path, begun=False):
        path.exists()  # a name can be too long to ask
    if not folder.is_dir():
        raise CannotCreate(f"{path}: the folder {folder} does not exist; create it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise CannotCreate(f"{path}: no permission to write in {folder}")
    if path.is_dir():
        with writing(path, begun=False):
            held = len([p for p in path.iterdir() if p.name[0] != "."])
        if held and not overwrite:
            raise CannotCreate(f"{path}: folder is not empty; name another, or add --overwrite")
        if held:
            return [f"{path}: holds {held} files already; those of the same name are replaced"]
    elif path.exists() and not overwrite:
        raise CannotCreate(f"{path}: exists already; name another with -o, or add --overwrite")
    return [
        f"{p}: left by a run that was killed; it holds what that run had finished"
        for p in sorted(folder.glob(f"{escape(path.stem)}.part*{path.suffix}"))
        if path.suffix
    ]


def free_part(path: Path) -> Path:
    """A new empty file beside `path` to write into: ``name.part.mp4``, or ``.part2`` and so on."""
    for n in range(1, 1000):
        part = path.with_name(f"{path.stem}.part{n if n > 1 else ''}{path.suffix}")
        with writing(path, begun=False):
            try:
                os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
                return part
            except FileExistsError:
                continue
    raise CannotCreate(f"{path}: too many unfinished files beside it; remove {path.stem}.part*")


def needs_alpha(save: Save, transparent: bool) -> bool:
    """Whether an output has an alpha channel, `transparent` being the background."""
    return save is Save.foreground or (save is Save.composite and transparent)


def carries(ending: str, save: Save) -> bool:
    """Whether an output can take the source's other streams, beside its images."""
    return save is not Save.alpha and ending in VIDEOS - {".y4m"}


def open_sink(
    path: Path,
    ending: str,
    save: Save,
    transparent: bool,
    source: FrameSource,
    encoding: Encoding,
    copies: bool = False,
) -> FrameSink:
    """The sink that fits the ending and the source.

    Args:
        path: a file, a folder, or `STDOUT`.
        ending: what says of which kind it is, as in ``.mp4``; none for a folder.
        transparent: whether ``--bg transparent`` asks for alpha in the composite.
        copies: whether the source's other streams go into this one, if it `carries` them.

    Raises:
        UsageError: an ending that is unknown, or cannot hold what is asked for.
        Unavailable: an encoder that FFmpeg lacks here, or that does not work.
    """
    rgba, bit_depth = needs_alpha(save, transparent), source.format.bit_depth
    is_video = source.rate is not None or source.audio
    if path == STDOUT:
        if not is_video:
            raise UsageError("-o -: is for video; name an image or a folder for images")
        if sys.stdout is None or sys.stdout.isatty():
            raise UsageError("-o -: stdout is a terminal; pipe it, as in wsshm run … -o - | mpv -")
    elif encoding.format:
        raise UsageError(f"--format {encoding.format}: is for -o -; {path} says by its ending")
    elif ending and path.is_dir():
        raise CannotCreate(f"{path}: is a folder; name a file with -o")
    elif not ending and path.is_file():
        raise CannotCreate(f"{path}: is a file; name another folder with -o")
    if ending in VIDEOS:
        if not is_video:
            raise UsageError(f"{path}: images do not become a video; use -o NAME.png or a folder")
        from engines.video.write.encoders import holds_alpha  # which build on this module
        from engines.video.write.video import VideoSink

        if rgba and ending not in (able := holds_alpha(bit_depth)):
            what = "--bg transparent" if save is Save.composite else "--save foreground"
            better = f"{' '.join(able)}, or a folder for PNG files"
            if bit_depth > 8:
                what, better = f"{what} in {bit_depth} bits", " ".join(able)
            if path == STDOUT:
                better = "--format mkv"
            raise UsageError(
                f"{path}: {ending} cannot hold the transparency of {what}; use {better}"
            )
        return VideoSink(path, ending, save, source, encoding, alpha=rgba, copies=copies)
    if ending in STILLS:
        if is_video or (source.total or 2) > 1:
            raise UsageError(
                f"{path}: one image cannot hold a video or a folder; name a folder, as in "
                f"-o {path.stem}/"
            )
        if rgba and ending not in WITH_ALPHA:
            raise UsageError(f"{path}: {ending} cannot hold transparency; use .png or .webp")
        return ImageSink(path, save)
    if ending:
        known = " ".join([*sorted(VIDEOS), *sorted(STILLS)])
        raise UsageError(
            f"{path}: unknown kind of output {ending}; use {known}, or {path}/ for a folder"
        )
    if bit_depth > 8 and save is not Save.alpha:
        raise UsageError(f"{path}: PNG files have 8 bits; for --bits {bit_depth} use -o NAME.mkv")
    return ImageFolderSink(path, save)


def to_rgba(item: Composited, save: Save, scalers: dict[FrameFormat, fr.RgbScaler]) -> Plane:
    """What `save` asks of a frame, for an image: (H, W), (H, W, 3) or (H, W, 4), RGB order."""
    if save is Save.alpha:
        return item.alpha
    fmt = item.frame.format
    scaler = scalers.setdefault(fmt, fr.RgbScaler(fmt))
    if save is Save.composite and item.image is not None:
        return scaler(item.image, fmt.width, fmt.height)
    assert item.person is not None
    rgb = scaler(item.person, fmt.width, fmt.height)
    return np.dstack([rgb, item.alpha])


def write_image(path: Path, pixels: Plane) -> None:
    """Write a grey, RGB or RGBA image, whole or not at all."""
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if pixels.ndim == 3:
        pixels = cv2.cvtColor(pixels, swap[pixels.shape[2]])
    try:
        _, data = cv2.imencode(path.suffix, pixels, [cv2.IMWRITE_PNG_COMPRESSION, 2])
    except cv2.error as e:
        raise WriteFailed(f"{path}: cannot be encoded ({e.err})") from e
    part = free_part(path)
    try:
        with writing(path, begun=True):
            part.write_bytes(data.tobytes())
            part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


class ImageSink(FrameSink):
    """One image file."""

    def __init__(self, path: Path, save: Save):
        self.path, self._save, self.warnings = path, save, []

    def write(self, item: Composited) -> None:
        with writing(self.path, begun=False):
            self.path.parent.mkdir(exist_ok=True)
        write_image(self.path, to_rgba(item, self._save, {}))
        self.frames += 1

    def close(self, whole: bool) -> None:
        pass


class ImageFolderSink(FrameSink):
    """A folder of PNG files, numbered from 000001, or named as the images they came from."""

    def __init__(self, path: Path, save: Save):
        self.path, self._save, self.warnings = path, save, []
        self._scalers: dict[FrameFormat, fr.RgbScaler] = {}

    def write(self, item: Composited) -> None:
        if not self.frames:
            with writing(self.path, begun=False):
                self.path.mkdir(exist_ok=True)
        name = item.frame.name or f"{self.frames + 1:06d}"
        write_image(self.path / f"{name}.png", to_rgba(item, self._save, self._scalers))
        self.frames += 1

    def close(self, whole: bool) -> None:
        pass
