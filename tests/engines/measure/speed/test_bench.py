"""Networks alone: what they are given, and what is counted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import helper as h

from engines.errors import BadData
from engines.measure.speed import bench
from engines.measure.speed.bench import Round, describe
from tests import graphs
from tests.engines.measure.estimators import peer_graphs


def test_what_a_network_is_given(brightness: Path, tmp_path: Path) -> None:
    """Ours what `wsshm run` gives it; a peer what it asks for."""
    network = describe("mine", brightness, (160, 90), batch=3)
    assert (network.name, network.is_ours, network.precision) == ("mine", True, "fp32")
    assert (network.size, network.shapes) == (64, {"frames": (3, 64, 128, 3)})
    assert describe("mine", brightness, (160, 90), 100).shapes == {"frames": (1, 128, 192, 3)}
    assert bench.inputs(network)["frames"].dtype == np.uint8
    rvm = describe("x", peer_graphs.rvm(tmp_path / "rvm.onnx"), (160, 90), 128, batch=3)
    assert (rvm.name, rvm.is_ours, rvm.batch) == ("RVM 72x128", False, 1)
    given = bench.inputs(rvm)
    assert given["src"].std() > 0
    assert {k: v.shape for k, v in given.items()} == rvm.shapes
    assert not any(v.any() for k, v in given.items() if k != "src")
    nodes = [h.make_node("Relu", ["a"], ["b"])]
    other = peer_graphs.save(tmp_path / "o.onnx", nodes, {"a": [1, 2]}, {"b": [1, 2]})
    with pytest.raises(BadData, match="neither"):
        describe("x", other, (160, 90))


def test_networks_take_turns_in_processes_of_their_own(zeros: Path, tmp_path: Path) -> None:
    """What one holds in memory is not put down to the other."""
    hungry = graphs.hungry(tmp_path / "hungry.onnx", megabytes=200)
    networks = [
        describe("small", zeros, (64, 64)),
        describe("hungry", hungry, (64, 64), batch=2),
        describe("x", peer_graphs.selfie(tmp_path / "p.onnx"), (64, 64)),
    ]
    turns: list[str] = []
    speeds = bench.measure(networks, 1, 0.01, 2, turns.append)
    names = ["small", "hungry", "MediaPipe selfie"]
    assert turns == names * 2
    assert [s.name for s in speeds] == names
    small, large, _ = speeds
    assert small.peak_rss_mb is not None
    assert large.peak_rss_mb is not None
    assert large.peak_rss_mb > small.peak_rss_mb + 150
    assert small.ratio == 1
    assert large.ratio < 1
    for s in speeds:
        assert s.frames >= 2
        assert 0 < s.p50_ms <= s.p95_ms <= s.p99_ms
        assert s.fps > 0
        assert s.core_ms > 0
    assert large.frames % 2 == 0


def test_speed_is_the_median_round(zeros: Path) -> None:
    """A batch of two: a call of 20 ms is two frames of 10 ms."""
    network = replace(describe("n", zeros, (64, 64)), shapes={"frames": (2, 64, 64, 3)})
    rounds = [
        Round([0.020, 0.020], 0.060, 50.0),
        Round([0.040], 0.050, 51.0),
        Round([0.080], 0.070, 52.0),
    ]
    speed = bench.summarise(network, rounds, first=[50.0, 25.0, 25.0])
    assert speed.frames == 8
    assert (speed.p50_ms, speed.p99_ms) == pytest.approx((15, 39.4))  # of 10, 10, 20, 40
    assert speed.fps == pytest.approx(50)  # of 100, 50, 25
    assert speed.core_ms == pytest.approx(25)  # of 15, 25, 35
    assert speed.ratio == pytest.approx(2)  # of 2, 2, 1
    assert speed.peak_rss_mb == 52
