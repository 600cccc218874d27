"""Measure the speed of `wsshm run` from file to file, step by step, in a separate process.

A clip passes through `engines.video.run` twice: normally, to measure times, and with one step at a
time, to measure the work of each step, whichever threads of whichever library do it. A peer's
network replaces ours in the same pipeline, with one worker: it may have memory.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from engines.machine import cores, peak_rss_mb
from engines.measure.estimators.peer_engine import open_peer_engine
from engines.measure.speed.bench import Network, percentiles
from engines.measure.speed.worker import Worker
from engines.video.config import RunConfig
from engines.video.matte.network import open_network
from engines.video.pipeline import Pipeline
from engines.video.run import run as run_clip
from engines.video.summary import Started, Summary
from engines.video.write.codecs import find_codec

CHUNK_FRAMES = 16  # that one step works on before the next step does
_H264 = find_codec("h264")
ENCODER = f"{_H264.encoder} {_H264.options['preset']}, crf {_H264.crf:g}"


@dataclass(frozen=True)
class StepSpeed:
    """One step: times per frame in ms; `core_ms` is its work when no other step runs."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    core_ms: float


@dataclass(frozen=True)
class ClipSpeed:
    """The speed of a clip from file to file; medians over several runs.

    `fps` does not include `start_s`, the time of loading. `core_ms` is the work per frame while all
    steps run together, `work_ms` the sum of the steps' work when each runs alone. `wall_to_work` is
    the time per frame as a multiple of the time that this work takes if it keeps all cores busy.
    `slowest` is the step that took longest.
    """

    name: str
    frames: int
    fps: float
    start_s: float
    core_ms: float
    work_ms: float
    wall_to_work: float
    slowest: str
    ratio: float
    peak_rss_mb: float | None
    steps: list[StepSpeed]


@dataclass(frozen=True)
class Run:
    """The measurements of one process, in seconds.

    By step: `times` of every frame, `busy` time of its threads, and `work` of all frames.
    """

    frames: int
    start: float
    wall: float
    core: float
    times: dict[str, list[float]]
    busy: dict[str, float]
    work: dict[str, float]
    peak_rss_mb: float | None


def measure(
    networks: list[Network],
    config: RunConfig,
    runs: int = 3,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[ClipSpeed]:
    """Measure runs of a clip through every network; they take turns, `runs` times.

    Args:
        config: its input is a video; its output and its model are replaced.
        on_step: called with the name of a network after each of its runs.

    Raises:
        WsshmError: a run failed.
    """
    found: list[list[Run]] = [[] for _ in networks]
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        out = Path(folder) / "out.mp4"
        for _ in range(runs):
            for network, results in zip(networks, found, strict=True):
                own_config = replace(
                    config, output=out, overwrite=True, model=str(network.file), size=network.size
                )
                with Worker(_start_measuring, own_config, network.is_ours) as worker:
                    results.append(worker())
                on_step(network.name)
    first = [r.wall / r.frames for r in found[0]]
    return [summarise(n.name, results, first) for n, results in zip(networks, found, strict=True)]


def _start_measuring(config: RunConfig, is_ours: bool) -> Callable[[], Run]:
    return lambda: measure_run(config, is_ours)


def measure_run(config: RunConfig, is_ours: bool = True) -> Run:
    """Run a clip twice, with all steps together and with one at a time, and measure both.

    Args:
        is_ours: the model is ours, not a peer's.

    Raises:
        WsshmError: a run failed, or the input ended early.
    """
    times: dict[str, list[float]] = {}
    began = time.perf_counter()
    started, core = began, 0.0

    def start(_: Started) -> None:
        nonlocal started, core
        core, started = settled(), time.perf_counter()

    if not is_ours:
        config = replace(config, max_workers=1)
    opener = open_network if is_ours else open_peer_engine
    run = partial(run_clip, config, on_start=start, network=opener)
    summary = _whole(run(pipeline=timed(times)))
    wall, loading = time.perf_counter() - started, started - began
    spent, memory = settled() - core, peak_rss_mb()
    work = _whole(run(pipeline=OneAtATime)).busy
    # The rest is the end of the file: frames that the encoder still held, and the index.
    work["encode"] += settled() - core - sum(work.values())
    return Run(summary.frames, loading, wall, spent, times, summary.busy, work, memory)


def _whole(summary: Summary) -> Summary:
    if summary.error is not None:
        raise summary.error
    return summary


def summarise(name: str, runs: list[Run], first: list[float]) -> ClipSpeed:
    """Summarise a network's runs; `first` are the first network's seconds a frame in each."""
    frames = runs[0].frames
    steps = []
    for step in runs[0].times:
        times = [t for r in runs for t in r.times[step]]
        core_ms = median(1000 * r.work[step] / frames for r in runs)
        steps.append(StepSpeed(step, *percentiles(times), core_ms))
    wall = median(r.wall for r in runs) / frames
    work = sum(s.core_ms for s in steps) / 1000
    totals = {step: sum(r.busy[step] for r in runs) for step in runs[0].times}
    memory = [r.peak_rss_mb for r in runs if r.peak_rss_mb is not None]
    return ClipSpeed(
        name=name,
        frames=frames,
        fps=1 / wall,
        start_s=median(r.start for r in runs),
        core_ms=median(1000 * r.core / frames for r in runs),
        work_ms=1000 * work,
        wall_to_work=wall / (work / cores()),
        slowest=max(totals, key=lambda step: totals[step]),
        ratio=median(other / (r.wall / frames) for r, other in zip(runs, first, strict=True)),
        peak_rss_mb=max(memory, default=None),
        steps=steps,
    )


def timed(times: dict[str, list[float]]) -> Callable[..., Pipeline]:
    """Return a kind of `Pipeline` that puts the seconds of every frame into `times`, by step."""
    return partial(Pipeline, on_time=lambda name, s: times.setdefault(name, []).append(s))


class OneAtATime(Pipeline):
    """A pipeline that runs one step at a time on `CHUNK_FRAMES` items; `busy` is CPU time."""

    def run(self) -> None:
        self._before = settled()
        items = map(self.admit, self.source[1])
        while chunk := self._all(self.source[0], islice(items, CHUNK_FRAMES)):
            for name, function in (step for steps in self.stages for step in steps):
                chunk = self._all(name, map(function, chunk))
            self._all(self.sink[0], map(self.sink[1], chunk))

    def _all(self, name: str, items: Iterable[Any]) -> list[Any]:
        found = list(items)
        now = settled()
        self.busy[name] += now - self._before
        self._before = now
        return found


def settled(
    cpu_time: Callable[[], float] = time.process_time, sleep: Callable[[float], None] = time.sleep
) -> float:
    """Wait until the threads of this process are idle, and return its CPU time in seconds.

    Waits for a second at most.

    Args:
        cpu_time: returns the CPU time of this process, in seconds.
        sleep: waits for a time, in seconds.
    """
    now, quiet = cpu_time(), 0
    for _ in range(100):
        before = now
        sleep(0.01)
        now = cpu_time()
        quiet = quiet + 1 if now - before < 0.0005 else 0
        if quiet == 3:  # once is no proof: on a busy machine no thread may have had its turn
            break
    return now
