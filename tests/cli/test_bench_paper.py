"""The paper's networks, exported to be timed; needs what training needs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torchvision  # noqa: F401 - what it sets in the environment is there before a test looks

from engines.contract import PAPER_SIZE
from engines.engine import open_engine
from engines.measure.speed import bench
from engines.measure.speed.bench import describe
from tests.conftest import Wsshm
from wsshm_cli.bench import _random


@pytest.mark.timeout(150)
def test_networks_have_random_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One file for each architecture of the paper; here of a smaller one."""
    assert list(bench.PAPER_FPS) == ["r101", "r18", "r18x0.5"]
    monkeypatch.setattr(bench, "PAPER_FPS", {"r18x0.25": (1.0, 1.0)})
    assert _random(tmp_path) == [("r18x0.25", tmp_path / "r18x0.25.onnx")]
    assert open_engine(tmp_path / "r18x0.25.onnx").spec.size == PAPER_SIZE
    network = describe("r18x0.25", tmp_path / "r18x0.25.onnx", (64, 64), size=64)
    assert network.shapes == {"frames": (1, 64, 64, 3)}
    assert network.cost is not None
    assert network.cost.macs > 1e7


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_protocol(wsshm: Wsshm) -> None:
    result = wsshm("bench", "--paper", "--seconds", "0.1", "--repeats", 1, "--json", timeout=1200)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [m["name"] for m in found["models"]] == ["r101", "r18", "r18x0.5"]
    assert all(m["input"] == [1, 512, 512, 3] and m["file"] is None for m in found["models"])
    macs = [m["macs"] for m in found["models"]]
    assert macs == sorted(macs, reverse=True)
    assert found["model_only"]["paper"]["r18"] == {"v100_fps": 222.2, "xeon_gold_5120_fps": 18.7}
    assert found["end_to_end"] is None
