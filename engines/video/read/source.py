"""The interface of a source of frames: a video file, an image, a folder of images, a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

import av

from engines.errors import BadData, Say, WsshmError, silent
from engines.video.config import Stream
from engines.video.frame import Frame, FrameFormat, is_frame


@dataclass(frozen=True)
class Attachment:
    """A file within a video: a font, or a cover image.

    Attributes:
        name: of the file.
        mimetype: as in ``font/ttf``.
        data: its bytes.
        cover: the `av.VideoStream` that a cover image is in the input; None for other files.
    """

    name: str
    mimetype: str
    data: bytes
    cover: Any = None


class FrameSource(ABC):
    """A source of `Frame`s in the order they are shown and, between them, of packets to copy.

    Use it as a context manager, or `close` it. Only the source itself sets its attributes: `fault`
    and `fault_kind` when its items end, all others before its constructor returns.

    Args:
        warn: told what the source cannot give, each text once; it is shown after the run.

    Attributes:
        path: the file or folder, or the stream.
        is_live: whether frames come at the sender's pace, so that a frame that waits is late.
        format: of the first frame; in a video, of all frames.
        total: number of frames to come; None if the input does not say.
        rate: average frames a second; None for images that make no video.
        time_base: seconds of a tick of the frames' times.
        sample_aspect: width to height of a pixel; None means square.
        audio: the `av.AudioStream`s whose packets are among the items.
        subtitles: the `av.SubtitleStream`s whose packets are among the items.
        data: the `av.stream.DataStream`s whose packets are among the items.
        first_packets: copies of the first packets of streams of `audio` and `data`, by stream
            index, in the input's own times; none for a stream that begins late.
        attachments: fonts and cover images.
        metadata: title, date, … of the whole input.
        video_metadata: language, title and timecode of the video stream, in the clip's times.
        chapters: as PyAV's `Container.chapters` gives them, in the clip's times.
        fault: why the input ended early, in one line; None if it did not.
        fault_kind: the error that the fault is.
    """

    path: Path | Stream
    is_live: bool = False
    format: FrameFormat
    total: int | None
    rate: Fraction | None = None
    time_base: Fraction = Fraction(1, 1)
    sample_aspect: Fraction | None = None
    audio: tuple[Any, ...] = ()
    subtitles: tuple[Any, ...] = ()
    data: tuple[Any, ...] = ()
    first_packets: Mapping[int, tuple[av.Packet, ...]] = MappingProxyType({})
    attachments: tuple[Attachment, ...] = ()
    metadata: Mapping[str, str] = MappingProxyType({})
    video_metadata: Mapping[str, str] = MappingProxyType({})
    chapters: tuple[Any, ...] = ()
    fault: str | None = None
    fault_kind: type[WsshmError] = BadData

    def __init__(self, warn: Say = silent) -> None:
        self._warn = _once(warn)

    @abstractmethod
    def items(self) -> Iterator[Frame | av.Packet]:
        """Yield frames and packets to copy, once; stop early by closing the iterator."""

    def frames(self) -> Iterator[Frame]:
        """Yield the frames alone, once."""
        return filter(is_frame, self.items())

    def close(self) -> None:  # noqa: B027 - images hold nothing open
        """Release the input; safe to call twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _once(say: Say) -> Say:
    """Return a `say` that leaves out repeated texts."""
    said: set[str] = set()

    def say_new(text: str) -> None:
        if text not in said:
            said.add(text)
            say(text)

    return say_new
