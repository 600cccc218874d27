"""How much work a model is on this machine: measured once, and remembered.

Work is counted in milliseconds of one core, of all threads together: it stays what it is while the
machine is busy with something else, and adds up with what other stages take.
"""

from __future__ import annotations

import json
import math
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median

import numpy as np
import platformdirs

from engines.contract import ModelSpec
from engines.engine import MattingEngine
from engines.files import sha256
from engines.machine import cores, cpu

GAIN = 1.1  # how many times as fast a lower precision is where it is worth having
ROUNDS = 3
KEPT = 500  # measurements that are remembered


def open_faster(
    files: Mapping[str, Path],
    opened: Callable[[Path], MattingEngine],
    shape: Callable[[ModelSpec], tuple[int, int]],
) -> tuple[MattingEngine, str]:
    """Open the file of a model that is least work here.

    Args:
        files: one, or two by precision, the lower first: it has to be `GAIN` times as fast.
        opened: opens one of them.
        shape: height and width, in pixels, of the network's input.

    Returns:
        The engine, and how the two compare, in words for whoever runs it; nothing for one alone.
    """
    if len(files) == 1:
        return opened(*files.values()), ""
    (low, low_file), (high, high_file) = files.items()
    engine = opened(low_file)
    size = shape(engine.spec)
    times = _remembered([*files.values()], *size)
    engines = {low_file: engine}
    if times is None:
        engines[high_file] = opened(high_file)
        times = work(engines, *size)
    gain = times[high_file] / times[low_file]
    if gain >= GAIN:
        return engine, f"{gain:.1f} times as fast as {high} here"
    return engines.get(high_file) or opened(high_file), f"{low} is {gain:.2f} times as fast here"


def work(engines: Mapping[Path, MattingEngine], height: int, width: int) -> dict[Path, float]:
    """Core-milliseconds of one frame, by model file; measured in turn unless all are remembered.

    Args:
        height, width: of the network's input, in pixels.
    """
    if (times := _remembered([*engines], height, width)) is not None:
        return times
    frame = np.random.default_rng(0).integers(0, 256, (1, height, width, 3), np.uint8)
    spent: dict[Path, list[float]] = {file: [] for file in engines}
    for turn in range(1 + ROUNDS):  # the first allocates
        for file, engine in engines.items():
            start = time.process_time()
            engine(frame)
            if turn:
                spent[file].append(1000 * (time.process_time() - start))
    times = {file: median(own) for file, own in spent.items()}
    _remember({_key(file, height, width): t for file, t in times.items()})
    return times


def _key(file: Path, height: int, width: int) -> str:
    """All that a measurement depends on."""
    import onnxruntime

    runtime = f"onnxruntime {onnxruntime.__version__}"
    return " | ".join([f"{cpu()} x{cores()}", runtime, sha256(file), f"{width}x{height}"])


def _cache() -> Path:
    return platformdirs.user_cache_path("wsshm", appauthor=False) / "timings.json"


def _read() -> dict[str, float]:
    """What is remembered; a file that is damaged or cannot be read holds nothing."""
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
    """Written beside and renamed; where that cannot be, it is measured again the next time."""
    path = _cache()
    kept = dict([*(_read() | times).items()][-KEPT:])
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(kept, file, indent=0)
            os.replace(part, path)
        except BaseException:
            Path(part).unlink(missing_ok=True)
            raise
