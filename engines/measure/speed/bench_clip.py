"""How fast `wsshm run` is from file to file, step by step, in a process of its own.

A clip goes through `engines.video.run` twice: as always, for times, and with one step at a time,
for the work that each step is, whichever threads of whichever library do it. A peer's network
takes the place of ours in the very same pipeline, but sees one frame at a time: it may remember.
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

from engines.machine import cores
from engines.measure.estimators.peer_engine import open_peer
from engines.measure.speed.bench import Network, Worker, peak_rss_mb, percentiles
from engines.video.config import RunConfig
from engines.video.matte.network import open_network
from engines.video.pipeline import Pipeline
from engines.video.run import run as run_clip
from engines.video.summary import Started, Summary
from engines.video.write.codecs import find_codec

CHUNK = 16  # frames that one step works on before the next does
_H264 = find_codec("h264")
ENCODER = f"{_H264.encoder} {_H264.options['preset']}, crf {_H264.crf:g}"


@dataclass(frozen=True)
class StepSpeed:
    """One step: times of a frame in ms, `core_ms` its work when no other step runs."""

    name: str
    p50_ms: float
    p95_ms: float
    p99_ms: float
    core_ms: float


@dataclass(frozen=True)
class ClipSpeed:
    """A clip from file to file; the median run of several where that makes sense.

    `fps` is without `start_s`, which loading takes. `core_ms` is the work of a frame while all
    steps run, `work_ms` the sum of the steps' alone; `wall_to_work` is the time of a frame as a
    multiple of what that work takes if it keeps all cores busy. `slowest` is the step that took
    longest.
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
    """What one process measured, in seconds.

    By step: `times` of every frame; `busy`, how long a thread had it in hand; `work` of all frames.
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
    """A clip through every network's `wsshm run`, in turn, `runs` times.

    Args:
        config: its input is a video; output and model are seen to here.
        on_step: called with the name of a network after each of its runs.

    Raises:
        WsshmError: what a run met with.
    """
    found: list[list[Run]] = [[] for _ in networks]
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        out = Path(folder) / "out.mp4"
        for _ in range(runs):
            for network, own in zip(networks, found, strict=True):
                wanted = replace(
                    config, output=out, overwrite=True, model=str(network.file), size=network.size
                )
                with Worker(_measuring, wanted, network.is_ours) as worker:
                    own.append(worker())
                on_step(network.name)
    first = [r.wall / r.frames for r in found[0]]
    return [speed_of(n.name, own, first) for n, own in zip(networks, found, strict=True)]


def _measuring(config: RunConfig, is_ours: bool) -> Callable[[], Run]:
    return lambda: _run(config, is_ours)


def _run(config: RunConfig, is_ours: bool = True) -> Run:
    times: dict[str, list[float]] = {}
    began = time.perf_counter()
    started, core = began, 0.0

    def start(_: Started) -> None:
        nonlocal started, core
        core, started = settled(), time.perf_counter()

    if not is_ours:
        config = replace(config, max_workers=1)
    run = partial(run_clip, config, on_start=start, network=open_network if is_ours else open_peer)
    summary = _whole(run(pipeline=timed(times)))
    wall, loading = time.perf_counter() - started, started - began
    spent, memory = settled() - core, peak_rss_mb()
    work = _whole(run(pipeline=OneAtATime)).busy
    # What no step did is the end of the file: frames that the encoder still held, and the index.
    work["encode"] += settled() - core - sum(work.values())
    return Run(summary.frames, loading, wall, spent, times, summary.busy, work, memory)


def _whole(summary: Summary) -> Summary:
    if summary.error is not None:
        raise summary.error
    return summary


def speed_of(name: str, runs: list[Run], first: list[float]) -> ClipSpeed:
    """Runs of a network put together; `first` are the first network's seconds a frame in each."""
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
    """Takes the steps one after the other, `CHUNK` items each; `busy` is then core seconds."""

    def run(self) -> None:
        self._before = settled()
        items = map(self.admit, self.source[1])
        while chunk := self._all(self.source[0], islice(items, CHUNK)):
            for name, function in (step for steps in self.stages for step in steps):
                chunk = self._all(name, map(function, chunk))
            self._all(self.sink[0], map(self.sink[1], chunk))

    def _all(self, name: str, items: Iterable[Any]) -> list[Any]:
        found = list(items)
        now = settled()
        self.busy[name] += now - self._before
        self._before = now
        return found


def settled() -> float:
    """Core seconds of this process, once its threads have nothing to do; waits a second at most."""
    now, quiet = time.process_time(), 0
    for _ in range(100):
        before = now
        time.sleep(0.01)
        now = time.process_time()
        quiet = quiet + 1 if now - before < 0.0005 else 0
        if quiet == 3:  # once is no proof on a busy machine: none may have had its turn
            break
    return now
