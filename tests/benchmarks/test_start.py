"""The time and work of a start, as `benchmarks.start` measures them."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from benchmarks.start import until_first_frame
from tests.media import noise_clip

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="work is read in /proc")


def test_time_and_work_of_a_start(ones: Path, tmp_path: Path) -> None:
    clip = noise_clip(tmp_path / "in.mp4", frames=3)
    began, idle = time.perf_counter(), time.process_time()
    options = ["--model", str(ones), "--bg", "#00b140"]
    seconds, work = until_first_frame(clip, 64 * 48 * 3 // 2, options)
    assert 0 < seconds <= time.perf_counter() - began
    # Imports alone are more, and it is the run's work, not that of this process.
    assert work > 0.1 > time.process_time() - idle
