"""The streams of a file beside its video: which are copied, and what they are called."""

from __future__ import annotations

import math
import mimetypes
import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Any

from av.stream import Discard, Disposition

from engines.video.read.source import Attachment
from engines.video.read.video_stream import SIDE_PICTURES

VIDEO_TAGS = "language", "title"  # of the video stream, that say something of what it shows
COVER_TYPES = {"mjpeg": "image/jpeg", "png": "image/png", "gif": "image/gif", "bmp": "image/bmp"}


def name_of(stream: Any) -> str:
    """Return how a message names a stream: ``stream 2 (gpmd data)``."""
    codec = stream.codec_context.name if stream.codec_context else getattr(stream, "name", None)
    title = stream.metadata.get("title") or stream.metadata.get("handler_name", "").strip()
    what = " ".join(w for w in (codec or "unknown", stream.type) if w)
    return f"stream {stream.index} ({what}{f', {title!r}' * bool(title and not codec)})"


def data_streams(container: Any) -> list[Any]:
    """Return the data streams of an input, without those that FFmpeg reads as something else.

    These are an mp4's chapters, and timecodes, which are a tag of the video too.
    """
    chapters = bool(container.chapters())
    return [
        stream
        for stream in container.streams
        if stream.type == "data"
        and "timecode" not in stream.metadata
        and not (chapters and stream.discard == Discard.all)
    ]


def cover_streams(container: Any, video: Any) -> list[Any]:
    """Return the streams of an input that are cover images."""
    return [
        stream
        for stream in container.streams.video
        if stream.disposition & Disposition.attached_pic
        and stream is not video
        and stream.codec_context is not None
    ]


def unreadable_streams(container: Any, video: Any) -> list[Any]:
    """Return the streams of an input that cannot be copied: of unknown codecs, and thumbnails."""
    covers = cover_streams(container, video)
    return [
        stream
        for stream in container.streams
        if stream is not video
        and (
            (stream.type in ("audio", "subtitle") and stream.codec_context is None)
            or stream.type not in ("video", "audio", "subtitle", "data", "attachment")
            or (
                stream.type == "video"
                and stream.disposition & SIDE_PICTURES
                and stream not in covers
            )
        )
    ]


def attachments(container: Any, covers: Mapping[Any, bytes]) -> Iterator[Attachment]:
    """Yield the attached files of an input.

    Args:
        covers: the bytes of cover images, by their streams.
    """
    for stream, data in covers.items():
        kind = COVER_TYPES.get(stream.codec_context.name, f"image/{stream.codec_context.name}")
        name = f"cover{mimetypes.guess_extension(kind) or ''}"
        tags = stream.metadata
        yield Attachment(tags.get("filename", name), tags.get("mimetype", kind), data, stream)
    for stream in container.streams:
        if stream.type == "attachment":
            name = stream.metadata.get("filename", f"attachment{stream.index}")
            kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
            yield Attachment(name, stream.metadata.get("mimetype", kind), stream.data)


def chapters(container: Any, origin: Fraction, length: Fraction | None) -> Iterator[dict[str, Any]]:
    """Yield the chapters of a part of an input, in the part's times.

    Args:
        origin: where the part begins, in seconds.
        length: of the part, in seconds; None if it ends with the input.
    """
    for chapter in container.chapters():
        base = chapter["time_base"]
        begins, ends = (chapter[k] * base - origin for k in ("start", "end"))
        if ends > 0 and (length is None or begins < length):
            begins, ends = max(begins, 0), ends if length is None else min(ends, length)
            yield chapter | {"start": round(begins / base), "end": round(ends / base)}


def video_metadata(container: Any, video: Any, start: Fraction) -> dict[str, str]:
    """Return the tags of a video stream.

    Args:
        start: seconds of the file that are left out at its beginning; the timecode counts on.
    """
    tags = {key: video.metadata[key] for key in VIDEO_TAGS if key in video.metadata}
    owners = video, container, *container.streams
    timecode = next((o.metadata["timecode"] for o in owners if "timecode" in o.metadata), None)
    if timecode:
        rate = video.average_rate or video.guessed_rate
        tags["timecode"] = count_on(timecode, start, Fraction(rate)) if rate else timecode
    return tags


def count_on(timecode: str, seconds: Fraction, rate: Fraction) -> str:
    """Return a SMPTE timecode, ``10:11:12:13``, some seconds later.

    With ``;`` before the frame it is a drop-frame one, at 29.97 or 59.94 frames a second. What is
    not a timecode is returned as it is.
    """
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d)([:;.])(\d+)", timecode)
    if not match or not seconds:
        return timecode
    hours, minutes, secs, frame = (int(match[i]) for i in (1, 2, 3, 5))
    per_second, drops = round(rate), match[4] != ":"
    dropped = per_second // 15 if drops else 0  # numbers skipped in each minute not divisible by 10
    whole = hours * 60 + minutes
    count = (whole * 60 + secs) * per_second + frame - dropped * (whole - whole // 10)
    count += math.ceil(seconds * rate - Fraction(1, 100))  # the first frame that is not before
    if dropped:
        tens, rest = divmod(count, 600 * per_second - 9 * dropped)
        in_ten = max(0, rest - dropped) // (60 * per_second - dropped)
        count += dropped * (9 * tens + in_ten)
    whole_seconds, frame = divmod(count, per_second)
    minutes, secs = divmod(whole_seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours % 24:02}:{minutes:02}:{secs:02}{match[4]}{frame:0{len(match[5])}}"
