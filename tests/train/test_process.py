from __future__ import annotations

import resource
from pathlib import Path

import pytest

from tests.conftest import one_error_line
from tests.train.processes import Training, reached, recipe, saved

pytestmark = pytest.mark.timeout(300)  # a process imports torch, on whatever machine


def address_space(pid: int) -> int:
    """Return the bytes of addresses that a process uses."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[0]) * resource.getpagesize()


def test_a_batch_that_memory_does_not_hold_is_one_line(dataset: Path, tmp_path: Path) -> None:
    """Its first stage fits into the memory that the process is left, its second one does not."""
    out, path = tmp_path / "out", recipe(tmp_path / "recipe.toml", log_every=1, save_every=1)
    stages = [(20, 4, [64]), (1, 16, [512])]
    fields = ("{{ steps = {}, batch = {}, sizes = {} }}".format(*s) for s in stages)
    text = path.read_text().partition("[pretrain]")[0]
    path.write_text(f"{text}\n[pretrain]\nstages = [{', '.join(fields)}]\n")
    args = ["pretrain", "--recipe", path, "--data", dataset, "--out", out, "--workers", 0]
    with Training(tmp_path, *args) as training:
        training.until(lambda: reached(out) > 2)
        pid = training.process.pid
        limit = address_space(pid) + (300 << 20)
        resource.prlimit(pid, resource.RLIMIT_AS, (limit, limit))
        result = training.finish()
    assert result.returncode == 69, result.stderr
    needles = [out, "not enough memory for a batch of 16 crops of 512 pixels", "lower batch or"]
    one_error_line(result, *needles, "--recipe")
    assert saved(out)["step"] == reached(out) == 20
