"""Tags, chapters and attached files of the source, in the output."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import av

from engines.video.read.source import Attachment
from engines.video.write.codecs import Container

# Tags that describe the source's container and not what it shows.
CONTAINER_TAGS = {
    *("major_brand", "minor_version", "compatible_brands", "encoder", "software", "duration"),
    # MXF
    *("operational_pattern_ul", "uid", "generation_uid", "product_uid", "company_name"),
    *("product_name", "product_version", "product_version_num", "toolkit_version_num"),
    *("application_platform", "modification_date", "material_package_umid", "file_package_umid"),
    # FLV
    *("metadatacreator", "hasmetadata", "haskeyframes", "hasvideo", "hasaudio", "hascuepoints"),
    *("canseektoend", "datasize", "videosize", "audiosize", "lasttimestamp"),
    *("lastkeyframetimestamp", "lastkeyframelocation"),
    # ASF
    *("wmfsdkversion", "wmfsdkneeded", "deviceconformancetemplate", "isvbr"),
}
PHONE_TAGS = "com.apple.quicktime.", "com.android."  # which an mp4 has in a list of its own
STREAM_TAGS = "language", "title"
# What FFmpeg calls the samples of the track that it makes of a cover: JPEG, PNG, BMP.
COVER_SAMPLES = b"\x0d\0\0\0", b"\x0e\0\0\0", b"\x1b\0\0\0"


def muxer_options(kind: Container, metadata: Mapping[str, str]) -> dict[str, str]:
    """Return what the muxer is told, for a source with these tags."""
    options = dict(kind.options)
    if kind.is_mp4 and any(key.lower().startswith(PHONE_TAGS) for key in metadata):
        options["movflags"] += "+use_metadata_tags"
    return options


def wanted_tags(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a file that say something of what it shows."""
    return {k: v for k, v in metadata.items() if k.lower() not in CONTAINER_TAGS}


def lost_tags(kind: Container, options: dict[str, str], tags: Mapping[str, str]) -> list[str]:
    """Return those tags of a file that an output does not hold, by writing one in memory."""
    if not tags:
        return []
    written = io.BytesIO()
    try:
        with av.open(written, "w", format=kind.format, container_options=options) as trial:
            trial.metadata.update(tags)
            sound: Any = trial.add_stream(kind.audio, rate=48000, layout="mono")
            silence = av.AudioFrame("fltp" if kind.audio == "aac" else "s16", "mono", 960)
            silence.sample_rate, silence.pts = 48000, 0
            for plane in silence.planes:
                plane.update(bytes(plane.buffer_size))
            trial.mux([*sound.encode(silence), *sound.encode(None)])
        with av.open(io.BytesIO(written.getvalue()), metadata_errors="replace") as made:
            held = {key.lower() for key in made.metadata}
    except (av.error.FFmpegError, ValueError):
        return [*tags]
    return [key for key in tags if key.lower() not in held]


def copy_labels(source: Any, out: Any) -> None:
    """Copy a stream's language, title and disposition (default, forced and so on)."""
    for key in STREAM_TAGS:
        if key in source.metadata:
            out.metadata[key] = source.metadata[key]
    out.disposition = source.disposition


def holds_timecode(kind: Container, timecode: str, rate: Fraction) -> bool:
    """Return whether an output holds this timecode at so many frames a second."""
    try:
        with av.open(
            io.BytesIO(), "w", format=kind.format, container_options=dict(kind.options)
        ) as trial:
            codec = "libvpx-vp9" if kind.format == "webm" else "mpeg4"
            video = trial.add_stream(codec, rate=rate, width=16, height=16)
            video.metadata["timecode"] = timecode
            trial.start_encoding()
    except (av.error.FFmpegError, ValueError):
        return False
    return True


def add_attachments(
    container: Any, kind: Container, options: Mapping[str, str], files: Iterable[Attachment]
) -> tuple[dict[Any, bytes], list[str]]:
    """Add attached files to a container that has no header yet.

    Returns:
        The bytes of cover images to write after the header, by their streams, and the names of
        files that the container cannot hold.
    """
    covers: dict[Any, bytes] = {}
    left_out: list[str] = []
    # An mp4 has either a list of covers and of tags for music players, or one of phones' tags.
    takes_covers = kind.format == "mp4" and "use_metadata_tags" not in options["movflags"]
    for file in files:
        if kind.format == "matroska":
            container.add_attachment(file.name, file.mimetype, file.data)
        elif takes_covers and file.cover is not None and _is_cover_codec(file.cover):
            stream = container.add_stream_from_template(file.cover, opaque=True)
            stream.disposition = av.stream.Disposition.attached_pic
            covers[stream] = file.data
        else:
            left_out.append(file.name)
    return covers, left_out


def _is_cover_codec(cover: Any) -> bool:
    return cover.codec_context.name in ("mjpeg", "png", "bmp")


def hide_cover_tracks(path: Path) -> None:
    """Take the tracks of cover images out of a finished mp4, in place.

    The cover is among its tags. FFmpeg writes an empty video track for it as well where the file
    was a fragmented one, and players may choose that.
    """
    with path.open("r+b") as file:
        at = 0
        while len(head := file.read(8)) == 8:
            size, name = struct.unpack(">I4s", head)
            if size == 1:
                (size,) = struct.unpack(">Q", file.read(8))
            if name == b"moov":
                file.seek(at)
                for track in _cover_tracks(file.read(size)):
                    file.seek(at + track + 4)
                    file.write(b"free")
            if size < 8:
                return  # it goes on to the end of the file
            at += size
            file.seek(at)


def _cover_tracks(moov: bytes) -> Iterator[int]:
    """Yield where in a moov box the tracks of covers begin."""
    at = 8
    while at + 8 <= len(moov):
        size, name = struct.unpack(">I4s", moov[at : at + 8])
        if size < 8:
            return
        samples = moov.find(b"stsd", at, at + size)
        if name == b"trak" and moov[samples + 16 : samples + 20] in COVER_SAMPLES:
            yield at
        at += size
