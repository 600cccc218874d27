from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from train import checkpoint
from train.export import load_net

RECIPE = """
arch = "r18x0.25"
warmup = 2
composites = 0.5
[[stages]]
size = 64
batch = 4
steps = {steps}
"""


def start(dataset: Path, out: Path, steps: int) -> subprocess.Popen[str]:
    recipe = out.parent / f"recipe{steps}.toml"
    recipe.write_text(RECIPE.format(steps=steps))
    command = [sys.executable, "-m", "train.trainer", recipe, "--data", dataset, "--out", out]
    return subprocess.Popen([*map(str, command)], stderr=subprocess.PIPE, text=True)


pytestmark = pytest.mark.timeout(300)  # every process imports torch


def test_a_run_learns_and_its_checkpoint_exports(dataset: Path, tmp_path: Path) -> None:
    run = start(dataset, tmp_path / "run", 6)
    _, errors = run.communicate(timeout=150)
    assert run.returncode == 0, errors
    (row,) = map(json.loads, (tmp_path / "run/metrics.jsonl").read_text().splitlines())
    assert row["step"] == 6
    assert 0 < row["total"] < 2
    assert load_net(tmp_path / "run/last.pt").arch == "r18x0.25"


def test_interrupted_and_resumed_is_the_same_run(dataset: Path, tmp_path: Path) -> None:
    """SIGINT after some steps and a second start end in the very weights of one straight run."""
    straight = start(dataset, tmp_path / "straight", 8)
    _, errors = straight.communicate(timeout=150)
    assert straight.returncode == 0, errors

    split = tmp_path / "split"
    run = start(dataset, split, 8)
    while not split.exists():
        time.sleep(0.05)
    time.sleep(1.0)
    run.send_signal(signal.SIGINT)
    run.communicate(timeout=150)
    if run.returncode == 130:
        assert checkpoint.load(split / "last.pt")["step"] < 8
    again = start(dataset, split, 8)
    _, errors = again.communicate(timeout=150)
    assert again.returncode == 0, errors
    a, b = (checkpoint.load(p / "last.pt") for p in (tmp_path / "straight", split))
    assert a["step"] == b["step"] == 8
    for part in ("net", "ema"):
        for name, value in a[part].items():
            assert torch.equal(value, b[part][name]), name


def test_a_checkpoint_cannot_run_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "ran",))

    torch.save(Evil(), tmp_path / "evil.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        checkpoint.load(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()
