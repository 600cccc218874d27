"""The request of a run, as plain data. Standard library only: the command line imports it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Literal, get_args

from engines.contract import Precision
from engines.machine import cores

STDOUT = Path("-")
Pipe = Literal["mkv", "webm", "y4m"]  # containers that need no seeking; the first is the default
PIPES: tuple[Pipe, ...] = get_args(Pipe)
PrecisionChoice = Literal["auto", Precision]
MIN_SIZE, MAX_SIZE = 64, 2160  # pixels: shorter edge that a user may let the network see
MAX_SECONDS = 10**7  # of a moment in a video or a part of it
OPENING_SECONDS, SILENCE_SECONDS = 5.0, 1.0  # to wait for a stream's first image, and for the next
# Two frames in parallel with one thread each cost less than one frame with two threads: no thread
# waits for another.
NETWORK_WORKERS = 2


class Save(str, Enum):
    """The part of a composited frame to write."""

    composite = "composite"
    alpha = "alpha"  # the matte: grey, full range
    foreground = "foreground"  # the person with straight alpha


class BackgroundFit(str, Enum):
    """The way a background of another aspect ratio fills the frame."""

    cover = "cover"  # fills the frame; the excess is cropped evenly
    contain = "contain"  # the whole background is seen; the rest is of one colour
    stretch = "stretch"  # distorted


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
class Segment:
    """A part of a clip that is written by itself; its frames keep their times in the whole clip.

    All in exact seconds from the video's first moment, as in `Clip`.

    Args:
        begin: of the first frame that is written; None is the clip's start.
        end: of the first frame that is not; None is the clip's end.
        lead_in: of the first frame that is looked at, as the past of `begin`; None is `begin`.
    """

    begin: Fraction | None = None
    end: Fraction | None = None
    lead_in: Fraction | None = None


@dataclass(frozen=True)
class Encoding:
    """The encoding of video; None leaves a choice to the container or the codec.

    `codec` is a short name or one of FFmpeg's encoders, `crf` and `preset` are in the encoder's own
    scale and words. `format` is the container of what is written into a pipe, one of `PIPES`.
    `threads` is the number the encoder gets; None means all cores.
    """

    codec: str | None = None
    crf: float | None = None
    audio: bool = True
    preset: str | None = None
    format: Pipe | None = None
    threads: int | None = None


@dataclass(frozen=True)
class MatteOptions:
    """The post-processing of a matte.

    `smooth` is the weight of the past where nothing moves, in [0, 1). `refine` fits the matte's
    edges to the frame's, and `decontaminate` takes the old background's colour out of the person's
    edges. Parts smaller than the share `islands` of the largest one are removed. `erode` and
    `feather` are in pixels of the frame. `coarse` refines at half the frame's size: a third of the
    work, for real time.
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

    `paced` says whether it sends at its own pace; None if only the opened stream tells. Outputs are
    named after `stem`.
    """

    url: str
    stem: str
    paced: bool | None
    format: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)
    is_camera: bool = False

    def __str__(self) -> str:
        """Return its name in messages: the address without user and password."""
        return re.sub(r"//[^/]*@", "//", self.url)

    @property
    def silence(self) -> float:
        """Seconds without a frame after which it counts as stopped."""
        return OPENING_SECONDS if self.paced is None else SILENCE_SECONDS


@dataclass(frozen=True)
class RunConfig:
    """The complete request of a run."""

    input: Path | Stream
    output: Path | None = None
    background: str = "blur"
    background_fit: BackgroundFit = BackgroundFit.cover
    background_colour: str | None = None  # #rrggbb, behind what is no whole frame; None: black
    output_is_folder: bool = False  # even if its name looks like a file's
    save: tuple[Save, ...] = (Save.composite,)
    model: str | None = None
    device: str = "auto"
    engine: str = "auto"
    precision: str = "auto"  # of `PrecisionChoice`
    size: int | None = None  # shorter edge that the network sees, in pixels; None: the model's own
    auto_size: bool = False  # choose the largest size that keeps up with a file's frame rate
    realtime: bool = False  # ... the model and x264's preset as well
    matte: MatteOptions = field(default_factory=MatteOptions)
    clip: Clip = field(default_factory=Clip)
    segment: Segment | None = None  # of the clip; only its images are written
    encoding: Encoding = field(default_factory=Encoding)
    overwrite: bool = False
    threads: int = 0  # of the decoder; 0 leaves it to FFmpeg
    network_threads: int | None = None  # of all workers together; None means all cores
    max_workers: int = NETWORK_WORKERS
    bit_depth: int = 8  # of the samples of video, 8 or 10
    fps: Fraction | None = None  # frames a second; makes a video of a folder's images
    reconnect: bool = False  # wait for a live input that has stopped to come back
    virtual_camera: bool = False
    virtual_device: str | None = None  # its path; None means the first
    preview: bool = False  # show frames in a window

    @property
    def is_transparent(self) -> bool:
        """Whether the person stays without a background."""
        return self.background == "transparent"

    @property
    def has_composite(self) -> bool:
        """Whether the background is anywhere, in a file or a window."""
        return Save.composite in self.save or self.is_shown

    @property
    def is_shown(self) -> bool:
        """Whether frames are shown in time as they are made; files are then written if asked."""
        return self.virtual_camera or self.preview

    @property
    def writes_files(self) -> bool:
        """Whether any file is written."""
        return self.output is not None or not self.is_shown

    @property
    def workers(self) -> int:
        """Number of frames that the network works on in parallel."""
        return min(self.max_workers, self.network_threads or cores())
