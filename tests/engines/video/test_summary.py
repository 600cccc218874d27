"""The result of a run as plain data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from engines.errors import BadData
from engines.preprocess import fit
from engines.video.frame import FrameFormat
from engines.video.summary import Started, Summary

FORMAT = FrameFormat(320, 240)
STARTED = Started("tiny", "onnx", "cpu", "int8", "", 64, fit(320, 240, 64, 32), FORMAT, 40)
SUMMARY = Summary(
    started=STARTED,
    frames=30,
    seconds=1.23456,
    busy={"decode": 0.98765, "network": 0.5},
    outputs=[Path("o.mp4")],
    left=[],
    warnings=["one"],
    error=None,
    signum=0,
)


def test_every_figure_is_there_and_rounded() -> None:
    """As it is printed: milliseconds of seconds, hundredths of a rate; paths and errors as text."""
    data = json.loads(json.dumps(SUMMARY.to_dict()))
    assert data == {
        "model": "tiny",
        "device": "cpu",
        "precision": "int8",
        "size": 64,
        "frames": 30,
        "total": 40,
        "seconds": 1.235,
        "fps": 24.3,
        "slowest": "decode",
        "busy": {"decode": 0.988, "network": 0.5},
        "dropped": None,
        "latency_ms": None,
        "nobody": False,
        "outputs": ["o.mp4"],
        "left": [],
        "warnings": ["one"],
        "error": None,
        "exit_code": 0,
    }


def test_a_live_run_has_latencies_and_does_not_decode_slowly() -> None:
    """To decode a live source is mostly to wait for it."""
    live = replace(SUMMARY, dropped=3, latency=(0.04321, 0.09876)).to_dict()
    assert (live["dropped"], live["latency_ms"]) == (3, [43.2, 98.8])
    assert live["slowest"] == "network"


@pytest.mark.parametrize(
    ("error", "signum", "code"),
    [(None, 0, 0), (None, 15, 143), (BadData("cut", "retry"), 0, 65), (RuntimeError("x"), 2, 70)],
)
def test_exit_code_tells_the_first_of_error_and_signal(
    error: Exception | None, signum: int, code: int
) -> None:
    data = replace(SUMMARY, error=error, signum=signum).to_dict()
    assert data["exit_code"] == code
    assert data["error"] == (str(error) if error else None)
