"""Images that are decoded in another order than they are shown in, in containers of all kinds."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.errors import BadData
from engines.video.config import Clip
from engines.video.frame import Frame
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, run
from tests.engines.video.read.recordings import recording
from tests.media import heard, probe

DEEP = {"bf": "3", "x264-params": "b-adapt=0:b-pyramid=normal"}
OPEN = {"bf": "2", "x264-params": "b-adapt=0:open-gop=1:keyint=15:scenecut=0"}
PLAIN = {"b_strategy": "0"}
HEVC = {"x265-params": "bframes=3:keyint=15:log-level=error"}
USUAL = ["avi h264", "avi mpeg4", "mxf h264", "asf h264", "raw hevc", "mp4 open as decoded", "ts"]
CASES: dict[str, tuple[str, str, dict[str, str], bool]] = {
    "avi h264": ("avi", "libx264", DEEP, False),
    "avi h264 open": ("avi", "libx264", OPEN, False),
    "avi mpeg4": ("avi", "mpeg4", PLAIN, False),
    "avi mpeg2": ("avi", "mpeg2video", PLAIN, False),
    "mxf h264": ("mxf", "libx264", DEEP, False),
    "mxf mpeg2": ("mxf", "mpeg2video", PLAIN, False),
    "asf h264": ("asf", "libx264", DEEP, False),
    "asf mpeg4": ("asf", "mpeg4", PLAIN, False),
    "raw h264": ("h264", "libx264", DEEP, False),
    "raw hevc": ("hevc", "libx265", HEVC, False),
    "mkv as decoded": ("mkv", "libx264", DEEP, True),
    "mp4 as decoded": ("mp4", "libx264", DEEP, True),
    "mp4 open as decoded": ("mp4", "libx264", OPEN, True),
    "mp4 hevc as decoded": ("mp4", "libx265", HEVC, True),
    "mp4 mpeg4 as decoded": ("mp4", "mpeg4", PLAIN, True),
    "nut as decoded": ("nut", "libx264", DEEP, True),
    "ts as decoded": ("ts", "libx264", DEEP, True),
    "flv as decoded": ("flv", "libx264", DEEP, True),
    "ts": ("ts", "libx264", DEEP, False),
    "mkv": ("mkv", "libx264", DEEP, False),
}
SOUNDS = {"avi": "libmp3lame", "asf": "libmp3lame", "mxf": "pcm_s16le"}
SILENT = {"h264", "hevc", "flv"}


def made(path: Path, case: str) -> Path:
    """A second and a half of noise in one of `CASES`."""
    ending, codec, options, as_decoded = CASES[case]
    sound = None if ending in SILENT else SOUNDS.get(ending, "aac")
    return recording(
        path.with_suffix(f".{ending}"),
        1.6,
        video=codec,
        audio=sound,
        options=options,
        as_decoded=as_decoded,
    )


def pixels(frames: list[Frame]) -> list[bytes]:
    return [f.image.to_ndarray().tobytes() for f in frames]


def usual(cases: Iterable[str], chosen: list[str]) -> list[Any]:
    """All cases, of which those not chosen are for the long tests."""
    return [c if c in chosen else pytest.param(c, marks=pytest.mark.long) for c in cases]


@pytest.mark.parametrize("case", usual(CASES, USUAL))
def test_images_follow_evenly(tmp_path: Path, ones: Path, case: str) -> None:
    """1/30 s apart, in their order, and no sound is lost."""
    clip = made(tmp_path / "in", case)
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert not [w for w in summary.warnings if "times" in w or "early" in w]
    result = probe(tmp_path / "out.mp4")
    steps = np.diff([float(t) for t in result.times])
    assert len(result.times) == 48
    assert steps.min() == pytest.approx(1 / 30, abs=0.0011)
    assert steps.max() == pytest.approx(1 / 30, abs=0.0011)
    assert 0 <= result.times[0] < 0.1
    if clip.suffix not in (".mxf", ".asf", ".avi"):  # where sound may be encoded again
        assert len(heard(tmp_path / "out.mp4")) == len(heard(clip))


@pytest.mark.parametrize("case", usual(CASES, ["avi h264 open", "asf h264", "raw h264", "ts"]))
def test_part_of_it(tmp_path: Path, case: str) -> None:
    """The images of [start, start + duration) by the times that they are given."""
    clip = made(tmp_path / "in", case)
    with av.open(str(clip)) as container:
        begin = Fraction(container.start_time or 0, av.time_base)
    with open_source(clip) as source:
        whole = frames_of(source)
    zero = begin if case != "ts" and case != "ts as decoded" else 0
    for first, number in ((1, 4), (17, 9), (31, 5), (44, 4)):
        start = whole[first].pts * whole[first].time_base - zero
        with open_source(clip, Clip(float(start), number / 30)) as source:
            part = frames_of(source)
        assert pixels(part) == pixels(whole[first : first + number]), first


@pytest.mark.parametrize("missing", [5, 6, 7, 8])
def test_a_lost_image_delays_only_up_to_the_next_key_frame(tmp_path: Path, missing: int) -> None:
    """Behind it, every image has the time that it has without the loss."""
    options = {"bf": "2", "x264-params": "b-adapt=0:scenecut=0"}
    whole = recording(tmp_path / "a.mkv", 1.5, audio=None, options=options, as_decoded=True)
    torn = tmp_path / "b.mkv"
    with av.open(str(whole)) as source, av.open(str(torn), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for n, packet in enumerate(p for p in source.demux(video=0) if p.size):
            kept: av.Packet = packet
            if n == missing:  # a packet with a mark and no image
                kept = av.Packet(b"\0\0\0\2\x09\xf0")
                kept.pts, kept.dts, kept.time_base = packet.pts, packet.dts, packet.time_base
            kept.stream = stream
            target.mux(kept)
    frames = []
    for path in (whole, torn):
        with open_source(path) as opened:
            frames.append({f.image.to_ndarray().tobytes(): f.pts for f in frames_of(opened)})
    before, after = frames
    behind = [key for key, pts in before.items() if pts >= 1000]
    assert len(behind) == 15
    assert [after[key] for key in behind] == [before[key] for key in behind]


def test_times_that_are_rare(tmp_path: Path, ones: Path) -> None:
    """H.264 in an MPEG program stream has a time now and then: images between them are counted."""
    clip = recording(tmp_path / "in.mpg", 2.0, audio="mp2", options={**DEEP, "b": "300k"})
    run(clip, tmp_path / "out.mp4", ones)
    steps = np.diff([float(t) for t in probe(tmp_path / "out.mp4").times])
    assert steps.min() == pytest.approx(1 / 30, abs=0.0011)
    assert steps.max() == pytest.approx(1 / 30, abs=0.0011)


HELD = [*(n / 30 for n in range(20)), *(100 + n / 30 for n in range(20))]
WHOLE, CUT, SHORT = Clip(), Clip(Fraction(0), Fraction(10)), Clip(Fraction(1, 2), Fraction("0.1"))


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
@pytest.mark.parametrize("clip", [WHOLE, CUT, SHORT], ids=["whole", "cut while held", "short"])
@pytest.mark.parametrize("order", ["2", "0"], ids=["reordered", "in order"])
def test_an_image_that_is_held_lasts_until_the_next(
    tmp_path: Path, order: str, clip: Clip, ending: str
) -> None:
    held = recording(
        tmp_path / f"held.{ending}",
        audio=None,
        images=HELD,
        options={"bf": order},
        time_base=Fraction(1, 90000),
    )
    with closing(open_source(held, clip)) as source:
        frames = [f for f in source.items() if isinstance(f, Frame)]
    ends = [float((f.pts + f.duration) * f.time_base) for f in frames]
    begins = [float(f.pts * f.time_base) for f in frames]
    assert ends[:-1] == pytest.approx(begins[1:])
    length = HELD[-1] + 1 / 30 if clip.duration is None else float(clip.duration)
    assert ends[-1] == pytest.approx(length, abs=0.002)


def test_a_part_in_which_no_image_begins(tmp_path: Path) -> None:
    held = recording(tmp_path / "held.mkv", audio=None, images=HELD)
    with pytest.raises(BadData, match="no image begins from 50 to 60 s"):
        open_source(held, Clip(Fraction(50), Fraction(10)))


def test_an_image_that_is_held_at_the_end(tmp_path: Path, ones: Path) -> None:
    """Where images are reordered, an mp4 says it of the last one that is decoded."""
    short = recording(tmp_path / "short.mp4", audio=None)
    with av.open(str(short)) as given, av.open(str(tmp_path / "held.mp4"), "w") as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        packets = [p for p in given.demux() if p.size]
        packets[-1].duration = round(100 / packets[-1].time_base)
        for packet in packets:
            packet.stream = stream
            made.mux(packet)
    for clip, length in ((Clip(), 101), (Clip(Fraction(0), Fraction(50)), 50)):
        output = tmp_path / f"{length}.mp4"
        run(tmp_path / "held.mp4", output, ones, part=clip)
        with av.open(str(output)) as container:
            assert (container.duration or 0) / av.time_base == pytest.approx(length, abs=0.1)
