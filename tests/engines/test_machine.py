"""Facts about this machine."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engines import machine
from engines.measure.speed.worker import Worker


def holding(megabytes: int) -> Callable[[], float | None]:
    def work() -> float | None:
        block = np.ones(megabytes * 1_000_000, np.uint8)
        del block
        return machine.peak_rss_mb()

    return work


def test_peak_memory_is_a_processs_own() -> None:
    """What it gave back counts; what its parent holds does not."""
    block = np.ones(500_000_000, np.uint8)
    with Worker(holding, 1) as small, Worker(holding, 200) as large:
        least, most = small(), large()
    assert block.all()
    assert least < 400
    assert most > least + 150
