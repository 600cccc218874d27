"""Videos as sources: times, parts of a video, and damage."""

from __future__ import annotations

import gc
import random
from fractions import Fraction
from pathlib import Path

import av
import pytest

from engines.errors import BadData
from engines.video import run as job
from engines.video.config import Clip, RunConfig
from engines.video.read.open import open_source
from engines.video.read.video import VideoSource
from tests.engines.video.read.helpers import frames_of, run
from tests.media import noise_clip, probe

# Time

GAPS = random.Random(7)
VFR = [0]
for _ in range(29):
    VFR.append(VFR[-1] + GAPS.randint(500, 9000))
TIMES: dict[str, tuple[Fraction, list[int], dict[str, str]]] = {
    "vfr": (Fraction(1, 30000), VFR, {}),
    "vfr with B-frames": (Fraction(1, 30000), VFR, {"bf": "3", "x264-params": "b-adapt=0"}),
    "23.976": (Fraction(1001, 24000), list(range(30)), {}),
    "29.97": (Fraction(1001, 30000), list(range(30)), {}),
    "1 fps": (Fraction(1), list(range(30)), {}),
    "240 fps": (Fraction(1, 240), list(range(30)), {}),
    "late start": (Fraction(1, 1000), [1075 + 40 * i for i in range(30)], {}),
    "B-frames": (Fraction(1, 25), list(range(30)), {"bf": "3", "x264-params": "b-adapt=0"}),
}


@pytest.mark.parametrize("after", ["mp4", "mkv"])
@pytest.mark.parametrize("before", ["mp4", "mkv"])
@pytest.mark.parametrize("case", TIMES)
def test_times_survive_a_run(
    tmp_path: Path, ones: Path, case: str, before: str, after: str
) -> None:
    """Every frame is shown within half a tick, of the coarser time base, of when it was."""
    time_base, pts, options = TIMES[case]
    clip = noise_clip(
        tmp_path / f"in.{before}", len(pts), 32, 24, pts=pts, time_base=time_base, options=options
    )
    summary = run(clip, tmp_path / f"out.{after}", ones)
    source, result = probe(clip), probe(tmp_path / f"out.{after}")
    assert summary.frames == result.frames == source.frames == len(pts)
    tick = max(source.time_base, result.time_base)
    error = max(abs(a - b) for a, b in zip(source.times, result.times, strict=True))
    assert error <= tick / 2, (case, float(error), float(tick))
    assert result.hashes == source.hashes


@pytest.mark.parametrize("after", ["mp4", "mkv"])
def test_real_variable_rate_with_sound(
    tmp_path: Path, ones: Path, after: str, shared_data: Path
) -> None:
    """A real clip with unevenly dropped frames and sound keeps both."""
    clip = shared_data / "video/derived/person_vfr_audio.mp4"
    run(clip, tmp_path / f"out.{after}", ones)
    source, result = probe(clip), probe(tmp_path / f"out.{after}")
    tick = max(source.time_base, result.time_base)
    assert result.frames == source.frames
    assert result.audio == source.audio
    # Matroska has no times below 0: with the sound's priming, all moves together.
    moved = [b - a for a, b in zip(source.times, result.times, strict=True)]
    assert max(moved) - min(moved) <= tick
    assert max(moved) <= (0 if after == "mp4" else Fraction(1024, 44100) + tick)
    before, now = audio_times(clip), audio_times(tmp_path / f"out.{after}")
    offsets = [b - a for (a, _), (b, _) in zip(before, now, strict=True)]
    assert max(abs(o - moved[0]) for o in offsets) <= Fraction(1, 1000)


def test_transport_stream_keeps_gaps_and_frames(tmp_path: Path, ones: Path) -> None:
    """A .ts begins at some time of its own; the distances between frames are kept."""
    clip = noise_clip(tmp_path / "in.ts", 30, 32, 24)
    run(clip, tmp_path / "out.mp4", ones)
    source, result = probe(clip), probe(tmp_path / "out.mp4")
    assert result.hashes == source.hashes
    moved = [a - b for a, b in zip(source.times, result.times, strict=True)]
    assert max(moved) - min(moved) <= max(source.time_base, result.time_base)


def test_frames_do_not_depend_on_decode_threads(tmp_path: Path) -> None:
    """1, 2 and 8 threads give the same frames at the same times."""
    clip = noise_clip(
        tmp_path / "in.mp4", 40, 128, 96, options={"slices": "4", "bf": "3", "g": "10"}
    )
    seen = []
    for threads in (1, 2, 8):
        with open_source(clip, threads=threads) as source:
            seen.append([(f.pts, f.image.to_ndarray().tobytes()) for f in frames_of(source)])
    assert len(seen[0]) == 40
    assert seen[0] == seen[1] == seen[2]


# A part of a video


def audio_times(path: Path) -> list[tuple[Fraction, bytes]]:
    """When each audio packet is heard, and its bytes."""
    with av.open(str(path)) as container:
        return [
            (p.pts * p.time_base, bytes(p))
            for p in container.demux(container.streams.audio[0])
            if p.size
        ]


PARTS = [
    ("0.5", "0.7"),
    ("0.51", "0.3"),
    ("0", "0.1"),
    ("0", "0.2"),
    ("0.1", "0.2"),
    ("1", None),
    ("1.9", "5"),
    ("0.3333333333", "0.5"),
]


@pytest.mark.parametrize(("start", "duration"), PARTS)
def test_part_is_exact_to_the_frame(
    tmp_path: Path, portrait: Path, ones: Path, start: str, duration: str | None
) -> None:
    """Frames and sound of [start, start + duration) and no others, start now at 0."""
    begin, length = Fraction(start), Fraction(duration or 1000)
    part = Clip(float(start), float(duration) if duration else None)
    run(portrait, tmp_path / "out.mp4", ones, part=part)
    source, result = probe(portrait), probe(tmp_path / "out.mp4")
    half = source.time_base / 2  # what is typed in decimals may miss a frame's time by this much
    inside = [i for i, t in enumerate(source.times) if -half <= t - begin < length - half]
    assert result.frames == len(inside)
    assert result.hashes == [source.hashes[i] for i in inside]
    for i, t in zip(inside, result.times, strict=True):
        assert abs(source.times[i] - begin - t) <= source.time_base
    first = begin - half if begin else -1  # the codec's priming lies before the first moment
    wanted = [
        (t - begin, data)
        for t, data in audio_times(portrait)
        if t >= first and t < begin + length - half
    ]
    heard = audio_times(tmp_path / "out.mp4")
    assert [data for _, data in heard] == [data for _, data in wanted]
    for (t, _), (u, _) in zip(heard, wanted, strict=True):
        assert abs(t - u) <= Fraction(1, 1000)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov", "ts", "avi"])
def test_part_is_exact_in_every_container(tmp_path: Path, ones: Path, container: str) -> None:
    """A start between key frames is decoded up to, and then exact."""
    options = {"g": "12", "bf": "0" if container == "avi" else "3"}
    clip = noise_clip(tmp_path / f"in.{container}", 60, 32, 24, options=options)
    source = probe(clip)
    with av.open(str(clip)) as opened:
        begin = Fraction(opened.start_time or 0, av.time_base)
    for first, last in ((15, 21), (24, 25), (35, 60), (1, 60)):
        start = float(source.times[first] - begin)
        duration = (last - first) / 30 if last < 60 else None
        out = tmp_path / f"{first}.mp4"
        run(clip, out, ones, part=Clip(start, duration))
        result = probe(out)
        assert result.hashes == source.hashes[first:last], f"frames {first} to {last}"
        assert result.times[0] <= source.time_base


def test_part_beyond_the_end_is_said(tmp_path: Path) -> None:
    """A start after the last frame is bad data, with both numbers to compare."""
    clip = noise_clip(tmp_path / "in.mp4", 10, 32, 24)
    with pytest.raises(BadData, match="ends before --start 7 s"):
        open_source(clip, Clip(7.0))


# Damage


def test_size_change_is_scaled_and_said(tmp_path: Path, ones: Path) -> None:
    """Two streams of different size in one .ts: all frames come, at the first size."""
    noise_clip(tmp_path / "1.ts", 20, 64, 48)
    later = [20 + i for i in range(20)]
    noise_clip(tmp_path / "2.ts", 20, 96, 80, pts=later)
    clip = tmp_path / "in.ts"
    clip.write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    with av.open(str(clip)) as container:
        sizes = [(f.width, f.height) for f in container.decode(video=0)]
    assert {(64, 48), (96, 80)} == set(sizes)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        assert len(found) == len(sizes)
        assert {(f.image.width, f.image.height) for f in found} == {(64, 48)}
        assert [f.pts for f in found] == sorted({f.pts for f in found})
        assert len([w for w in warnings if "96x80" in w and "64x48" in w]) == 1
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert probe(tmp_path / "out.mp4").frames == summary.frames == len(sizes)


def _decodable(clip: Path) -> int:
    frames = 0
    with av.open(str(clip)) as container:
        try:
            for packet in container.demux(video=0):
                frames += len(packet.decode())
        except av.error.FFmpegError:
            pass
    return frames


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("container", ["mkv", "ts"])
def test_cut_off_file_gives_what_it_has_and_warns(
    tmp_path: Path, ones: Path, container: str, cut: float
) -> None:
    """Every frame that can be decoded is in the output; that some are missing is said.

    A cut .mkv still says how long it was; a .ts never did, and is whole as far as anyone can tell.
    """
    whole = noise_clip(tmp_path / f"whole.{container}", 90, 32, 24).read_bytes()
    clip = tmp_path / f"in.{container}"
    clip.write_bytes(whole[: int(len(whole) * cut)])
    summary = run(clip, tmp_path / "out.mp4", ones)
    there = _decodable(clip)
    assert 0 < there < 90
    assert summary.frames == probe(tmp_path / "out.mp4").frames == there
    if container == "mkv":
        assert any("ends early" in w for w in summary.warnings)


def test_real_cut_transport_stream_gives_what_it_has(
    tmp_path: Path, ones: Path, shared_data: Path
) -> None:
    """A real .ts, cut in the middle of a packet."""
    clip = shared_data / "video/derived/person_truncated.ts"
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert summary.frames == probe(tmp_path / "out.mp4").frames == _decodable(clip)


@pytest.mark.parametrize("cut", [0.4, 0.7])
def test_cut_off_mp4_is_an_error_that_keeps_what_it_has(
    tmp_path: Path, ones: Path, cut: float
) -> None:
    """An index that promises more than there is: 65, the numbers, and a playable output."""
    clip = noise_clip(tmp_path / "whole.mp4", 90, 32, 24)
    fast = tmp_path / "fast.mp4"
    with av.open(str(clip)) as a, av.open(str(fast), "w", options={"movflags": "faststart"}) as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        for packet in a.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                b.mux(packet)
    data = fast.read_bytes()
    clip = tmp_path / "in.mp4"
    clip.write_bytes(data[: int(len(data) * cut)])
    summary = job.run(RunConfig(clip, tmp_path / "out.mp4", "blur", model=str(ones), size=64))
    assert summary.exit_code == 65
    assert "ends early" in str(summary.error)
    assert "of 90 frames" in str(summary.error)
    assert summary.frames == probe(tmp_path / "out.mp4").frames == _decodable(clip)


def test_a_source_that_is_closed_early_is_freed_at_once(portrait: Path) -> None:
    """With its decoder's threads, not only when the garbage collector runs."""
    gc.collect()
    gc.disable()
    try:
        with open_source(portrait) as source:
            next(source.frames())
        del source
        assert not [x for x in gc.get_objects() if type(x) is VideoSource]
    finally:
        gc.enable()
