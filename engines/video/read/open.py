"""Open the input of a run: the factory of sources."""

from __future__ import annotations

import glob
import stat
from contextlib import closing, suppress
from fractions import Fraction
from pathlib import Path

from engines import images
from engines.errors import BadData, CannotOpen, Say, UsageError, reading, silent
from engines.video.config import Clip, Segment, Stream
from engines.video.frame import is_frame
from engines.video.pipeline import Stop
from engines.video.read.animation import AnimationSource
from engines.video.read.live import LiveSource, StreamSource
from engines.video.read.pictures import (
    FrameImage,
    ImageFolderSource,
    ImageSource,
    converted,
    frame_image,
    rgb_format,
)
from engines.video.read.source import FrameSource
from engines.video.read.video import VideoSource


def open_source(
    given: Path | Stream,
    clip: Clip | None = None,
    threads: int = 0,
    fps: Fraction | None = None,
    bit_depth: int = 8,
    *,
    stop: Stop | None = None,
    reconnect: bool = False,
    warn: Say = silent,
    say: Say = silent,
    segment: Segment | None = None,
) -> FrameSource:
    """Open a video file, an image, a folder of images, those that ``*.png`` fits, or a stream.

    What is an image is told by what is in a file, before its name. An animated image is a video.

    Args:
        clip: a part of a video; of a stream only its duration can be chosen.
        threads: of the decoder; 0 leaves it to FFmpeg. The frames do not depend on it.
        fps: makes a video of a folder's images: frames a second.
        bit_depth: of the samples of a video's frames, 8 or 10.
        stop: ends every wait for a stream.
        reconnect: wait for a live stream that has stopped to come back.
        warn: told what the input cannot give; to be shown after the run.
        say: told what happens to a live stream; to be shown at once.
        segment: of a video file's clip, to give alone.

    Raises:
        CannotOpen: missing, not readable, or neither file nor folder; nothing comes.
        BadData: junk, no image in it, HDR, or over `MAX_PIXELS`.
        Unavailable: a camera that does not start.
        UsageError: an option that does not fit the kind of input.
    """
    if not isinstance(given, Stream):
        if reconnect:
            raise UsageError(f"--reconnect: {given} is not live")
        return _open_path(given, clip or Clip(), threads, fps, bit_depth, warn, segment)
    if fps:
        raise UsageError(f"--fps: is for a folder of images; {given} is none")
    return _open_stream(
        given, clip or Clip(), threads, bit_depth, stop or Stop(), reconnect, warn, say
    )


def _open_path(
    path: Path,
    clip: Clip,
    threads: int,
    fps: Fraction | None,
    bit_depth: int,
    warn: Say,
    segment: Segment | None,
) -> FrameSource:
    pattern = None
    with reading(path):
        if glob.has_magic(path.name) and not path.exists():
            path, pattern = path.parent, path.name
        mode = path.stat().st_mode
        is_folder = stat.S_ISDIR(mode)
        if not is_folder:
            if not stat.S_ISREG(mode):
                raise CannotOpen(
                    f"{path}: neither a file nor a folder", f"use: wsshm run - < {path}"
                )
            with path.open("rb"):  # names the fault more plainly than FFmpeg
                pass
    if fps is not None and not is_folder:
        raise UsageError(f"{path}: --fps is for a folder of images; this has its own times")
    if not is_folder and images.is_animation(path):
        return AnimationSource(path, clip, bit_depth, warn)
    picture = None
    if not is_folder and not images.is_still(path):
        video = VideoSource(path, clip, threads, bit_depth, warn, segment)
        if not video.is_picture:
            return video
        picture = _first_image(video)
    if clip != Clip():
        some = f"for some of them name those, as in '{path}/1*.png'" if is_folder else ""
        raise UsageError(f"{path}: --start and --duration cut videos, not images", some)
    if bit_depth > 8 and fps is None:
        raise UsageError(f"{path}: --bits {bit_depth} needs a video; images are written in 8 bits")
    if is_folder:
        return ImageFolderSource(path, fps, pattern, bit_depth, warn)
    return ImageSource(path, warn, picture)


def open_image(path: Path, warn: Say = silent) -> FrameImage:
    """Read an image file of any format that `open_source` takes; of an animation the first picture.

    Args:
        warn: told what of the file is not used, and what is missing.

    Raises:
        CannotOpen: it cannot be read.
        BadData: it is no image, or damaged.
    """
    if not path.is_file() or images.is_still(path) or images.is_animation(path):
        return frame_image(images.read(path, warn))
    with suppress(BadData), closing(VideoSource(path, Clip(), warn=warn)) as video:
        if video.is_picture:
            return _first_image(video)
    raise BadData(f"{path}: not a readable image", "it may be empty, damaged or another kind")


def _first_image(video: VideoSource) -> FrameImage:
    """Return the picture of a format that FFmpeg alone reads, and close its file."""
    with closing(video):
        frame = next(item for item in video.items() if is_frame(item))
    shown = FrameImage(frame.image, frame.format, frame.alpha)
    return converted(shown, rgb_format(frame.format.width, frame.format.height))


def _open_stream(
    stream: Stream,
    clip: Clip,
    threads: int,
    bit_depth: int,
    stop: Stop,
    reconnect: bool,
    warn: Say,
    say: Say,
) -> FrameSource:
    if clip.start:
        raise UsageError(f"{stream}: --start needs a file; a stream cannot be wound forward")
    not_live = UsageError(f"--reconnect: {stream} is not live; it ends when it ends")
    if reconnect and stream.paced is False:
        raise not_live
    part = Clip() if stream.paced else clip
    source = StreamSource(stream, part, threads, bit_depth, warn, stop)
    if stream.paced or (stream.paced is None and not source.has_length):
        return LiveSource(source, stream, clip, stop, reconnect, say)
    if reconnect:
        source.close()
        raise not_live
    return source
