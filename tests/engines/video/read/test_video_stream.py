"""Which of a file's streams is the film, what its container cuts from it, and what is encrypted."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext
from av.stream import Disposition

from engines.errors import BadData
from engines.video import frame as fr
from engines.video.config import Clip, RunConfig
from engines.video.read.open import open_source
from engines.video.read.video_stream import open_decoder
from engines.video.run import run as run_all
from tests.engines.video.read.helpers import frames_of
from tests.media import noise_clip, sound_clip

DEFAULT, NONE = Disposition.default, Disposition(0)


def tracks(path: Path, kinds: list[tuple[int, int, Disposition]]) -> Path:
    """A film with several video tracks, each of its own size and shade of grey."""
    with av.open(str(path), "w") as out:
        streams = []
        for width, height, disposition in kinds:
            stream = out.add_stream("libx264", rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.disposition = disposition
            streams.append(stream)
        for i, stream in enumerate(streams):
            grey = np.full((stream.height, stream.width, 3), 40 + 40 * i, np.uint8)
            for _ in range(3):
                out.mux(stream.encode(av.VideoFrame.from_ndarray(grey, "rgb24")))
            out.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
@pytest.mark.parametrize(
    ("kinds", "chosen"),
    [
        ([(32, 24, NONE), (64, 48, DEFAULT)], 1),
        ([(64, 48, NONE), (32, 24, DEFAULT)], 1),
        ([(32, 24, DEFAULT), (64, 48, DEFAULT)], 1),
        ([(32, 24, NONE), (64, 48, NONE), (48, 64, NONE)], 1),
        ([(64, 48, DEFAULT), (64, 48, DEFAULT)], 0),
    ],
)
def test_the_default_track_else_the_largest(
    tmp_path: Path, kinds: list[tuple[int, int, Disposition]], chosen: int, ending: str
) -> None:
    """The others are named, with their sizes. (A transport stream cannot name a default.)"""
    clip = tracks(tmp_path / f"in.{ending}", kinds)
    if ending == "mp4" and not any(disposition for *_, disposition in kinds):
        chosen = 0  # its muxer makes the first one the default
    if ending == "ts":
        sizes = [width * height for width, height, _ in kinds]
        chosen = sizes.index(max(sizes))
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        width, height, _ = kinds[chosen]
        assert (source.format.width, source.format.height) == (width, height)
    assert len(found) == 3
    luma = fr.planes(found[0].image)[0]
    assert abs(luma.mean() - (16 + (40 + 40 * chosen) * 219 / 255)) <= 2
    others = [f"{i} ({k[0]}x{k[1]})" for i, k in enumerate(kinds) if i != chosen]
    (said,) = (w for w in warnings if "left out" in w)
    assert f"stream {chosen} ({width}x{height})" in said.partition("left out")[0]
    for other in others:
        assert other in said.partition("left out")[2]


# What the container cuts


def element(name: int, data: bytes) -> bytes:
    """An EBML element, its length in 8 bytes."""
    code = name.to_bytes((name.bit_length() + 7) // 8, "big")
    return code + (len(data) | 1 << 56).to_bytes(8, "big") + data


SEGMENT, TRACKS, TRACK, VIDEO = b"\x18\x53\x80\x67", b"\x16\x54\xae\x6b", b"\xae", b"\xe0"


def with_elements(path: Path, within: list[bytes], more: bytes) -> Path:
    """Add elements at the end of one in a Matroska file, given by the way to it.

    The header of each on the way is written anew; what refers to places in the file becomes wrong,
    which a demuxer bears.
    """
    data = path.read_bytes()

    def number(at: int) -> tuple[int, int]:
        length = 9 - data[at].bit_length()
        return int.from_bytes(data[at : at + length], "big") - (1 << 7 * length), length

    def rebuilt(begin: int, end: int, way: list[bytes]) -> bytes:
        if not way:
            return data[begin:end] + more
        at, parts, done = begin, [], False
        while at < end:
            id_length = 9 - data[at].bit_length()
            code = data[at : at + id_length]
            size, length = number(at + id_length)
            inside = at + id_length + length
            after = min(end, inside + size)
            if code == way[0] and not done:
                content, done = rebuilt(inside, after, way[1:]), True
                parts.append(element(int.from_bytes(code, "big"), content))
            else:
                parts.append(data[at:after])
            at = after
        return b"".join(parts)

    path.write_bytes(rebuilt(0, len(data), within))
    return path


def counted(name: int, value: int) -> bytes:
    return element(name, bytes([value]))


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("codec", ["libx264", "ffv1"])
def test_matroska_cropping_is_applied(
    tmp_path: Path, bit_depth: int, turned: bool, codec: str
) -> None:
    """As players do: what is cut off is not in the picture, and its place is exact."""
    pix_fmt = "yuv420p" if bit_depth == 8 else "yuv420p10le"
    options = {"qp": "0"} if codec == "libx264" else {}
    clip = noise_clip(tmp_path / "in.mkv", 3, 64, 48, pix_fmt=pix_fmt, codec=codec, options=options)
    with av.open(str(clip)) as container:
        whole = [[p.copy() for p in fr.planes(f)] for f in container.decode(video=0)]
    sides = {0x54CC: 6, 0x54DD: 10, 0x54BB: 4, 0x54AA: 2}  # left, right, top, bottom
    more = b"".join(counted(name, value) for name, value in sides.items())
    if turned:  # Projection with a roll of -90°: shown turned clockwise
        more += element(0x7670, element(0x7675, struct.pack(">d", -90.0)) + counted(0x7671, 0))
    with_elements(clip, [SEGMENT, TRACKS, TRACK, VIDEO], more)
    with open_source(clip, bit_depth=bit_depth) as source:
        found, fmt = frames_of(source), source.format
    expected = [[whole[0][0][4:46, 6:54], *(p[2:23, 3:27] for p in whole[0][1:])]]
    expected += [[w[0][4:46, 6:54], *(p[2:23, 3:27] for p in w[1:])] for w in whole[1:]]
    assert len(found) == 3
    assert (fmt.width, fmt.height) == ((42, 48) if turned else (48, 42))
    for frame, planes in zip(found, expected, strict=True):
        for plane, wanted in zip(fr.planes(frame.image), planes, strict=True):
            np.testing.assert_array_equal(plane, np.rot90(wanted, -1) if turned else wanted)


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data) + 8) + kind + data


def with_sample_entry(path: Path, codec: bytes, more: bytes) -> Path:
    """Add boxes to the sample entry of the first track of an mp4 whose index is at its end."""
    data = bytearray(path.read_bytes())
    at, way = 0, []
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd", codec):
        at = data.index(kind, at)
        way.append(at - 4)
    end = way[-1] + int.from_bytes(data[way[-1] : way[-1] + 4], "big")
    data[end:end] = more
    for begin in way:
        size = int.from_bytes(data[begin : begin + 4], "big") + len(more)
        data[begin : begin + 4] = size.to_bytes(4, "big")
    path.write_bytes(data)
    return path


def test_clean_aperture_of_mp4_is_applied(tmp_path: Path) -> None:
    """The part of the picture that cameras and editing programs mean to be seen."""
    clip = noise_clip(tmp_path / "in.mp4", 3, 64, 48, options={"qp": "0"})
    with av.open(str(clip)) as container:
        whole = [fr.planes(f)[0].copy() for f in container.decode(video=0)]
    # Width, height, and how far the middle lies from the picture's: 48x40, 2 right and 1 up.
    aperture = box(b"clap", struct.pack(">4I4i", 48, 1, 40, 1, 2, 1, -2, 1))
    with_sample_entry(clip, b"avc1", aperture)
    with open_source(clip) as source:
        found = frames_of(source)
        assert (source.format.width, source.format.height) == (48, 40)
    for frame, luma in zip(found, whole, strict=True):
        np.testing.assert_array_equal(fr.planes(frame.image)[0], luma[2:42, 10:58])


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_cropping_within_the_stream_is_exact(tmp_path: Path, codec: str) -> None:
    """On the left as well, where FFmpeg by itself keeps columns for its alignment."""
    options = {"h264": {"qp": "0"}, "hevc": {"x265-params": "lossless=1:log-level=error"}}[codec]
    encoder = {"h264": "libx264", "hevc": "libx265"}[codec]
    plain = noise_clip(tmp_path / "plain.mp4", 3, 64, 48, codec=encoder, options=options)
    clip = tmp_path / "in.mp4"
    with av.open(str(plain)) as given, av.open(str(clip), "w") as out:
        video = given.streams.video[0]
        stream = out.add_stream_from_template(video)
        crop = BitStreamFilterContext(
            f"{codec}_metadata=crop_left=10:crop_right=6:crop_top=4:crop_bottom=2", video, stream
        )
        for packet in given.demux(video):
            for cut in crop.filter(packet if packet.size else None):
                cut.stream = stream
                out.mux(cut)
    with av.open(str(plain)) as container:
        whole = [fr.planes(f)[0].copy() for f in container.decode(video=0)]
    with open_source(clip) as source:
        found = frames_of(source)
        assert (source.format.width, source.format.height) == (48, 42)
    assert len(found) == 3
    for frame, luma in zip(found, whole, strict=True):
        np.testing.assert_array_equal(fr.planes(frame.image)[0], luma[4:46, 10:58])


def test_a_second_layer_of_hevc_is_said(tmp_path: Path) -> None:
    """FFmpeg could decode an alpha in it, but PyAV does not let it."""
    clip = noise_clip(
        tmp_path / "in.mp4", 2, 64, 48, codec="libx265", options={"x265-params": "log-level=error"}
    )
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        warnings: list[str] = []
        open_decoder(stream, warnings.append)
        assert warnings == []
        parameters = stream.codec_context.extradata
        assert parameters is not None
        layer = b"\x21\0\1\0\4\x42\x09\1\1"  # an array of one parameter set of that layer
        stream.codec_context.extradata = parameters + layer
        open_decoder(stream, warnings.append)
        (said,) = warnings
        assert "second layer" in said
        assert "ffmpeg -i IN -c:v ffv1 OUT.mkv" in said


# Encrypted


KEY = {"encryption_key": "0" * 32, "encryption_kid": "1" * 32}


def encrypted_clip(path: Path, scheme: str = "cenc-aes-ctr", sound: bool = False) -> Path:
    """A clip that FFmpeg itself encrypts."""
    plain = (
        sound_clip(path.with_name("plain.mp4"))
        if sound
        else noise_clip(path.with_name("plain.mp4"), 30)
    )
    options = {"encryption_scheme": scheme, **KEY}
    with av.open(str(plain)) as given, av.open(str(path), "w", container_options=options) as out:
        streams = {s.index: out.add_stream_from_template(s) for s in given.streams}
        for packet in given.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                out.mux(packet)
    return path


def matroska(path: Path) -> Path:
    """A clip that says that its first track is encrypted."""
    noise_clip(path, 3)
    key = element(0x47E1, b"\x05") + element(0x47E2, b"0123456789abcdef")
    encoding = element(0x6240, counted(0x5033, 1) + element(0x5035, key))
    return with_elements(path, [SEGMENT, TRACKS, TRACK], element(0x6D80, encoding))


def tagged(path: Path, tag: bytes) -> Path:
    """A clip whose codec is hidden behind a tag."""
    noise_clip(path, 3)
    data = path.read_bytes()
    at = data.index(b"stsd")
    path.write_bytes(data[:at] + data[at:].replace(b"avc1", tag, 1))
    return path


def scrambled(path: Path) -> Path:
    """A broadcast as it is received without its card: the payload of the video is noise."""
    data = bytearray(noise_clip(path, 30, 320, 180).read_bytes())
    rng = np.random.default_rng(0)
    for at in range(0, len(data), 188):
        if (data[at + 1] & 0x1F) << 8 | data[at + 2] == 0x100:
            begin = at + 4 + (1 + data[at + 4] if data[at + 3] & 0x20 else 0)
            data[at + 3] |= 0x80
            data[begin : at + 188] = rng.bytes(at + 188 - begin)
    path.write_bytes(data)
    return path


def test_encrypted_video_is_called_so(tmp_path: Path) -> None:
    """In one line, with the exit code of bad data, and nothing is written."""
    clips = [
        encrypted_clip(tmp_path / "cenc.mp4"),
        encrypted_clip(tmp_path / "sound.mp4", sound=True),
        matroska(tmp_path / "in.mkv"),
        matroska(tmp_path / "in.webm.mkv"),
        tagged(tmp_path / "fairplay.m4v", b"drmi"),
        tagged(tmp_path / "hidden.mp4", b"encv"),
        scrambled(tmp_path / "broadcast.ts"),
    ]
    before = sorted(tmp_path.iterdir())
    for clip in clips:
        for part in (Clip(), Clip(0.5, 0.2)):
            with pytest.raises(BadData, match=f"{clip.name}: the video is encrypted; use a copy"):
                open_source(clip, part)
        with pytest.raises(BadData, match="encrypted"):
            run_all(RunConfig(clip, tmp_path / "out.mp4"))
    assert sorted(tmp_path.iterdir()) == before


def test_times_of_tracks_that_are_left_out_do_no_harm(tmp_path: Path) -> None:
    """Only the film's own packets are read."""
    clip = tracks(tmp_path / "in.mkv", [(64, 48, DEFAULT), (32, 24, NONE)])
    with open_source(clip) as source:
        assert [f.pts * f.time_base for f in frames_of(source)] == [
            Fraction(i, 25) for i in range(3)
        ]
