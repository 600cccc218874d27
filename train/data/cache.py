"""Decoded images in memory, as many as fit; the rest are read again when they are asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engines.arrays import U8
from engines.errors import BadData


def memory_budget(given: int | None) -> int:
    """Return the bytes that decoded images may take: those given, or half of what is free."""
    return free_memory() // 2 if given is None else given


def cached(
    items: Sequence[Any], read: Callable[[Any], tuple[U8, ...]], budget: int
) -> tuple[Callable[[int], Any], int]:
    """Read all items; return a function from index to arrays, and the bytes left of `budget`.

    Every file is read once here, so that a broken one is named before the first step. Arrays that
    exceed the budget are read again when they are asked for.
    """
    faults: list[str] = []
    kept: list[tuple[U8, ...] | None] = []

    def load(item: Any) -> tuple[U8, ...] | None:
        try:
            return read(item)
        except BadData as e:
            faults.append(str(e))
            return None

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for start in range(0, len(items), 64):  # few at a time, to hold little beyond the budget
            for arrays in pool.map(load, items[start : start + 64]):
                budget -= sum(a.nbytes for a in arrays or ())
                kept.append(arrays if budget > 0 else None)
    if faults:
        raise BadData("\n  ".join([f"{len(faults)} files cannot be used:", *sorted(faults)]))

    def get(i: int) -> Any:
        arrays = kept[i] or read(items[i])
        return arrays[0] if len(arrays) == 1 else arrays

    return get, max(budget, 0)


def free_memory() -> int:
    """Return the bytes free without swapping, within a container's limit; 8 GB if unknown."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(x.split()[1]) * 1024 for x in lines if x.startswith("MemAvailable"))
    except (OSError, StopIteration):
        return 8 * 1024**3
    group = Path("/sys/fs/cgroup")
    try:
        limit, used = ((group / f"memory.{n}").read_text().strip() for n in ("max", "current"))
    except OSError:
        return free
    return free if limit == "max" else max(0, min(free, int(limit) - int(used)))
