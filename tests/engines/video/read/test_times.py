"""What containers say of times: where they begin, and how long they last."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engines.video.read.recordings import recording, times_of
from tests.media import heard, probe

HOUR = 3600.0
LONG = pytest.mark.long


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm", "nut", "ts", "flv"])
@pytest.mark.parametrize("begin", [HOUR, *(pytest.param(t, marks=LONG) for t in (11.0, 14 * HOUR))])
def test_a_clock_that_begins_late(tmp_path: Path, ones: Path, ending: str, begin: float) -> None:
    """The output begins at 0, and sound stays where it is beside the images."""
    codecs = {"video": "libvpx", "audio": "libopus"} if ending == "webm" else {}
    clip = recording(tmp_path / f"in.{ending}", clock=lambda *_: begin, **codecs)  # type: ignore[arg-type]
    video, audio, summary = times_of(clip, ones)
    assert summary.warnings == []
    assert len(video) == 30
    assert 0 <= video[0] < 0.05
    source, sound = probe(clip).times, heard(clip)
    assert len(audio) == len(sound)
    assert video[0] - audio[0] == pytest.approx(float(source[0] - sound[0][0]), abs=0.0015)
    assert video[-1] - video[0] == pytest.approx(29 / 30, abs=0.0011)


@pytest.mark.parametrize(
    "begin", [3.0, pytest.param(0.5, marks=LONG), pytest.param(9.5, marks=LONG)]
)
@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_images_that_begin_after_a_moment(
    tmp_path: Path, ones: Path, ending: str, begin: float
) -> None:
    """That is part of the film: it stays exact."""
    clip = recording(
        tmp_path / f"in.{ending}",
        clock=lambda stream, _: begin if stream.type == "video" else 0.0,
        sound_seconds=begin + 1,
    )
    video, _, summary = times_of(clip, ones)
    assert summary.warnings == []
    assert video == pytest.approx([float(t) for t in probe(clip).times], abs=0.022)


@pytest.mark.parametrize("ending", ["mkv", "webm", "nut", "ts", "mp4", "avi", "asf", "flv"])
def test_sound_that_lasts_longer(tmp_path: Path, ones: Path, ending: str) -> None:
    """Nothing is cut off where only the image ends."""
    codecs = {
        "webm": {"video": "libvpx", "audio": "libopus"},
        "avi": {"video": "mpeg4", "audio": "libmp3lame"},
        "asf": {"video": "mpeg4", "audio": "libmp3lame"},
    }.get(ending, {})
    clip = recording(tmp_path / f"in.{ending}", sound_seconds=4.0, **codecs)  # type: ignore[arg-type]
    _, audio, summary = times_of(clip, ones)
    assert summary.warnings == []
    assert audio[-1] > 3.9


@pytest.mark.parametrize("ending", ["mkv", "nut", "ts", "mp4", "avi", "asf", "flv", "mxf"])
def test_images_without_sound(tmp_path: Path, ones: Path, ending: str) -> None:
    """Where they are reordered, some containers begin as much later."""
    clip = recording(tmp_path / f"in.{ending}", audio=None)
    video, _, summary = times_of(clip, ones)
    assert summary.warnings == []
    assert video[-1] - video[0] == pytest.approx(29 / 30, abs=0.0011)


@pytest.mark.parametrize("begin", [0.0, HOUR])
@pytest.mark.parametrize("part", [0.3, 0.6, 0.9])
def test_a_file_that_is_cut_off_is_said_to_be(
    tmp_path: Path, ones: Path, part: float, begin: float
) -> None:
    """In the images, or only in the sound behind them."""
    whole = recording(tmp_path / "whole.mkv", clock=lambda *_: begin, sound_seconds=8.0)
    data = whole.read_bytes()
    clip = tmp_path / "in.mkv"
    clip.write_bytes(data[: int(len(data) * part)])
    _, _, summary = times_of(clip, ones)
    assert ["ends early" in w and "may be cut off" in w for w in summary.warnings] == [True]
