"""A clip from file to file: every step, its times and its work."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import av
import pytest

from engines.errors import BadData
from engines.measure.speed import bench_clip
from engines.measure.speed.bench import describe
from engines.measure.speed.bench_clip import OneAtATime, Run, measure_run, timed
from engines.video import run as job
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.pipeline import Pipeline
from tests.media import probe

STEPS = ["decode", "scale", "network", "postprocess", "composite", "encode"]


def test_steps_one_at_a_time_write_the_same_file(
    portrait: Path, brightness: Path, tmp_path: Path
) -> None:
    """Without loss, so that every frame can be compared; the sound is copied."""
    config = RunConfig(
        input=portrait,
        model=str(brightness),
        background="#00b140",
        clip=Clip(0, 0.8),
        encoding=Encoding("ffv1"),
    )
    times: dict[str, list[float]] = {}
    for name, how in (
        ("plain", Pipeline),
        ("timed", timed(times)),
        ("alone", OneAtATime),
    ):
        out = tmp_path / f"{name}.mkv"
        summary = job.run(replace(config, output=out), pipeline=how)
        assert summary.error is None
        assert list(summary.busy) == STEPS
        assert all(v > 0 for v in summary.busy.values()), summary.busy
    plain, watched, alone = (probe(tmp_path / f"{n}.mkv") for n in ("plain", "timed", "alone"))
    assert plain == watched == alone
    assert plain.frames == 24
    assert plain.audio
    # One time for each frame, none for the packets of the sound.
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys(STEPS, 24)


def test_a_step_is_charged_for_what_threads_do_after_it() -> None:
    """A step ends when the core seconds of the process have stood still three times."""
    clock: Iterator[float] = iter([1.0, 1.2, 1.2, 1.4, 1.4, 1.4, 1.4, 9.0])
    waits: list[float] = []
    assert bench_clip.settled(lambda: next(clock), waits.append) == 1.4
    assert len(waits) == 6
    clock = iter(range(999))
    assert bench_clip.settled(lambda: next(clock), waits.append) == 100  # then it gives up


def test_core_seconds_go_to_the_step_that_works() -> None:
    """Real work, of 1 to 5 ms an item; other processes do not count."""

    def work(milliseconds: float, item: int) -> int:
        end = time.thread_time() + milliseconds / 1000
        while time.thread_time() < end:
            pass
        return item

    got: list[int] = []
    pipeline = OneAtATime(
        ("source", (work(1, i) for i in range(40))),
        [[("a", partial(work, 2)), ("b", partial(work, 3))], [("c", partial(work, 4))]],
        ("sink", lambda item: got.append(work(5, item))),
    )
    pipeline.run()
    assert got == [*range(40)]
    expected = {"source": 0.04, "a": 0.08, "b": 0.12, "c": 0.16, "sink": 0.2}
    assert pipeline.busy == pytest.approx(expected, rel=0.05, abs=0.015)


def test_clip_speed_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten frames, 3 + 1 core-ms each, two cores: 2 ms is the best there is."""
    monkeypatch.setattr(bench_clip, "cores", lambda: 2)
    runs = [
        Run(
            10,
            0.5,
            wall,
            0.05,
            {"net": [0.003] * 10, "encode": [0.001] * 9 + [0.1]},
            {"net": 0.015, "encode": 0.109},
            {"net": 0.030, "encode": 0.010},
            memory,
        )
        for wall, memory in ((0.03, 100.0), (0.05, 130.0), (0.04, 120.0))
    ]
    speed = bench_clip.summarise("n", runs, first=[0.006, 0.01, 0.008])
    assert (speed.frames, speed.start_s) == (10, 0.5)
    assert speed.fps == pytest.approx(250)
    assert speed.core_ms == pytest.approx(5)
    assert speed.work_ms == pytest.approx(4)
    assert speed.wall_to_work == pytest.approx(2)
    assert speed.ratio == pytest.approx(2)
    assert speed.slowest == "encode"
    assert speed.peak_rss_mb == 130
    net, encode = speed.steps
    assert (net.name, net.p50_ms, net.core_ms) == ("net", pytest.approx(3), pytest.approx(3))
    assert (encode.p50_ms, encode.p99_ms) == (pytest.approx(1), pytest.approx(100))


def test_clips_run_in_turn_and_leave_nothing(
    portrait: Path, zeros: Path, brightness: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    networks = [describe(p.stem, p, (320, 240)) for p in (zeros, brightness)]
    config = RunConfig(input=portrait, clip=Clip(0, 0.4), network_threads=1)
    turns: list[str] = []
    speeds = bench_clip.measure(networks, config, 2, turns.append)
    assert turns == ["zeros", "brightness"] * 2
    assert [s.name for s in speeds] == ["zeros", "brightness"]
    for s in speeds:
        assert s.frames == 12
        assert [step.name for step in s.steps] == STEPS
        assert all(step.core_ms > 0 for step in s.steps)
        assert s.work_ms == pytest.approx(sum(step.core_ms for step in s.steps))
        assert s.slowest in STEPS
    assert not [p for p in tmp_path.iterdir() if p.name.startswith("wsshm")]


def test_work_of_the_encoder_includes_the_end_of_the_file(
    portrait: Path, zeros: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A clip shorter than what x264 looks ahead is encoded when the file is closed."""
    seen: dict[str, float] = {}
    run = OneAtATime.run

    def watched(self: OneAtATime) -> None:
        run(self)
        seen.update(self.busy)

    monkeypatch.setattr(OneAtATime, "run", watched)
    config = RunConfig(
        input=portrait,
        output=tmp_path / "o.mp4",
        overwrite=True,
        model=str(zeros),
        clip=Clip(0, 0.3),
    )
    measured = measure_run(config)
    assert {k: v for k, v in measured.work.items() if k != "encode"} == {
        k: v for k, v in seen.items() if k != "encode"
    }
    assert measured.work["encode"] > seen["encode"]


def test_a_clip_that_breaks_off_is_an_error(portrait: Path, zeros: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.mp4"
    how = {"movflags": "faststart"}  # the index first: it promises all frames
    with av.open(str(portrait)) as source, av.open(str(cut), "w", options=how) as out:
        video = source.streams.video[0]
        stream = out.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is not None:
                packet.stream = stream
                out.mux(packet)
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size // 2])
    with pytest.raises(BadData, match=r"cut\.mp4: ends early"):
        bench_clip.measure([describe("z", zeros, (64, 64))], RunConfig(input=cut), 1)
