"""Measure the speed of networks alone, each in its own process, taking turns.

Core-ms are the CPU time of all threads of a process, in milliseconds of one core. On a busy machine
they stay the same while times grow.
"""

from __future__ import annotations

import contextlib
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.checks import check_signature, first_line
from engines.contract import KEY, ModelSpec
from engines.engine import open_engine
from engines.errors import BadData
from engines.machine import peak_rss_mb
from engines.measure.estimators.open import open_peer
from engines.measure.speed.cost import Cost, count
from engines.measure.speed.worker import Worker
from engines.onnx_engine import open_session
from engines.preprocess import fit

WARM_UP_RUNS = 2  # the first one allocates

# Frames a second of the paper's networks at 512×512, batch 1, on a Tesla V100 and a Xeon Gold 5120.
PAPER_FPS = {"r101": (58.3, 5.0), "r18": (222.2, 18.7), "r18x0.5": (328.9, 43.7)}


@dataclass(frozen=True)
class Network:
    """A model file and the shapes of its inputs, the image first.

    `size` is the shorter edge of the image in pixels; None for a peer, whose size is fixed. `cost`
    is None if it could not be counted.
    """

    name: str
    file: Path
    precision: str | None
    size: int | None
    shapes: dict[str, tuple[int, ...]]
    cost: Cost | None

    @property
    def is_ours(self) -> bool:
        """Whether it is a model of this project."""
        return self.size is not None

    @property
    def batch(self) -> int:
        """Images per run."""
        return next(iter(self.shapes.values()))[0]


@dataclass(frozen=True)
class Speed:
    """The speed of a network alone; times are per frame, in ms.

    `fps`, `core_ms` and `ratio`, the speed as a multiple of the first network's, are medians over
    rounds. `peak_rss_mb` is None if the system does not tell.
    """

    name: str
    frames: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    fps: float
    core_ms: float
    ratio: float
    peak_rss_mb: float | None


@dataclass(frozen=True)
class Round:
    """The measurements of one round; `calls` are the seconds of each run."""

    calls: list[float]
    core_seconds: float
    peak_rss_mb: float | None


def describe(
    name: str, file: Path, frame: tuple[int, int], size: int | None = None, batch: int = 1
) -> Network:
    """Read the inputs of a model file, ours or a known peer's, and count its cost.

    Args:
        name: of a model of ours in results; a peer's name is fixed.
        frame: width and height of the images, in pixels.
        size: shorter edge of what a model of ours sees, in pixels; None for its own.
        batch: images per run of a model of ours; a peer sees one.

    Raises:
        CannotOpen, BadData: the file cannot be loaded or run, or its kind is not known.
    """
    session = open_session(file)
    metadata = session.get_modelmeta().custom_metadata_map
    shapes = {n.name: tuple(n.shape) for n in session.get_inputs()}
    if KEY in metadata:
        spec = ModelSpec.from_metadata(metadata, file)
        check_signature(session, spec, file)
        f = fit(*frame, size or spec.size, spec.stride)
        shape = (batch, f.padded_height, f.padded_width, 3)
        found = Network(name, file, spec.precision, size or spec.size, {spec.input: shape}, None)
    else:
        found = Network(open_peer(session, file).name, file, None, None, shapes, None)
    return replace(found, cost=count(file, inputs(found)))


def inputs(network: Network) -> dict[str, NDArray[Any]]:
    """Return random inputs for a network: noise as image, zeros as its state."""
    rng = np.random.default_rng(0)
    image, *states = network.shapes.items()
    if network.is_ours:
        return {image[0]: rng.integers(0, 256, image[1], np.uint8)}
    given = {image[0]: rng.random(image[1], np.float32)}
    return given | {name: np.zeros(shape, np.float32) for name, shape in states}


def _load(network: Network, threads: int | None) -> Callable[[], object]:
    """Load a network and return a function that runs it once."""
    given = inputs(network)
    if network.is_ours:
        engine = open_engine(network.file, threads=threads)
        (frames,) = given.values()
        return lambda: engine(frames)
    session = open_session(network.file, threads)

    def run() -> object:
        try:
            return session.run(None, given)
        except Exception as e:  # onnxruntime's own classes share no base but Exception
            raise BadData(f"{network.file}: the model failed ({first_line(e)})") from e

    return run


def measure(
    networks: list[Network],
    threads: int | None = None,
    seconds: float = 3.0,
    rounds: int = 3,
    on_step: Callable[[str], None] = lambda _: None,
) -> list[Speed]:
    """Measure every network alone; they take turns, round by round.

    Args:
        threads: of each network; None for all cores.
        seconds: for which each runs in each round, at least once.
        on_step: called with the name of a network after each of its rounds.

    Raises:
        WsshmError: a network cannot be loaded or run.
    """
    with contextlib.ExitStack() as stack:
        workers = [stack.enter_context(Worker(_start_measuring, n, threads)) for n in networks]
        found: list[list[Round]] = [[] for _ in networks]
        for _ in range(rounds):
            for network, worker, results in zip(networks, workers, found, strict=True):
                results.append(worker(seconds))
                on_step(network.name)
    first = _fps(networks[0], found[0])
    return [summarise(n, results, first) for n, results in zip(networks, found, strict=True)]


def _start_measuring(network: Network, threads: int | None) -> Callable[[float], Round]:
    run = _load(network, threads)
    for _ in range(WARM_UP_RUNS):
        run()

    def measure_round(seconds: float) -> Round:
        calls: list[float] = []
        cores, began = time.process_time(), time.perf_counter()
        while not calls or time.perf_counter() - began < seconds:
            start = time.perf_counter()
            run()
            calls.append(time.perf_counter() - start)
        return Round(calls, time.process_time() - cores, peak_rss_mb())

    return measure_round


def summarise(network: Network, rounds: list[Round], first: list[float]) -> Speed:
    """Summarise a network's rounds; `first` are the first network's frames a second in each."""
    calls = [c / network.batch for r in rounds for c in r.calls]
    fps = _fps(network, rounds)
    return Speed(
        network.name,
        len(calls) * network.batch,
        *percentiles(calls),
        fps=median(fps),
        core_ms=median(1000 * r.core_seconds / len(r.calls) / network.batch for r in rounds),
        ratio=median(this / other for this, other in zip(fps, first, strict=True)),
        peak_rss_mb=rounds[-1].peak_rss_mb,
    )


def _fps(network: Network, rounds: list[Round]) -> list[float]:
    return [network.batch * len(r.calls) / sum(r.calls) for r in rounds]


def percentiles(seconds: list[float]) -> tuple[float, float, float]:
    """Return the 50th, 95th and 99th percentile of times in seconds, in ms."""
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99]) * 1000
    return float(p50), float(p95), float(p99)


def versions() -> dict[str, str]:
    """Return the versions of what speed depends on, by name."""
    import av
    import cv2
    import onnxruntime

    return {
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "av": av.__version__,
        "opencv": cv2.__version__,
    }
