"""Tags, timecodes, fonts, covers and data of the source: in the output, or named."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.video.config import Clip
from engines.video.read.others import count_on
from tests.engines.video.outputs import run

JPEG = cv2.imencode(".jpg", np.full((60, 80, 3), (0, 0, 255), np.uint8))[1].tobytes()
PNG = cv2.imencode(".png", np.full((60, 80, 3), (0, 0, 255), np.uint8))[1].tobytes()
PHONE = {
    "com.apple.quicktime.location.ISO6709": "+47.3769+008.5417+408/",
    "com.apple.quicktime.make": "Apple",
    "com.apple.quicktime.creationdate": "2024-05-01T10:00:00+0200",
}
COMMON = {"title": "Anna", "comment": "hello", "creation_time": "2024-05-01T08:00:00.000000Z"}


def images(container: Any, rate: Fraction | int = 25, frames: int = 25) -> Any:
    """A stream of grey images, and its packets."""
    video = container.add_stream("libx264", rate=rate)
    video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
    grey = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
    packets = []
    video.codec_context.time_base = 1 / Fraction(rate)
    for i in range(frames):
        grey.pts, grey.time_base = i, 1 / Fraction(rate)
        packets += video.encode(grey)
    return video, [*packets, *video.encode(None)]


def tags_of(path: Path) -> dict[str, str]:
    with av.open(str(path)) as container:
        return {key.lower(): value for key, value in container.metadata.items()}


def timecode_of(path: Path) -> str | None:
    with av.open(str(path)) as container:
        tags = container.streams.video[0].metadata
        return {key.lower(): value for key, value in tags.items()}.get("timecode")


@pytest.mark.parametrize("ending", ["mp4", "m4v", "mov", "mkv", "webm"])
@pytest.mark.parametrize(
    ("rate", "timecode", "later"),
    [
        (Fraction(25), "10:11:12:13", "10:11:13:01"),
        (Fraction(30000, 1001), "00:00:59;20", "00:01:00;07"),
    ],
)
def test_timecode(
    tmp_path: Path, ones: Path, ending: str, rate: Fraction, timecode: str, later: str
) -> None:
    """That of the first frame; with ``--start`` it counts on."""
    clip = tmp_path / "in.mov"
    with av.open(str(clip), "w") as container:
        video, packets = images(container, rate)
        video.metadata["timecode"] = timecode
        container.mux(packets)
    out = tmp_path / f"out.{ending}"
    assert run(clip, out, ones).warnings == []
    assert timecode_of(out) == timecode
    part = tmp_path / f"part.{ending}"
    start = 0.5 if rate.denominator == 1 else 0.48
    run(clip, part, ones, clip=Clip(start))
    assert timecode_of(part) == later


def test_timecodes_that_drop_frames() -> None:
    """Two numbers a minute are left out, but not every tenth minute."""
    rate = Fraction(30000, 1001)
    code, frames = [0, 0, 0, 0], {}
    for i in range(40_000):
        frames[i] = "{:02}:{:02}:{:02};{:02}".format(*code)
        code[3] += 1
        if code[3] == 30:
            code[2:] = [code[2] + 1, 0]
        if code[2] == 60:
            code[1:] = [code[1] + 1, 0, 0 if (code[1] + 1) % 10 == 0 else 2]
    for i in (0, 1, 1799, 1800, 3597, 3598, 17981, 17982, 17983, 38_000):
        assert count_on(frames[0], i / rate, rate) == frames[i]
        assert count_on(frames[1795], i / rate, rate) == frames[1795 + i]
    assert count_on("23:59:59:24", Fraction(1, 25), Fraction(25)) == "00:00:00:00"
    assert count_on("noon", Fraction(1), Fraction(25)) == "noon"


@pytest.mark.parametrize("ending", ["mp4", "m4v", "mov", "mkv", "webm"])
def test_tags_of_phones(tmp_path: Path, ones: Path, ending: str) -> None:
    """Where and when it was taken, beside the usual tags."""
    clip = tmp_path / "in.mov"
    options = {"movflags": "use_metadata_tags"}
    with av.open(str(clip), "w", container_options=options) as container:
        container.metadata.update(PHONE | COMMON)
        container.mux(images(container)[1])
    out = tmp_path / f"out.{ending}"
    assert run(clip, out, ones).warnings == []
    held = tags_of(out)
    assert {k: held.get(k.lower()) for k in PHONE | COMMON} == PHONE | COMMON


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_tags_that_have_no_place_are_named(tmp_path: Path, ones: Path, ending: str) -> None:
    """An mp4 has a list of tags that it knows; Matroska takes all."""
    clip = tmp_path / "in.mkv"
    with av.open(str(clip), "w") as container:
        container.metadata.update({"title": "Anna", "mood": "calm"})
        container.mux(images(container)[1])
    out = tmp_path / f"out.{ending}"
    (warning,) = run(clip, out, ones).warnings
    assert "tag MOOD: left out; -o out.mkv keeps them" in warning
    assert tags_of(out)["title"] == "Anna"
    assert run(clip, tmp_path / "out.mkv", ones).warnings == []
    assert tags_of(tmp_path / "out.mkv")["mood"] == "calm"


@pytest.mark.parametrize("kind", ["mxf", "flv", "asf"])
def test_what_a_container_says_of_itself_is_not_copied(
    tmp_path: Path, ones: Path, kind: str
) -> None:
    clip = tmp_path / f"in.{kind}"
    given = {
        "mxf": {},  # the muxer writes them
        "flv": {"hasKeyframes": "true", "metadatacreator": "me"},
        "asf": {"WMFSDKVersion": "12.0.7601.17514", "IsVBR": "1"},
    }
    with av.open(str(clip), "w") as container:
        container.metadata.update(given[kind])
        container.mux(images(container)[1])
    assert len(tags_of(clip)) > 1
    for ending in ("mp4", "mkv"):
        out = tmp_path / f"out.{ending}"
        assert run(clip, out, ones).warnings == []
        assert tags_of(clip).keys() & tags_of(out).keys() <= {"encoder"}


@pytest.mark.parametrize("ending", ["mp4", "m4v", "mov", "mkv", "webm"])
def test_attached_fonts(tmp_path: Path, ones: Path, ending: str) -> None:
    """In Matroska they stay, byte for byte; else they are named."""
    clip, font = tmp_path / "in.mkv", b"\0\1\0\0" + bytes(range(256))
    with av.open(str(clip), "w") as container:
        packets = images(container)[1]
        container.add_attachment("MyFont.ttf", "application/x-truetype-font", font)
        container.mux(packets)
    out = tmp_path / f"out.{ending}"
    warnings = run(clip, out, ones).warnings
    with av.open(str(out)) as made:
        held: list[Any] = [s for s in made.streams if s.type == "attachment"]
        assert [(s.name, s.data) for s in held] == [("MyFont.ttf", font)] * (ending == "mkv")
    assert (ending == "mkv") == (warnings == [])
    assert ending == "mkv" or "MyFont.ttf: left out; -o out.mkv keeps them" in warnings[0]


@pytest.mark.parametrize("ending", ["mp4", "m4v", "mov", "mkv", "webm"])
@pytest.mark.parametrize("image", [JPEG, PNG], ids=["jpg", "png"])
@pytest.mark.parametrize("start", [0, 0.5])
def test_cover(tmp_path: Path, ones: Path, ending: str, image: bytes, start: float) -> None:
    """The same bytes, as a cover and not as a second film; else it is named."""
    clip = tmp_path / "in.mkv"
    kind = "png" if image == PNG else "jpeg"
    with av.open(str(clip), "w") as container:
        packets = images(container)[1]
        container.add_attachment(f"cover.{kind}", f"image/{kind}", image)
        container.mux(packets)
    out = tmp_path / f"out.{ending}"
    warnings = run(clip, out, ones, clip=Clip(start)).warnings
    keeps = ending in ("mp4", "m4v", "mkv")
    assert keeps == (warnings == [])
    with av.open(str(out)) as made:
        assert len(made.streams) == 1 + keeps
        if keeps:
            cover = made.streams[1]
            assert cover.disposition == av.stream.Disposition.attached_pic
            assert next(bytes(p) for p in made.demux(cover)) == image
        else:
            assert f"cover.{kind}: left out; -o out.mkv keeps them" in warnings[0]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
def test_data_is_named(tmp_path: Path, ones: Path, ending: str) -> None:
    """Such as positions of a drone, which FFmpeg puts into none of these."""
    clip = tmp_path / "in.ts"
    with av.open(str(clip), "w") as container:
        packets = images(container)[1]
        data: Any = container.add_data_stream("klv")
        data.time_base = Fraction(1, 25)
        for packet in packets:
            container.mux(packet)
            one = av.Packet(b"\x06\x0e\x2b\x34" + bytes(20))
            one.pts = one.dts = packet.dts
            one.time_base, one.stream = packet.time_base, data
            container.mux(one)
    (warning,) = run(clip, tmp_path / f"out.{ending}", ones).warnings
    assert warning == f".{ending} cannot hold stream 1 (klv data): left out"


def test_nothing_is_said_of_chapters(tmp_path: Path, ones: Path) -> None:
    """FFmpeg reads those of an mp4 as a stream too."""
    clip, milli = tmp_path / "in.mp4", Fraction(1, 1000)
    with av.open(str(clip), "w") as container:
        packets = images(container)[1]
        one: Any = {"id": 1, "start": 0, "end": 900, "time_base": milli, "metadata": {}}
        container.set_chapters([one])
        container.mux(packets)
    for ending in ("mp4", "mkv"):
        assert run(clip, tmp_path / f"out.{ending}", ones).warnings == []
