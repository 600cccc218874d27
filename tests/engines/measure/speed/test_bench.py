"""Speed: what is counted, what is measured where, and what `wsshm bench` makes of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines import machine, models
from engines.errors import BadData, CannotCreate, CannotOpen, Unavailable
from engines.measure.drawing import check_path
from engines.measure.speed import bench, bench_clip, bench_table, sample
from engines.measure.speed.bench import Round, describe
from engines.measure.speed.bench_clip import OneAtATime, Run, measure_run, timed
from engines.measure.speed.cost import Cost, count
from engines.measure.speed.worker import Worker
from engines.video import run as job
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.pipeline import Pipeline
from tests import graphs
from tests.conftest import REPOSITORY, Wsshm, one_error_line
from tests.engines.measure.estimators import peer_graphs
from tests.media import probe

STEPS = ["decode", "scale", "network", "postprocess", "composite", "encode"]


def frames(*shape: int) -> dict[str, np.ndarray]:
    return {"frames": np.zeros(shape, np.uint8)}


def test_cost_of_convolutions(tmp_path: Path) -> None:
    path = graphs.convolutions(tmp_path / "net.onnx")
    half = 4 * 32 * 48  # values of f1 and f2
    assert count(path, frames(1, 64, 96, 3)) == Cost(
        macs=half * 27 + half * 9 + half * 4, parameters=108 + 4 + 36 + 16
    )
    assert count(path, frames(2, 64, 96, 3)) == Cost(2 * half * 40, 164)
    with pytest.raises(BadData, match=r"net\.onnx: the model failed"):
        count(path, frames(1, 64, 96, 4))


def test_cost_of_products(tmp_path: Path) -> None:
    nodes = [
        h.make_node("MatMul", ["a", "b"], ["ab"]),  # (2, 5, 3) by (3, 4)
        h.make_node("Gemm", ["c", "b", "bias"], ["cb"], transA=1),  # (3, 7) turned by (3, 4)
        h.make_node("Constant", [], ["k"], value=onnx.numpy_helper.from_array(np.float32([1, 2]))),
    ]
    sides = [
        [h.make_tensor_value_info(name, T.FLOAT, None) for name in names]
        for names in (("a", "c"), ("ab", "cb"))
    ]
    kept = {"b": np.zeros((3, 4), np.float32), "bias": np.zeros(4, np.float32), "i": np.arange(9)}
    graph = h.make_graph(
        nodes, "g", *sides, [onnx.numpy_helper.from_array(v, k) for k, v in kept.items()]
    )
    path = tmp_path / "g.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8), path)
    given = {"a": np.zeros((2, 5, 3), np.float32), "c": np.zeros((3, 7), np.float32)}
    assert count(path, given) == Cost(macs=2 * 5 * 4 * 3 + 7 * 4 * 3, parameters=12 + 4 + 2)


def test_cost_where_nothing_counts_or_onnx_is_missing(
    brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count(brightness, frames(1, 64, 64, 3)) == Cost(macs=0, parameters=1)
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert count(brightness, frames(1, 64, 64, 3)) is None


def test_what_a_network_is_given(brightness: Path, tmp_path: Path) -> None:
    """Ours what `wsshm run` gives it; a peer what it asks for."""
    network = describe("mine", brightness, (160, 90), batch=3)
    assert (network.name, network.is_ours, network.precision) == ("mine", True, "fp32")
    assert (network.size, network.shapes) == (64, {"frames": (3, 64, 128, 3)})
    assert describe("mine", brightness, (160, 90), 100).shapes == {"frames": (1, 128, 192, 3)}
    assert bench.inputs(network)["frames"].dtype == np.uint8
    rvm = describe("x", peer_graphs.rvm(tmp_path / "rvm.onnx"), (160, 90), 128, batch=3)
    assert (rvm.name, rvm.is_ours, rvm.batch) == ("RVM 72x128", False, 1)
    given = bench.inputs(rvm)
    assert given["src"].std() > 0
    assert {k: v.shape for k, v in given.items()} == rvm.shapes
    assert not any(v.any() for k, v in given.items() if k != "src")
    nodes = [h.make_node("Relu", ["a"], ["b"])]
    other = peer_graphs.save(tmp_path / "o.onnx", nodes, {"a": [1, 2]}, {"b": [1, 2]})
    with pytest.raises(BadData, match="neither"):
        describe("x", other, (160, 90))


def test_networks_take_turns_in_processes_of_their_own(zeros: Path, tmp_path: Path) -> None:
    """What one holds in memory is not put down to the other."""
    hungry = graphs.hungry(tmp_path / "hungry.onnx", megabytes=200)
    networks = [
        describe("small", zeros, (64, 64)),
        describe("hungry", hungry, (64, 64), batch=2),
        describe("x", peer_graphs.selfie(tmp_path / "p.onnx"), (64, 64)),
    ]
    turns: list[str] = []
    speeds = bench.measure(networks, 1, 0.01, 2, turns.append)
    names = ["small", "hungry", "MediaPipe selfie"]
    assert turns == names * 2
    assert [s.name for s in speeds] == names
    small, large, _ = speeds
    assert small.peak_rss_mb is not None
    assert large.peak_rss_mb is not None
    assert large.peak_rss_mb > small.peak_rss_mb + 150
    assert small.ratio == 1
    assert large.ratio < 1
    for s in speeds:
        assert s.frames >= 2
        assert 0 < s.p50_ms <= s.p95_ms <= s.p99_ms
        assert s.fps > 0
        assert s.core_ms > 0
    assert large.frames % 2 == 0


def test_speed_is_the_median_round(zeros: Path) -> None:
    """A batch of two: a call of 20 ms is two frames of 10 ms."""
    network = replace(describe("n", zeros, (64, 64)), shapes={"frames": (2, 64, 64, 3)})
    rounds = [
        Round([0.020, 0.020], 0.060, 50.0),
        Round([0.040], 0.050, 51.0),
        Round([0.080], 0.070, 52.0),
    ]
    speed = bench.summarise(network, rounds, first=[50.0, 25.0, 25.0])
    assert speed.frames == 8
    assert (speed.p50_ms, speed.p99_ms) == pytest.approx((15, 39.4))  # of 10, 10, 20, 40
    assert speed.fps == pytest.approx(50)  # of 100, 50, 25
    assert speed.core_ms == pytest.approx(25)  # of 15, 25, 35
    assert speed.ratio == pytest.approx(2)  # of 2, 2, 1
    assert speed.peak_rss_mb == 52


def adding(a: int) -> Callable[[int], int]:
    return lambda b: a + b


def faulty(kind: str) -> Callable[[], None]:
    def work() -> None:
        if kind == "ours":
            raise CannotOpen("n.onnx: no such file")
        if kind == "end of file":
            raise EOFError("as PyAV's, which is no end of the pipe")
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyError("deep inside")

    if kind == "at once":
        raise BadData("junk")
    if kind == "killed at once":
        os.kill(os.getpid(), signal.SIGKILL)
    return work


def test_worker_answers_until_it_is_closed() -> None:
    with Worker(adding, 40) as worker:
        assert [worker(2), worker(3)] == [42, 43]
        process = worker._process
        assert process.is_alive()
    assert not process.is_alive()
    worker.close()


def test_errors_of_a_worker_reach_the_caller() -> None:
    with pytest.raises(BadData, match=r"^junk$"):
        Worker(faulty, "at once")
    with pytest.raises(Unavailable, match="ended with code -9"):
        Worker(faulty, "killed at once")
    for kind, error, says in (
        ("ours", CannotOpen, r"^n\.onnx: no such file$"),
        ("theirs", RuntimeError, r"in work\n(.|\n)*KeyError: 'deep inside'"),
        ("end of file", RuntimeError, "EOFError: as PyAV's"),
        ("killed", Unavailable, "ended with code -9"),
    ):
        with Worker(faulty, kind) as worker, pytest.raises(error, match=says):
            worker()


def holding(megabytes: int) -> Callable[[], float | None]:
    def work() -> float | None:
        block = np.ones(megabytes * 1_000_000, np.uint8)
        del block
        return machine.peak_rss_mb()

    return work


def test_peak_memory_is_a_processs_own() -> None:
    """What it gave back counts; what whoever started it holds does not."""
    block = np.ones(500_000_000, np.uint8)
    with Worker(holding, 1) as small, Worker(holding, 200) as large:
        least, most = small(), large()
    assert block.all()
    assert least < 400
    assert most > least + 150


ORPHAN = """
import os
from engines.measure.speed.worker import Worker
from tests.engines.measure.speed.test_bench import adding
if __name__ == "__main__":
    worker = Worker(adding, 1)
    print(worker._process.pid, flush=True)
    os._exit(0)
"""


def test_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    root = str(REPOSITORY)
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=50,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert result.returncode == 0, result.stderr
    until(lambda: not is_alive(int(result.stdout)))


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


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


def test_a_step_is_charged_for_what_threads_do_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A step ends when the core seconds of the process have stood still three times."""
    clock: Iterator[float] = iter([1.0, 1.2, 1.2, 1.4, 1.4, 1.4, 1.4, 9.0])
    waits: list[float] = []
    fake = SimpleNamespace(process_time=lambda: next(clock), sleep=waits.append)
    monkeypatch.setattr(bench_clip, "time", fake)
    assert bench_clip.settled() == 1.4
    assert len(waits) == 6
    clock = iter(range(999))
    assert bench_clip.settled() == 100  # then it gives up


def test_core_seconds_go_to_the_step_that_works(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = {"now": 0.0}

    def work(seconds: float, item: int) -> int:
        clock["now"] += seconds
        return item

    monkeypatch.setattr(bench_clip, "settled", lambda: clock["now"])
    got: list[int] = []
    pipeline = OneAtATime(
        ("source", (work(1, i) for i in range(40))),
        [[("a", partial(work, 2)), ("b", partial(work, 3))], [("c", partial(work, 4))]],
        ("sink", lambda item: got.append(work(5, item))),
    )
    pipeline.run()
    assert got == [*range(40)]
    assert pipeline.busy == {"source": 40, "a": 80, "b": 120, "c": 160, "sink": 200}


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


def test_sample_is_a_moving_image(tmp_path: Path) -> None:
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert [sample.write(p, 0.5, 160, 96) for p in paths] == [15, 15]
    a, b = (probe(p) for p in paths)
    assert (a.frames, a.size) == (15, (160, 96))
    assert len(set(a.hashes)) == 15
    assert a.hashes == b.hashes
    with av.open(str(paths[0])) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        first, *_, last = (f.to_ndarray(format="rgb24") for f in container.decode(video=0))
    assert first.std() > 40  # an image
    assert np.abs(first.astype(int) - last).mean() > 2
    assert sample.write(tmp_path / "c.mp4", 0.01, 64, 64) == 1


@pytest.fixture(scope="module")
def answer(
    brightness: Path, zeros: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What a script reads of two models and a peer, and the folder with the bars."""
    folder = tmp_path_factory.mktemp("bench")
    peer = peer_graphs.selfie(folder / "peer.onnx")
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "bench",
        brightness,
        zeros,
        brightness,
        peer,
        "--frames-size",
        "96x64",
        "--seconds",
        "0.1",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--bg",
        "#00b140",
        "--json",
        "--plot",
        "bars.png",
    ]
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=55, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    assert "bars → bars.png" in result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout), folder


def test_json_has_every_key(answer: tuple[dict[str, Any], Path], brightness: Path) -> None:
    found, _ = answer
    assert set(found) == {
        "cpu",
        "cores",
        "load",
        "platform",
        "versions",
        "threads",
        "models",
        "model_only",
        "end_to_end",
    }
    assert set(found["versions"]) == {"wsshm", "python", "onnxruntime", "av", "opencv"}
    assert found["cores"] == machine.cores()
    assert found["threads"] == 1
    first, _, again, peer = found["models"]
    assert first == {
        "name": "brightness",
        "file": str(brightness),
        "precision": "fp32",
        "size": 64,
        "input": [1, 64, 96, 3],
        "macs": 0,
        "parameters": 1,
    }
    assert again["name"] == "brightness (2)"
    assert (peer["name"], peer["size"], peer["input"]) == (
        "MediaPipe selfie",
        None,
        [1, 256, 256, 3],
    )
    alone, clip = found["model_only"], found["end_to_end"]
    how = {k: v for k, v in alone.items() if k != "models"}
    assert how == {"batch": 1, "rounds": 1, "seconds": 0.1, "paper": None}
    assert [m["name"] for m in alone["models"]] == [m["name"] for m in found["models"]]
    assert set(alone["models"][0]) == {
        "name",
        "frames",
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "fps",
        "core_ms",
        "ratio",
        "peak_rss_mb",
    }
    how = {k: v for k, v in clip.items() if k != "models"}
    assert how == {
        "clip": "a clip that was made",
        "width": 96,
        "height": 64,
        "background": "#00b140",
        "encoder": "libx264 veryfast, crf 20",
        "runs": 1,
    }
    assert [m["name"] for m in clip["models"]] == [m["name"] for m in found["models"]]
    for m in clip["models"]:
        assert set(m) == {
            "name",
            "frames",
            "fps",
            "start_s",
            "core_ms",
            "work_ms",
            "wall_to_work",
            "slowest",
            "ratio",
            "peak_rss_mb",
            "steps",
        }
        assert m["frames"] == 3
        assert [s["name"] for s in m["steps"]] == STEPS
        assert set(m["steps"][0]) == {"name", "p50_ms", "p95_ms", "p99_ms", "core_ms"}


def test_table_has_the_same_figures(answer: tuple[dict[str, Any], Path]) -> None:
    found, _ = answer
    lines = "\n".join(bench_table.lines(found)).splitlines()
    for m in found["models"]:  # their files' names may be long
        shape = "x".join(map(str, m["input"]))
        assert any(m["file"] in x and x.endswith(f"({shape})") for x in lines)
    assert max(len(x) for x in lines if ".onnx" not in x) <= 100
    assert "MODEL ALONE, batch 1: 1 round of 0.1 s each, in turn" in lines
    after = lines.index(next(x for x in lines if x.startswith("ms of a frame")))
    heads = ["p50", "p95", "p99", "core-ms", "FPS", "×", "first"]
    assert lines[after].split() == ["ms", "of", "a", "frame", *heads]
    cells = lines[after + 2].split()
    m = found["model_only"]["models"][1]
    assert cells[0] == "zeros"
    assert float(cells[4]) == pytest.approx(m["core_ms"], rel=1e-2, abs=1e-3)
    assert float(cells[6]) == pytest.approx(m["ratio"], rel=1e-2, abs=1e-3)
    m = found["end_to_end"]["models"][0]
    after = lines.index(next(x for x in lines if x.startswith("brightness, ms of a frame")))
    rows = [x.split() for x in lines[after + 1 : after + 8]]
    assert [r[0] for r in rows] == [*STEPS, "all"]
    assert [r[0] for r in rows if r[-1] == "slowest"] == [m["slowest"]]
    assert float(rows[-1][1]) == pytest.approx(m["work_ms"], rel=1e-2, abs=1e-3)
    unknown = found["models"][0] | {"macs": None, "parameters": None}
    after = lines.index(next(x for x in lines if x.startswith("what it takes")))
    changed = [*bench_table.lines(found | {"models": [unknown, *found["models"][1:]]})]
    assert changed[after + 1].split()[:3] == ["brightness", "-", "-"]


def test_papers_figures_stand_beside_ours(answer: tuple[dict[str, Any], Path]) -> None:
    found, _ = answer
    alone = found["model_only"] | {"paper": bench_table.paper()}
    alone["models"] = [alone["models"][0] | {"name": "r18", "fps": 12.5}, *alone["models"][1:]]
    lines = [*bench_table.lines(found | {"model_only": alone})]
    after = lines.index(next(x for x in lines if x.startswith("FPS, 512x512")))
    assert lines[after + 1].split() == ["r18", "12.500", "222.2", "18.700"]
    assert lines[after + 2].split()[2:] == ["-", "-"]
    rows = 1 + 4 + 6 + 1 + 4 + 4 * (1 + len(STEPS))
    assert bench_table.chart(found | {"model_only": alone}).shape[0] == 22 * rows


def test_bars_are_as_long_as_their_values(answer: tuple[dict[str, Any], Path]) -> None:
    found, folder = answer
    bars = cv2.imread(str(folder / "bars.png"))[..., ::-1]
    assert bars.shape == (22 * (1 + 4 + 1 + 4 + 4 * (1 + len(STEPS))), 780, 3)
    fps = [m["fps"] for m in found["model_only"]["models"]]
    for i, value in enumerate(fps):
        row = bars[22 * (i + 1) + 11, bench_table.LABEL_WIDTH :]
        length = int((row == bench_table.BAR_RGB).all(-1).sum())
        assert length == pytest.approx(1 + 419 * value / max(fps), abs=1)
    assert sorted(p.name for p in folder.iterdir()) == ["bars.png", "peer.onnx"]


def test_clip_of_ones_own(wsshm: Wsshm, portrait: Path, zeros: Path) -> None:
    """Its size is what the network sees; no more of it is used than asked for."""
    result = wsshm(
        "bench",
        zeros,
        "--input",
        portrait,
        "--seconds",
        "0.2",
        "--repeats",
        2,
        "--end-to-end",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["model_only"] is None
    clip = found["end_to_end"]
    assert (clip["clip"], clip["width"], clip["height"]) == (str(portrait), 320, 240)
    assert (clip["background"], clip["runs"]) == ("blur", 2)
    assert clip["models"][0]["frames"] == 6
    assert found["models"][0]["input"] == [1, 64, 96, 3]


def test_shipped_model_alone_by_default(wsshm: Wsshm) -> None:
    result = wsshm(
        "bench",
        "--model-only",
        "--frames-size",
        "128x64",
        "--size",
        64,
        "--batch",
        2,
        "--seconds",
        "0.1",
        "--repeats",
        1,
    )
    assert result.returncode == 0, result.stderr
    assert f"{models.shipped()[0].path}, fp32, 64 lines (2x64x128x3)" in result.stdout
    assert "MODEL ALONE, batch 2: 1 round of 0.1 s each, in turn" in result.stdout
    assert "END TO END" not in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ("nosuch",),
            66,
            "nosuch: no such file, and no shipped model (there are: default, fast, r18x0.5)",
        ),
        (("junk.onnx",), 65, "junk.onnx: not a model ONNX Runtime can load"),
        (("--input", "no.mp4"), 66, "no.mp4: no such file"),
        (("--input", "junk.onnx"), 65, "junk.onnx: not a readable video"),
        (("--input", "there.png"), 2, "--input there.png: not a video"),
        (("--input", "no.mp4", "--frames-size", "64x64"), 2, "--frames-size"),
        (("--frames-size", "640x361"), 2, "--frames-size 640x361: write WxH, both even"),
        (("--bg", "transparent"), 2, "--bg transparent"),
        (("--bg", "no.jpg"), 66, "--bg no.jpg"),
        (("--plot", "there.png"), 73, "there.png: exists; add --overwrite"),
        (("--plot", "no/bars.png"), 73, "make the folder first"),
        (("--plot", "folder.png", "--overwrite"), 73, "folder.png: is a folder"),
        (("--plot", "bars.gif"), 2, "--plot bars.gif: must end in .png"),
        (("--paper", "--size", "256"), 2, "leave out --input"),
        (("--paper", "--end-to-end"), 2, "leave out --input"),
    ],
)
def test_errors_are_one_line(
    wsshm: Wsshm, tmp_path: Path, args: tuple[str, ...], code: int, says: str
) -> None:
    """They come before anything is measured."""
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    (tmp_path / "folder.png").mkdir()
    cv2.imwrite(str(tmp_path / "there.png"), np.zeros((64, 64, 3), np.uint8))
    before = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    result = wsshm("bench", *args)
    assert result.returncode == code, result.stderr
    one_error_line(result, says)
    assert not result.stdout
    assert "rounds" not in result.stderr
    assert {p.name: p.stat().st_size for p in tmp_path.iterdir()} == before


def test_a_folder_that_is_not_ours_to_write_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever user the tests run as."""
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(CannotCreate, match="no permission to write"):
        check_path("--plot", tmp_path / "bars.png", overwrite=False)


def test_model_that_breaks_while_it_runs(wsshm: Wsshm, tmp_path: Path) -> None:
    """The engine's own check is at one size: at another this one fails."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("Mul", ["grey", "zero"], ["alpha"]),
    ]
    graphs.build(tmp_path / "n.onnx", nodes, {"zero": np.zeros((32, 32), np.float32)})
    result = wsshm("bench", "n.onnx", "--model-only", "--seconds", "0.1")
    assert result.returncode == 65
    one_error_line(result, "n.onnx: the model failed")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["--model-only", "--end-to-end"])
def test_signals_leave_neither_processes_nor_files(
    signum: signal.Signals, what: str, portrait: Path, zeros: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "bench",
        zeros,
        what,
        "--input",
        portrait,
        "--seconds",
        "60",
        "--repeats",
        "100",
    ]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    ) as process:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(listed.read_text().split()) >= 2)  # Python's own tracker is the other
        children = list(map(int, listed.read_text().split()))
        if what == "--end-to-end":
            until(lambda: any(tmp_path.glob("wsshm*/out*")))
        assert any(tmp_path.glob("wsshm*"))
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as a terminal does
        else:
            process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert not out
    assert "Traceback" not in err
    until(lambda: not any(map(is_alive, children)))
    assert not [*tmp_path.glob("wsshm*")]
