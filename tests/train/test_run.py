"""A run's folder is refused to other runs, and reused by its own."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.train.conftest import Refused
from tests.train.processes import Chain
from train.checkpoint import checkpoint

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine


def begun(chain: Chain, folder: Path) -> Path:
    """A run of which there is a checkpoint and no end."""
    out = folder / "begun"
    out.mkdir()
    for name in ("config.toml", "metrics.jsonl", "step-00000034.pt"):
        shutil.copy(chain.out("student") / name, out)
    return out


def test_a_begun_run_is_not_overwritten(chain: Chain, student: Refused, tmp_path: Path) -> None:
    out = begun(chain, tmp_path)
    code, words = student("--out", out)
    assert code == 2
    assert f"error: {out}: holds a begun run; go on with --resume" in words
    assert student("--out", chain.out("student"))[0] == 2


def test_resuming_with_another_option_names_it(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    out = begun(chain, tmp_path)
    for option, value, name in (("--lambda", 0.5, "loss"), ("--seed", 7, "seed")):
        init = ["--init", chain.out("pretrain") / "model.safetensors"]
        code, words = student("--out", out, "--resume", option, value, *init)
        assert code == 2
        assert f"step-00000034.pt: was begun with another {name}; use the same" in words


def test_a_run_that_an_earlier_version_began_is_known_by_its_old_keys(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    out = begun(chain, tmp_path)
    path = out / "step-00000034.pt"
    state = checkpoint.load(path)
    config = state["config"]
    config |= {"average": config.pop("ema_decay"), "labels": "blended"}
    del config["method"]
    checkpoint.save(path, state)
    init = ["--init", chain.out("pretrain") / "model.safetensors"]
    code, words = student("--out", out, "--resume", "--seed", 7, *init)
    assert code == 2
    assert "was begun with another seed; use the same" in words


def test_resuming_with_another_teacher_is_refused(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    other = chain.out("pretrain") / "model.safetensors"
    code, words = student("--out", begun(chain, tmp_path), "--resume", "--teacher", other)
    assert code == 2
    assert "was begun with another teacher" in words


def test_a_finished_run_says_so(chain: Chain, student: Refused) -> None:
    out = chain.out("student")
    before = {p: p.read_bytes() for p in out.iterdir()}
    code, words = student("--resume")
    assert code == 0
    assert words.splitlines()[-1] == f"{out}: finished already"
    assert {p: p.read_bytes() for p in out.iterdir()} == before
