"""The video stream of a file: which one, how it is decoded, and what its container says of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import av
from av.codec.context import Flags
from av.stream import Disposition

from engines.errors import BadData, Say
from engines.video.ffmpeg_log import logging_up_to

# Streams of pictures that are not the film.
SIDE_PICTURES = Disposition.attached_pic | Disposition.timed_thumbnails | Disposition.dependent
# Codec tags in mp4 that hide the codec: FairPlay, and Common Encryption without its codec.
ENCRYPTED = re.compile(r"\b(drmi|encv) / 0x")
# FFmpeg's own decoders of these leave out the alpha, which lies beside the pictures.
ALPHA_DECODERS = {"vp8": "libvpx", "vp9": "libvpx-vp9"}
# A sequence parameter set of the second layer of HEVC, after its length or a start code.
SECOND_LAYER = re.compile(rb"\0.\x42\x09", re.DOTALL)
# Demuxers of files that name other files and addresses, which would be opened unasked.
NAMING_OTHERS = {"concat", "dash", "hls", "imf", "rtsp", "sdp", "webm_dash_manifest"}
# Nor is a file's own name a pattern of those of numbered pictures.
ALONE_OPTIONS = {
    "format_whitelist": ",".join(sorted(av.formats_available - NAMING_OTHERS)),
    "pattern_type": "none",
}
CROPPING_CONTAINERS = "matroska", "mov"  # the first of the demuxer's names
PHOTO_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "avif"}  # of which FFmpeg gives one tile
PICTURE_FORMATS = "_pipe", "image2", "ico"  # how FFmpeg's names of formats of pictures end
SCRAMBLED_BYTES = 1 << 20  # of a transport stream, that are looked at
TS_SYNC, TS_PACKET_BYTES, SCRAMBLING_CONTROL = b"\x47", 188, 0xC0
DECRYPT_REMEDY = "use a copy of it without copy protection"


class Crop(NamedTuple):
    """Pixels of a stored image that are not to be shown, on each side."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    @property
    def across(self) -> int:
        """Pixels that the width loses."""
        return self.left + self.right

    @property
    def down(self) -> int:
        """Pixels that the height loses."""
        return self.top + self.bottom


def open_film(source: object, name: object, options: Mapping[str, str]) -> Any:
    """Open a video as an `av.container.InputContainer`, and nothing that it names.

    Args:
        source: what PyAV opens, a path or a file object.
        name: of it in messages.
        options: for the demuxer and its decoders.

    Raises:
        BadData: a list of other files, such as a playlist.
        Exception: what PyAV raises.
    """
    try:
        # Old tags are in any encoding; they are not worth refusing a video for.
        return av.open(source, options={**options, **ALONE_OPTIONS}, metadata_errors="replace")
    except av.error.ArgumentError as e:
        raise BadData(
            f"{name}: not a readable video, or a list of other files",
            "it may be damaged; name the files of a list themselves",
        ) from e


def choose_video(container: Any, path: object, warn: Say) -> Any:
    """Return the `av.VideoStream` that is the film: the default one, else the largest.

    Args:
        container: an `av.container.InputContainer`.
        warn: told of other films in the file.

    Raises:
        BadData: there is none, none that can be decoded, it is encrypted, or a photograph.
    """
    streams = container.streams
    if container.metadata.get("major_brand") in PHOTO_BRANDS:
        raise BadData(f"{path}: a photograph, not a video", "save it to a file and name that")
    films = [v for v in streams.video if not v.disposition & SIDE_PICTURES]
    if not films:
        kinds = ", ".join(sorted({s.type for s in streams}))
        raise BadData(f"{path}: no video in it" + (f" ({kinds} only)" if kinds else ""))
    known = [v for v in films if v.codec_context is not None]
    if not known:
        if any(ENCRYPTED.search(_description(container, v.index)) for v in films):
            raise encrypted(path)
        raise BadData(f"{path}: FFmpeg has no decoder for its video stream")

    def rank(stream: Any) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    film = max(known, key=rank)
    if others := [v for v in films if v is not film]:
        names = ", ".join(_name(v) for v in others)
        warn(f"{path}: the video is {_name(film)}; left out {names}")
    if _says_encrypted(container, film) or (not film.width and _is_scrambled(container, path)):
        raise encrypted(path)
    return film


def is_picture(container: Any, video: Any, path: object) -> bool:
    """Return whether a file is a picture, as in TGA, by FFmpeg's name of its format.

    A pipe may have many of them.
    """
    is_one = isinstance(path, Path) and container.format.name.endswith(PICTURE_FORMATS)
    return is_one and video.codec_context.name != "mjpeg"


def _name(stream: Any) -> str:
    if stream.codec_context is None:
        return f"stream {stream.index} (no decoder)"
    return f"stream {stream.index} ({stream.width}x{stream.height})"


def _says_encrypted(container: Any, stream: Any) -> bool:
    """Return whether Matroska or WebM say so of a stream, or ASF of the whole file."""
    protected = any(key.startswith("ASF_Protection") for key in container.metadata)
    return protected or "enc_key_id" in stream.metadata


def is_encrypted(packet: av.Packet) -> bool:
    """Return whether a packet cannot be decoded for want of a key."""
    return packet.has_sidedata("encryption_info")


def _is_scrambled(container: Any, path: object) -> bool:
    """Return whether the beginning of a transport stream in a file says that it is encrypted."""
    if container.format.name != "mpegts" or not isinstance(path, Path):
        return False
    with path.open("rb") as file:
        data = file.read(SCRAMBLED_BYTES)
    begin = max(0, data.find(TS_SYNC))
    packets = [data[at : at + 4] for at in range(begin, len(data) - 3, TS_PACKET_BYTES)]
    return 2 * sum(bool(p[3] & SCRAMBLING_CONTROL) for p in packets) > len(packets)


def encrypted(path: object) -> BadData:
    """Return the error that the video of a file is encrypted."""
    return BadData(f"{path}: the video is encrypted", DECRYPT_REMEDY)


def open_decoder(stream: Any, warn: Say) -> Any:
    """Return the `av.VideoCodecContext` that decodes a stream, with its alpha if it has one."""
    context = stream.codec_context
    name = ALPHA_DECODERS.get(context.name)
    if name and stream.metadata.get("alpha_mode") == "1":
        try:
            context = av.CodecContext.create(name, "r")
        except ValueError:  # av.codec.codec.UnknownCodecError
            warn(f"this FFmpeg cannot decode the alpha of {context.name} video: taken as opaque")
    if context.name == "hevc" and SECOND_LAYER.search(context.extradata or b""):
        warn(
            "a second layer of the HEVC video is left out; if it is its alpha, convert it first: "
            "ffmpeg -i IN -c:v ffv1 OUT.mkv"
        )
    # Else the image keeps columns that the stream says are to be cropped.
    context.flags |= Flags.unaligned
    return context


def cropping(container: Any, stream: Any) -> Crop:
    """Return what the container says is to be cropped, besides what the decoder crops."""
    if not container.format.name.startswith(CROPPING_CONTAINERS):
        return Crop()
    text = _description(container, stream.index)
    found = re.search(r"^ +Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$", text, re.MULTILINE)
    return Crop(*map(int, found.groups())) if found else Crop()


def _description(container: Any, index: int) -> str:
    """Return what FFmpeg prints of a stream: some of that PyAV gives in no other way."""
    with logging_up_to(av.logging.INFO):
        text = container.dumps_format()
    found = re.search(
        rf"^  Stream #0:{index}\b.*?(?=^  Stream #|\Z)", text, re.DOTALL | re.MULTILINE
    )
    return found[0] if found else ""


def has_unused_alpha(container: Any, stream: Any) -> bool:
    """Return whether the alpha of the images means nothing, as in uncompressed AVI of 32 bits."""
    return container.format.name == "avi" and stream.codec_context.name == "rawvideo"
