"""Where frames come from: a video file, a picture, a folder of pictures.

Every source yields `Frame`s in the order they are shown and, between them, the packets of the
streams that are copied. What it cannot give, it says: in `warnings`, or in `fault` when the input
ended before it should.
"""

from __future__ import annotations

import re
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import av
import cv2
import numpy as np

from engines.errors import BadData, CannotOpen, UsageError, reading
from engines.video import frame as fr
from engines.video.frame import Frame, Layout

IMAGES = {".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".avif"}
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True)
class Clip:
    """The part of a video that is wanted, in seconds from its first moment; None means its end."""

    start: float = 0.0
    duration: float | None = None

    @property
    def end(self) -> float:
        return float("inf") if self.duration is None else self.start + self.duration


class FrameSource(ABC):
    """What `pipeline` reads from. Use as a context manager, or `close` it."""

    path: Path
    layout: Layout  # of the first frame; of all frames in a video
    total: int | None  # frames to come, None where the file does not say
    rate: Fraction | None = None  # average frames a second, None for pictures
    time_base: Fraction = Fraction(1, 1)
    sample_aspect: Fraction | None = None
    audio: tuple[Any, ...] = ()  # av.AudioStreams whose packets `items` yields
    fault: str | None = None  # set when the input ended early: what, in one line

    def __init__(self) -> None:
        self.warnings: list[str] = []

    @abstractmethod
    def items(self) -> Iterator[Frame | av.Packet]:
        """Frames and packets to copy, once; stop early by closing the iterator."""

    def close(self) -> None:  # noqa: B027 - pictures hold nothing open
        """Release the file; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(path: Path, clip: Clip | None = None, threads: int = 0) -> FrameSource:
    """Open a video file, a picture, or a folder of pictures.

    Args:
        clip: a part of a video.
        threads: of the decoder; 0 leaves it to FFmpeg. The frames do not depend on it.

    Raises:
        CannotOpen: missing, not readable, or neither file nor folder.
        BadData: junk, no picture in it, HDR, or over `MAX_PIXELS`.
        UsageError: a part of something that is not a video.
    """
    with reading(path):
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            opener: Any = FolderSource
        elif not stat.S_ISREG(mode):
            raise CannotOpen(f"{path}: neither a file nor a folder; save it to a file first")
        else:
            with path.open("rb"):  # says plainly what is wrong where FFmpeg would not
                pass
            opener = StillSource if path.suffix.lower() in IMAGES else None
    if opener is None:
        from engines.video.video_source import VideoSource  # which builds on this module

        return VideoSource(path, clip or Clip(), threads)
    if clip and clip != Clip():
        raise UsageError(f"{path}: --start and --duration need a video")
    source: FrameSource = opener(path)
    return source


def natural_order(path: Path) -> list[Any]:
    """Sort key by which ``2.png`` comes before ``10.png``."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [*((int(p), "") if p.isdecimal() else (0, p) for p in parts), (0, path.name)]


def read_still(path: Path) -> tuple[av.VideoFrame, Layout]:
    """A picture in planar RGB, turned as its EXIF data says.

    Raises:
        CannotOpen, BadData: it cannot be read, or is no picture.
    """
    with reading(path):
        data = np.fromfile(path, np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as e:
        if "MAX_IMAGE" in e.err:
            raise BadData(f"{path}: over {MAX_PIXELS >> 20} megapixels; make it smaller") from e
        raise BadData(f"{path}: not a readable picture ({e.err})") from e
    if bgr is None:
        raise BadData(f"{path}: not a readable picture; it may be empty, damaged or another kind")
    height, width = bgr.shape[:2]
    layout = Layout(width, height, "gbrp", matrix=0, range=fr.FULL)
    return fr.from_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), layout), layout


class StillSource(FrameSource):
    """One picture as one frame."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.total = path, 1
        self._picture, self.layout = read_still(path)

    def items(self) -> Iterator[Frame]:
        yield Frame(self._picture, self.layout, 0, self.time_base, name=self.path.stem)


class FolderSource(FrameSource):
    """The pictures of a folder in natural order, each at its own size."""

    def __init__(self, path: Path):
        super().__init__()
        self.path = path
        with reading(path):
            found = [p for p in path.iterdir() if p.suffix.lower() in IMAGES and p.is_file()]
        kept = (p for p in found if p.name[0] != "." and ".part" not in p.suffixes[-2:-1])
        self._files = sorted(kept, key=natural_order)
        if not self._files:
            raise BadData(f"{path}: no pictures in this folder ({' '.join(sorted(IMAGES))})")
        self.total = len(self._files)
        stems = Counter(p.stem for p in self._files)
        self._names = [p.stem if stems[p.stem] == 1 else p.name for p in self._files]
        _, self.layout = self._first_readable()

    def _first_readable(self) -> tuple[av.VideoFrame, Layout]:
        for path in self._files:
            try:
                return read_still(path)
            except (BadData, CannotOpen):
                continue  # named when its turn comes
        raise BadData(f"{self.path}: none of its {self.total} pictures can be read")

    def items(self) -> Iterator[Frame]:
        bad = []
        for index, (path, name) in enumerate(zip(self._files, self._names, strict=True)):
            try:
                picture, layout = read_still(path)
            except (BadData, CannotOpen) as e:
                self.warnings.append(str(e))
                bad.append(path.name)
                continue
            yield Frame(picture, layout, index, self.time_base, name=name)
        if bad:
            self.fault = (
                f"{self.path}: {len(bad)} of {self.total} pictures could not be read: "
                + ", ".join(bad[:5])
                + (" …" if len(bad) > 5 else "")
            )
