"""Clocks that jump: what follows is joined on, together, and nothing is lost."""

from __future__ import annotations

import subprocess
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.video.config import Clip
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, run
from tests.engines.video.read.recordings import Clock, joined, jump, recording, times_of
from tests.faults.helpers import command
from tests.media import heard, probe

HOUR = 3600.0
TICK = 0.0011  # seconds, of the coarsest time base
SOUNDS = {"mpg": "mp2", "webm": "libopus"}
VIDEOS = {"mpg": "mpeg2video", "webm": "libvpx"}


def made(path: Path, clock: Clock, seconds: float = 1.0, **options: Any) -> Path:
    """A recording in the container of the ending."""
    ending = path.suffix[1:]
    options.setdefault("audio", SOUNDS.get(ending, "aac"))
    options.setdefault("video", VIDEOS.get(ending, "libx264"))
    return recording(path, seconds, clock, **options)


def check_one_film(video: list[float], audio: list[float], images: int, sounds: int) -> None:
    """Images follow evenly, no sound is lost, and it is as far from the images as it was."""
    assert len(video) == images
    assert len(audio) == sounds
    steps = np.diff(video)
    assert steps.min() == pytest.approx(1 / 30, abs=TICK)
    assert steps.max() == pytest.approx(1 / 30, abs=TICK)
    assert np.diff(audio).max() < 0.05 if audio else True
    assert abs(video[0]) < 0.1
    if audio:
        assert abs((audio[-1] - video[-1]) - (audio[0] - video[0])) < 0.05


def packets_of(clip: Path) -> int:
    return len(heard(clip))


FORWARD = [
    ("ts", 10.0),
    ("ts", HOUR),
    ("ts", 14 * HOUR),
    ("mkv", HOUR),
    ("mkv", 14 * HOUR),
    ("webm", 7 * HOUR),
    ("mp4", HOUR),
    ("flv", 14 * HOUR),
]


@pytest.mark.parametrize(("ending", "by"), FORWARD)
@pytest.mark.parametrize("sound", [True, pytest.param(False, marks=pytest.mark.long)])
def test_a_clock_that_jumps_forward(
    tmp_path: Path, ones: Path, ending: str, by: float, sound: bool
) -> None:
    silent = {} if sound and ending != "flv" else {"audio": None}  # FLV has no AAC of 48 kHz
    clip = made(tmp_path / f"in.{ending}", jump(by), **silent)
    video, audio, summary = times_of(clip, ones)
    check_one_film(video, audio, 30, packets_of(clip))
    (warning,) = summary.warnings
    assert "times jump" in warning
    assert "after 0.5 s; what follows is joined on" in warning


@pytest.mark.parametrize(
    ("ending", "begin"),
    [
        *[("ts", t) for t in (60.0, 99.0, 100.0, 5000.0)],
        *[("mkv", t) for t in (99.0, 400.0)],
        *[
            pytest.param(ending, t, marks=pytest.mark.long)
            for ending in ("mpg", "webm")
            for t in (60.0, 99.0, 400.0, 5000.0)
        ],
    ],
)
def test_recordings_that_were_appended(
    tmp_path: Path, ones: Path, ending: str, begin: float
) -> None:
    """The second one begins before or after the end of the first, which begins at 100 s."""
    a = made(tmp_path / f"a.{ending}", lambda *_: 100.0)
    b = made(tmp_path / f"b.{ending}", lambda *_: begin, 1.5)
    clip = joined(tmp_path / f"in.{ending}", a, b)
    video, audio, summary = times_of(clip, ones)
    if ending in ("mkv", "webm") and begin == 400:  # part of the film as far as anyone can tell
        assert video[-1] > 300
        assert ["nothing comes for 299" in w for w in summary.warnings] == [True]
        return
    check_one_film(video, audio, 75, packets_of(a) + packets_of(b))
    assert ["joined on" in w for w in summary.warnings] == [True]


def test_three_recordings(tmp_path: Path, ones: Path) -> None:
    """There and back again, said once."""
    parts = [made(tmp_path / f"{t}.ts", lambda *_, t=t: t) for t in (HOUR, 10.0, 2 * HOUR)]  # type: ignore[misc]
    clip = joined(tmp_path / "in.ts", *parts)
    video, audio, summary = times_of(clip, ones)
    check_one_film(video, audio, 90, sum(map(packets_of, parts)))
    assert len(summary.warnings) == 1


def test_a_clock_of_33_bits_that_ends(tmp_path: Path, ones: Path) -> None:
    """Nothing has to be joined where it only begins anew."""
    clip = made(tmp_path / "in.ts", lambda *_: 2**33 / 90000 - 0.5)
    video, audio, summary = times_of(clip, ones)
    check_one_film(video, audio, 30, packets_of(clip))
    assert summary.warnings == []
    with open_source(clip, Clip(0.7)) as source:
        assert len(frames_of(source)) == pytest.approx(9, abs=1)


@pytest.mark.parametrize("only", ["video", "audio"])
@pytest.mark.parametrize("by", [10.0, HOUR])
def test_one_stream_alone(tmp_path: Path, ones: Path, only: str, by: float) -> None:
    """It goes on where it was, and so does the other one."""
    clip = made(tmp_path / "in.ts", jump(by, 0.5, only), 3.0)
    video, audio, summary = times_of(clip, ones)
    check_one_film(video, audio, 90, packets_of(clip))
    assert len(summary.warnings) == 1


STILL = [0, 0.5, 1, 31, 31.5, 32]


@pytest.mark.parametrize("frames", ["0", "2"])
@pytest.mark.parametrize("ending", ["mkv", "mp4", "ts"])
def test_a_still_image_while_sound_goes_on(
    tmp_path: Path, ones: Path, ending: str, frames: str
) -> None:
    """As in a recording of a screen: no jump, however the images are reordered."""
    clip = made(
        tmp_path / f"in.{ending}",
        lambda *_: 0.0,
        images=STILL,
        sound_seconds=33.0,
        time_base=Fraction(1, 1000),
        options={"bf": frames, "x264-params": "b-adapt=0:scenecut=0"},
    )
    video, audio, summary = times_of(clip, ones)
    assert summary.warnings == []
    assert [t - video[0] for t in video] == pytest.approx(STILL, abs=TICK)
    assert len(audio) == packets_of(clip)


@pytest.mark.parametrize(("seconds", "is_kept"), [(1500.0, True), (2500.0, False)])
def test_a_still_image_in_silence(
    tmp_path: Path, ones: Path, seconds: float, is_kept: bool
) -> None:
    """In a file it may stay for half an hour; after that the clock has been set."""
    clip = made(tmp_path / "in.mkv", jump(seconds), audio=None)
    video, _, summary = times_of(clip, ones)
    assert (video[-1] > seconds) == is_kept
    assert bool(summary.warnings) == (not is_kept)


def test_a_gap_that_is_kept_is_said(tmp_path: Path, ones: Path) -> None:
    clip = made(tmp_path / "in.mkv", jump(20.0))
    video, _, summary = times_of(clip, ones)
    assert video[-1] == pytest.approx(20 + 29 / 30, abs=0.05)
    assert summary.warnings == [f"{clip}: nothing comes for 20 s after 0.5 s; kept"]


@pytest.mark.parametrize("ending", ["ts", "mkv"])
@pytest.mark.parametrize(("first", "number"), [(5, 15), (10, 9), (14, 3), (15, 10), (22, 8)])
def test_part_across_and_behind_a_jump(
    tmp_path: Path, ending: str, first: int, number: int
) -> None:
    """``--start`` and ``--duration`` count in the film as it is joined."""
    clip = made(tmp_path / f"in.{ending}", jump(HOUR))
    with open_source(clip) as source:
        whole = [f.image.to_ndarray().tobytes() for f in frames_of(source)]
    begin = 0.0213333 if ending == "ts" else 0  # the sound begins sooner
    with open_source(clip, Clip(begin + first / 30, number / 30)) as source:
        part = [f.image.to_ndarray().tobytes() for f in frames_of(source)]
    assert part == whole[first : first + number]


def test_a_jump_in_a_pipe(tmp_path: Path, ones: Path) -> None:
    """As it comes, without looking back."""
    clip = made(tmp_path / "in.ts", jump(HOUR))
    with clip.open("rb") as file, subprocess.Popen(["cat"], stdin=file, stdout=-1) as cat:
        result = subprocess.run(
            command("run", "-", "--model", ones, "-o", tmp_path / "out.mp4"),
            stdin=cat.stdout,
            capture_output=True,
            text=True,
            timeout=50,
        )
    assert result.returncode == 0, result.stderr
    assert result.stderr.count("what follows is joined on") == 1
    video = [float(t) for t in probe(tmp_path / "out.mp4").times]
    check_one_film(video, [float(t) for t, _ in heard(tmp_path / "out.mp4")], 30, packets_of(clip))


def test_subtitles_jump_with_the_rest(tmp_path: Path, ones: Path) -> None:
    """A line before the jump, and one behind it."""
    made(tmp_path / "film.mkv", jump(HOUR))
    (tmp_path / "lines.srt").write_text(
        "1\n00:00:00,200 --> 00:00:00,400\none\n\n2\n01:00:00,700 --> 01:00:00,900\ntwo\n"
    )
    clip = tmp_path / "in.mkv"
    with (
        av.open(str(tmp_path / "film.mkv")) as film,
        av.open(str(tmp_path / "lines.srt")) as lines,
        av.open(str(clip), "w") as container,
    ):
        streams = [
            (s, container.add_stream_from_template(s)) for s in (*film.streams, *lines.streams)
        ]
        outs = dict(streams)
        packets = [p for c in (film, lines) for p in c.demux() if p.pts is not None]
        packets.sort(key=lambda p: p.pts * p.time_base if p.dts is None else p.dts * p.time_base)
        for packet in packets:
            packet.stream = outs[packet.stream]
            container.mux(packet)
    run(clip, tmp_path / "out.mkv", ones)
    with av.open(str(tmp_path / "out.mkv")) as out:
        shown = [float(p.pts * p.time_base) for p in out.demux(subtitles=0) if p.size]
    assert shown == pytest.approx([0.2, 0.7], abs=0.05)
