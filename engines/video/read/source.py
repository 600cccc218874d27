"""Where frames come from: a video file, an image, a folder of images.

Every source yields `Frame`s in the order they are shown and, between them, the packets of the
streams that are copied. What it cannot give, it says: in `warnings`, or in `fault` when the input
ended before it should.
"""

from __future__ import annotations

import glob
import stat
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from fnmatch import fnmatch
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import av
import cv2
import numpy as np

from engines.errors import BadData, CannotOpen, UsageError, WsshmError, reading
from engines.files import IMAGE_SUFFIXES, MAX_PIXELS, is_image, natural_key
from engines.video import frame as fr
from engines.video.config import Clip
from engines.video.frame import Frame, FrameFormat

if TYPE_CHECKING:
    from engines.video.config import Stream


class FrameSource(ABC):
    """What `pipeline` reads from. Use as a context manager, or `close` it."""

    path: Path | Stream
    live: bool = False  # whether frames come at a pace of their own, and are late if they wait
    format: FrameFormat  # of the first frame; of all frames in a video
    total: int | None  # frames to come, None where the file does not say
    rate: Fraction | None = None  # average frames a second, None for images
    time_base: Fraction = Fraction(1, 1)
    sample_aspect: Fraction | None = None
    audio: tuple[Any, ...] = ()  # av.AudioStreams whose packets `items` yields
    subtitles: tuple[Any, ...] = ()  # av.SubtitleStreams, likewise
    metadata: Mapping[str, str] = MappingProxyType({})  # title, date, … of the whole
    chapters: tuple[Any, ...] = ()  # as PyAV's `Container.chapters` gives them
    fault: str | None = None  # set when the input ended early: what, in one line
    fault_kind: type[WsshmError] = BadData

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self.note: Callable[[str], None] = self.warnings.append  # what is to be said at once

    @abstractmethod
    def items(self) -> Iterator[Frame | av.Packet]:
        """Frames and packets to copy, once; stop early by closing the iterator."""

    def close(self) -> None:  # noqa: B027 - images hold nothing open
        """Release the file; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_source(
    path: Path,
    clip: Clip | None = None,
    threads: int = 0,
    fps: Fraction | None = None,
    bit_depth: int = 8,
) -> FrameSource:
    """Open a video file, an image, a folder of images, or those of one that ``*.png`` fits.

    Args:
        clip: a part of a video.
        threads: of the decoder; 0 leaves it to FFmpeg. The frames do not depend on it.
        fps: makes a video of a folder's images, so many a second.
        bit_depth: of a code of a video's frames, 8 or 10.

    Raises:
        CannotOpen: missing, not readable, or neither file nor folder.
        BadData: junk, no image in it, HDR, or over `MAX_PIXELS`.
        UsageError: a part of something that is not a video, or 10 bits of it.
    """
    pattern = None
    with reading(path):
        if glob.has_magic(path.name) and not path.exists():
            path, pattern = path.parent, path.name
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            opener: Any = partial(ImageFolderSource, fps=fps, pattern=pattern, bit_depth=bit_depth)
        elif not stat.S_ISREG(mode):
            raise CannotOpen(f"{path}: neither a file nor a folder; use: wsshm run - < {path}")
        else:
            with path.open("rb"):  # says plainly what is wrong where FFmpeg would not
                pass
            opener = ImageSource if path.suffix.lower() in IMAGE_SUFFIXES else None
    if fps is not None and not path.is_dir():
        raise UsageError(f"{path}: --fps is for a folder of images; this has its own times")
    if opener is None:
        from engines.video.read.video import VideoSource  # which builds on this module

        return VideoSource(path, clip or Clip(), threads, bit_depth)
    if clip and clip != Clip():
        some = f"; for some of them name those, as in '{path}/1*.png'" * path.is_dir()
        raise UsageError(f"{path}: --start and --duration cut videos, not images{some}")
    if bit_depth > 8 and fps is None:
        raise UsageError(f"{path}: --bits {bit_depth} needs a video; images are written in 8 bits")
    source: FrameSource = opener(path)
    return source


def read_image_frame(path: Path) -> tuple[av.VideoFrame, FrameFormat]:
    """An image in planar RGB, turned as its EXIF data says.

    Raises:
        CannotOpen, BadData: it cannot be read, or is no image.
    """
    with reading(path):
        data = np.fromfile(path, np.uint8)
    try:
        bgr = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    except cv2.error as e:
        if "MAX_IMAGE" in e.err:
            raise BadData(f"{path}: over {MAX_PIXELS >> 20} megapixels; make it smaller") from e
        raise BadData(f"{path}: not a readable image ({e.err})") from e
    if bgr is None:
        raise BadData(f"{path}: not a readable image; it may be empty, damaged or another kind")
    height, width = bgr.shape[:2]
    fmt = FrameFormat(width, height, "gbrp", matrix=0, range=fr.FULL)
    return fr.from_rgb(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), fmt), fmt


class ImageSource(FrameSource):
    """One image as one frame."""

    def __init__(self, path: Path):
        super().__init__()
        self.path, self.total = path, 1
        self._image, self.format = read_image_frame(path)

    def items(self) -> Iterator[Frame]:
        yield Frame(self._image, self.format, 0, self.time_base, name=self.path.stem)


class ImageFolderSource(FrameSource):
    """The images of a folder in natural order.

    Each is at its own size; in a video, all are at that of the first.

    Args:
        fps: images a second of the video they make; None for images by themselves.
        pattern: what their names fit, as in a shell; all images when None.
        bit_depth: of a code of the video's frames.
    """

    def __init__(
        self,
        path: Path,
        fps: Fraction | None = None,
        pattern: str | None = None,
        bit_depth: int = 8,
    ):
        super().__init__()
        self.path = path
        with reading(path):
            named = (p for p in path.iterdir() if fnmatch(p.name, pattern or "*"))
            found = [p for p in named if is_image(p) and p.is_file()]
        self._files = sorted(found, key=partial(natural_key, ignore_case=True))
        if not self._files:
            which = f"of the name {pattern} " * bool(pattern)
            kinds = " ".join(sorted(IMAGE_SUFFIXES))
            raise BadData(f"{path}: no images {which}in this folder ({kinds})")
        self.total = len(self._files)
        stems = Counter(p.stem for p in self._files)
        self._names = [p.stem if stems[p.stem] == 1 else p.name for p in self._files]
        _, self.format = self._first_readable()
        self._is_video = fps is not None
        if fps is not None:
            self.rate, self.time_base = fps, 1 / fps
            width, height = self.format.width, self.format.height
            matrix = fr.BT709 if height >= 720 else fr.BT601
            self.format = FrameFormat(
                width, height, fr.with_bit_depth("yuv420p", bit_depth), matrix
            )

    def _first_readable(self) -> tuple[av.VideoFrame, FrameFormat]:
        for path in self._files:
            try:
                return read_image_frame(path)
            except (BadData, CannotOpen):
                continue  # named when its turn comes
        raise BadData(f"{self.path}: none of its {self.total} images can be read")

    def _converted(self, image: av.VideoFrame, fmt: FrameFormat) -> av.VideoFrame:
        size = self.format.width, self.format.height
        if (fmt.width, fmt.height) != size:
            text = f"{self.path}: images of another size are scaled to {size[0]}x{size[1]}"
            if text not in self.warnings:
                self.warnings.append(text)
        return fr.from_rgb(fr.RgbScaler(fmt)(image, *size), self.format)

    def items(self) -> Iterator[Frame]:
        bad = []
        for index, (path, name) in enumerate(zip(self._files, self._names, strict=True)):
            try:
                image, fmt = read_image_frame(path)
            except (BadData, CannotOpen) as e:
                self.warnings.append(str(e))
                bad.append(path.name)
                continue
            if self._is_video:
                image, fmt, name = self._converted(image, fmt), self.format, ""
            yield Frame(image, fmt, index, self.time_base, int(self._is_video), name)
        if bad:
            self.fault = (
                f"{self.path}: {len(bad)} of {self.total} images could not be read: "
                + ", ".join(bad[:5])
                + (" …" if len(bad) > 5 else "")
            )
