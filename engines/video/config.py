"""What a run is asked to do, as plain data; standard library only, so that anyone may import it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path

from engines.machine import cores

STDOUT = Path("-")
PIPES = ("mkv", "webm", "y4m")  # containers that need no seeking; the first is the default
OPENING_SECONDS, SILENCE_SECONDS = 5.0, 1.0  # to wait for a stream to begin, and to go on
# Two frames at once with a thread each cost less than one frame with two threads: no thread waits
# for another.
NETWORK_WORKERS = 2


class Save(str, Enum):
    """What of a composited frame is written."""

    composite = "composite"
    alpha = "alpha"  # the matte: grey, full range
    foreground = "foreground"  # the person with straight alpha


class BackgroundFit(str, Enum):
    """How a background of another aspect fills the frame."""

    cover = "cover"  # to all edges; what stands over is cut off evenly
    contain = "contain"  # all of it is seen; the rest is black
    stretch = "stretch"


@dataclass(frozen=True, init=False)
class Clip:
    """The part of a video to use, in exact seconds from the video's first moment.

    Args:
        start: where it begins. A float stands for the decimal it prints as: 0.1 is one tenth.
        duration: how long it lasts; None means to the end of the video.
    """

    start: Fraction
    duration: Fraction | None

    def __init__(self, start: Fraction | float = 0, duration: Fraction | float | None = None):
        object.__setattr__(self, "start", Fraction(str(start)))
        exact = None if duration is None else Fraction(str(duration))
        object.__setattr__(self, "duration", exact)

    @property
    def end(self) -> Fraction | None:
        """Where it ends, in seconds from the video's first moment; None is the video's end."""
        return None if self.duration is None else self.start + self.duration


@dataclass(frozen=True)
class Encoding:
    """How video is encoded; None leaves it to the container and the codec's own scale."""

    codec: str | None = None
    crf: float | None = None
    audio: bool = True
    preset: str | None = None  # of the encoder, in its own words
    format: str | None = None  # container of standard output, one of `PIPES`


@dataclass(frozen=True)
class MatteOptions:
    """What is done to a matte after the network.

    `smooth` is as in `engines.video.matte.smooth.Smoother`, `islands` the share of the largest part
    under which a part is removed, `erode` and `feather` are in pixels of the frame. `coarse`
    refines at half the frame's size: a third of the work, for real time.
    """

    smooth: float = 0.8
    refine: bool = True
    decontaminate: bool = True
    islands: float = 0.0
    erode: int = 0
    feather: float = 0.0
    coarse: bool = False


@dataclass(frozen=True)
class Stream:
    """An input that FFmpeg opens by `url` with the demuxer `format` and `options`.

    `paced` says that it sends at its own pace: True, False, or None where only the opened stream
    tells. `stem` is what outputs are named after.
    """

    url: str
    stem: str
    paced: bool | None
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    is_camera: bool = False

    def __str__(self) -> str:
        """Return what it is called in messages: its address without user and password."""
        return re.sub(r"//[^/]*@", "//", self.url)

    @property
    def silence(self) -> float:
        """Seconds without a frame after which it has stopped."""
        return OPENING_SECONDS if self.paced is None else SILENCE_SECONDS


@dataclass(frozen=True)
class RunConfig:
    """Everything `wsshm run` was asked to do."""

    input: Path | Stream
    output: Path | None = None
    background: str = "blur"
    background_fit: BackgroundFit = BackgroundFit.cover
    output_is_folder: bool = False  # whatever its name says
    save: tuple[Save, ...] = (Save.composite,)
    model: str | None = None
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"  # or one of fp32, fp16, int8
    size: int | None = None  # shorter edge the network sees; the model's own when None
    auto_size: bool = False  # choose the largest size that keeps up with a file's frame rate
    realtime: bool = False  # ... the model and x264's preset as well
    matte: MatteOptions = field(default_factory=MatteOptions)
    clip: Clip = field(default_factory=Clip)
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    threads: int = 0  # of the decoder; 0 leaves it to FFmpeg
    network_threads: int | None = None  # of all workers together; all cores when None
    max_workers: int = NETWORK_WORKERS
    bit_depth: int = 8  # of video: 8 or 10
    fps: Fraction | None = None  # makes a video of a folder's images
    reconnect: bool = False  # wait for a live input that has stopped to come back
    virtual_camera: bool = False
    virtual_device: str | None = None  # which one; the first when None
    preview: bool = False  # a window

    @property
    def is_transparent(self) -> bool:
        """Whether nothing is put behind the person."""
        return self.background == "transparent"

    @property
    def is_shown(self) -> bool:
        """Whether frames are for somebody who looks on: in time, and in a file only if asked."""
        return self.virtual_camera or self.preview

    @property
    def writes_files(self) -> bool:
        """Whether anything is written to be kept."""
        return self.output is not None or not self.is_shown

    @property
    def workers(self) -> int:
        """How many frames the network sees at once."""
        return min(self.max_workers, self.network_threads or cores())
