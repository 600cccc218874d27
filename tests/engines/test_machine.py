"""Facts about this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

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


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("processor\t: 0\nflags\t\t: fpu avx2 avx512_vnni\n", True),
        ("flags\t\t: fpu avx_vnni\n", True),
        ("flags\t\t: fpu avx2 avx512f\n", False),
        ("Features\t: fp asimd i8mm\n", None),  # ARM
    ],
)
def test_instructions_for_int8(text: str, has: bool | None, tmp_path: Path) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    assert machine.has_int8_instructions(tmp_path / "cpuinfo") is has
    assert machine.has_int8_instructions(tmp_path / "none") is None


@pytest.mark.parametrize(
    ("vendor", "kind", "is_one"),
    [
        ("0x10de", "0x030000", True),
        ("0x10de", "0x030200", True),  # one without a display
        ("0x10de", "0x040300", False),  # its sound
        ("0x8086", "0x030000", False),
    ],
)
def test_an_nvidia_gpu_without_a_driver(
    vendor: str, kind: str, is_one: bool, tmp_path: Path
) -> None:
    device = tmp_path / "0000:01:00.0"
    device.mkdir()
    (device / "vendor").write_text(f"{vendor}\n")
    (device / "class").write_text(f"{kind}\n")
    (tmp_path / "0000:02:00.0").mkdir()
    assert machine.has_nvidia_hardware(tmp_path) is is_one
