"""Measure the work of a model on this machine once, and remember it in the user's cache.

Work is the CPU time of all threads, in milliseconds of one core. It stays the same while the
machine is busy with something else, and the work of several stages adds up.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import platformdirs

from engines.contract import ModelSpec
from engines.engine import MattingEngine
from engines.files import replacing, sha256
from engines.machine import cores, cpu

MIN_SPEEDUP = 1.1  # times: a lower precision is chosen if it is at least this much faster
TIMED_RUNS = 3
MAX_ENTRIES = 500  # measurements in the cache


def open_faster(
    files: Mapping[str, Path],
    open_file: Callable[[Path], MattingEngine],
    shape: Callable[[ModelSpec], tuple[int, int]],
) -> tuple[MattingEngine, str]:
    """Open the file of a model that takes least work on this machine.

    Args:
        files: one file, or two by precision, the lower precision first: it is chosen if it is at
            least `MIN_SPEEDUP` times as fast.
        open_file: opens one of them.
        shape: returns the height and width of the network's input, in pixels.

    Returns:
        The engine, and how the two compare, as text for the user; empty for one file.
    """
    if len(files) == 1:
        return open_file(*files.values()), ""
    (low, low_file), (high, high_file) = files.items()
    engine = open_file(low_file)
    size = shape(engine.spec)
    times = _remembered([*files.values()], *size)
    engines = {low_file: engine}
    if times is None:
        engines[high_file] = open_file(high_file)
        times = work(engines, *size)
    speedup = times[high_file] / times[low_file]
    if speedup >= MIN_SPEEDUP:
        return engine, f"{speedup:.1f} times as fast as {high} here"
    return engines.get(high_file) or open_file(
        high_file
    ), f"{low} is {speedup:.2f} times as fast here"


def work(engines: Mapping[Path, MattingEngine], height: int, width: int) -> dict[Path, float]:
    """Return the work of one frame by model file, in core-milliseconds.

    The engines are timed in turn, unless the cache has all of them.

    Args:
        engines: by model file.
        height, width: of the network's input, in pixels.
    """
    if (times := _remembered([*engines], height, width)) is not None:
        return times
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    spent: dict[Path, list[float]] = {file: [] for file in engines}
    for turn in range(1 + TIMED_RUNS):  # the first run allocates
        for file, engine in engines.items():
            start = time.process_time()
            engine(frame)
            if turn:
                spent[file].append(1000 * (time.process_time() - start))
    times = {file: median(runs) for file, runs in spent.items()}
    _remember({_key(file, height, width): t for file, t in times.items()})
    return times


def _key(file: Path, height: int, width: int) -> str:
    """Return the cache key of a measurement: everything that it depends on."""
    import onnxruntime

    runtime = f"onnxruntime {onnxruntime.__version__}"
    return " | ".join([f"{cpu()} x{cores()}", runtime, sha256(file), f"{width}x{height}"])


def _cache() -> Path:
    return platformdirs.user_cache_path("wsshm", appauthor=False) / "timings.json"


def _read() -> dict[str, float]:
    """Read the cache; {} if the file is missing, damaged or not readable."""
    try:
        found = json.loads(_cache().read_text(encoding="utf-8"))
        return {
            str(k): float(v) for k, v in found.items() if math.isfinite(float(v)) and float(v) > 0
        }
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return {}


def _remembered(files: Sequence[Path], height: int, width: int) -> dict[Path, float] | None:
    known = _read()
    times = {f: known.get(_key(f, height, width)) for f in files}
    found = {f: t for f, t in times.items() if t is not None}
    return found if len(found) == len(files) else None


def _remember(times: dict[str, float]) -> None:
    """Add measurements to the cache; if it cannot be written, they are made again next time."""
    path = _cache()
    kept = dict([*(_read() | times).items()][-MAX_ENTRIES:])
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path, private=True, durable=False) as file:
            file.write(json.dumps(kept, indent=0).encode())
