"""A run trains its pre-training first and finds its teacher."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from tests.train.conftest import Refused
from tests.train.processes import Chain, recipe
from train.chain import newest_teacher
from train.checkpoint import checkpoint
from train.config import load, saved
from train.export.reread import reread
from train.networks import build
from train.trainer import freeze
from wsshm_cli.app import app

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine


def test_a_student_without_a_teacher_names_the_command(student: Refused, tmp_path: Path) -> None:
    code, words = student("--runs", tmp_path / "none")
    assert code == 66
    assert "no finished teacher in it; run wsshm train teacher first" in words


def test_pretraining_from_other_masks_is_refused_with_advice(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    code, words = student("--out", tmp_path / "out", "--masks", 1)
    assert code == 2
    weights = chain.out("pretrain") / "model.safetensors"
    assert f"was made with another masks; --init {weights} takes it as it is" in words


def test_without_pretraining_no_mask_is_read_by_a_teacher(
    chain: Chain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path = recipe(tmp_path / "recipe.toml", steps=1, composites=1.0, empty=0.0)
    data = shutil.copytree(chain.data, tmp_path / "data")
    for mask in (data / "seg/a/masks").iterdir():
        mask.write_bytes(b"no image")
    args = ["train", "teacher", "--recipe", path, "--data", data, "--workers", 0]
    result = CliRunner().invoke(app, [*map(str, args), "--no-pretrain"])
    # Measured on masks when it ends, which is said; none is learnt.
    assert result.exit_code == 0, result.stderr
    assert [p.name for p in (tmp_path / "runs").iterdir()] == ["teacher-r18x0.25"]


@pytest.mark.parametrize("by_option", [False, True])
def test_a_student_without_a_teacher_learns_by_its_recipes_losses(
    chain: Chain, student: Refused, tmp_path: Path, by_option: bool
) -> None:
    """Where --labels took the teacher away, for comparison, it learns as pre-training does."""
    method = "mlb" if by_option else "supervised"
    path = recipe(tmp_path / "recipe.toml", steps=1, method=method)
    start = chain.out("pretrain") / "model.safetensors"
    args = ["--init", start, "--out", tmp_path / "out", "--workers", 0]
    labels = ["--labels", "masks"] if by_option else []
    code, words = student("--recipe", path, *args, *labels)
    assert code == 0, words
    kind = "pretrain" if by_option else "student"
    assert saved(tmp_path / "out")["loss"] == load(str(path), kind).loss


@pytest.fixture
def without_boundary(tmp_path: Path) -> Path:
    """A finished teacher of another kind, in a folder of runs."""
    path = tmp_path / "other" / "teacher-modnet" / "model.safetensors"
    path.parent.mkdir(parents=True)
    checkpoint.save_weights(path, "modnet", build("modnet").state_dict(), {})
    return path


def test_a_teacher_that_predicts_no_boundary_is_refused(
    student: Refused, tmp_path: Path, without_boundary: Path
) -> None:
    code, words = student("--out", tmp_path / "out", "--teacher", without_boundary)
    assert code == 2
    assert f"{without_boundary}: is a modnet, which predicts no boundary; give one" in words
    code, words = student("--runs", without_boundary.parents[1])
    assert code == 66
    assert "no finished teacher in it that predicts a boundary; run wsshm train" in words


def test_weights_of_another_network_are_refused(
    student: Refused, tmp_path: Path, without_boundary: Path
) -> None:
    code, words = student("--out", tmp_path / "out", "--init", without_boundary)
    assert code == 2
    (line,) = (x for x in words.splitlines() if "error: " in x)
    assert line.endswith(f"--init {without_boundary}: is a modnet, not a r18x0.25")


def test_a_newer_teacher_without_a_boundary_is_passed_over(
    chain: Chain, without_boundary: Path
) -> None:
    runs = without_boundary.parents[1]
    older = runs / "teacher-r18x0.25" / "model.safetensors"
    shutil.copytree(chain.out("teacher"), older.parent)
    os.utime(older, (1, 1))
    assert newest_teacher(runs) == older


@pytest.fixture
def further(tmp_path: Path) -> Path:
    """A recipe that trains a model file further: its encoder and its norms stay."""
    fields: dict[str, Any] = {
        "lr": 0.1,
        "frozen_norms": True,
        "frozen": ["encoder.*"],
        "teacher_ema": 0.9,
    }
    return recipe(tmp_path / "further.toml", steps=2, **fields)


def test_a_model_file_learns_from_a_shipped_teacher(
    chain: Chain, student: Refused, tmp_path: Path, further: Path
) -> None:
    start = chain.out("student") / "model.onnx"
    args = ["--init", start, "--teacher", "default", "--out", tmp_path / "out", "--workers", 0]
    code, words = student("--recipe", further, *args)
    assert code == 0, words
    assert f"network: from {start}" in words
    assert saved(tmp_path / "out")["run"]["teacher"].endswith("engines/weights/default.onnx")
    before = reread(start).state_dict()
    _, after = checkpoint.weights(tmp_path / "out" / "model.safetensors")
    assert before.keys() == after.keys()
    for name, value in after.items():
        kept = name.startswith("encoder.") or "running_" in name or "num_batches" in name
        kept |= name in ("mean", "std")
        assert torch.equal(value, before[name]) == kept, name
    code, words = student("--recipe", further, *args, "--resume")
    assert code == 0
    assert "finished already" in words


@pytest.mark.parametrize("teacher", ["model.onnx", "model.safetensors"])
def test_no_teacher_follows_a_student_of_a_model_file(
    chain: Chain, student: Refused, tmp_path: Path, further: Path, teacher: str
) -> None:
    """Both have the same architecture; the weights of one have their norms folded in."""
    given = chain.out("teacher") / teacher
    start = chain.out("student") / "model.onnx"
    args = ["--init", start, "--teacher", given, "--out", tmp_path / "out", "--workers", 0]
    code, words = student("--recipe", further, *args)
    assert code == 0, words
    assert "teacher" not in newest(tmp_path / "out")


def newest(out: Path) -> dict[str, Any]:
    found = checkpoint.newest(out)
    assert found is not None
    return found[1]


def test_the_architecture_is_that_of_a_model_file(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    keys: dict[str, Any] = {"frozen_norms": True, "frozen": ["encoder.*"], "arch": "mbv2"}
    path = recipe(tmp_path / "recipe.toml", steps=1, **keys)
    start = chain.out("student") / "model.onnx"
    args = ["--init", start, "--teacher", start, "--out", tmp_path / "out", "--workers", 0]
    code, words = student("--recipe", path, *args)
    assert code == 0, words
    assert "student r18x0.25: 1 steps" in words


def test_norms_of_a_model_file_learn_from_statistics_of_crops(
    chain: Chain, student: Refused, tmp_path: Path
) -> None:
    path = recipe(tmp_path / "recipe.toml", steps=1, lr=1e-9, arch="r18x0.25")
    start = chain.out("student") / "model.onnx"
    args = ["--init", start, "--teacher", start, "--out", tmp_path / "out", "--workers", 0]
    code, words = student("--recipe", path, *args)
    assert code == 0, words
    assert "batch norms: statistics of 64 crops" in words
    _, after = checkpoint.weights(tmp_path / "out" / "model.safetensors")
    for name, norm in reread(start).named_modules():
        if isinstance(norm, torch.nn.BatchNorm2d):  # the rate is too low to change its weight
            assert not torch.allclose(after[f"{name}.weight"], norm.weight, rtol=1e-3), name


def test_norms_keep_statistics_only_of_weights_that_were_given(
    student: Refused, tmp_path: Path, further: Path
) -> None:
    code, words = student("--recipe", further, "--out", tmp_path / "out")
    assert code == 2
    assert "frozen_norms: needs trained weights to start from; give --init" in words


@pytest.mark.parametrize(
    ("patterns", "words"),
    [
        (["encoder.*", "head.*"], "no weight of the network matches 'head.*'; its parts are aspp"),
        (["*"], "no weight of the network is left to learn"),
    ],
)
def test_patterns_of_names_are_checked_before_anything_is_trained(
    student: Refused, tmp_path: Path, patterns: list[str], words: str
) -> None:
    path = recipe(tmp_path / "recipe.toml", frozen=patterns)
    code, said = student("--recipe", path, "--runs", tmp_path / "runs", "--teacher", path)
    assert code == 2
    assert words in said


@pytest.mark.parametrize("arch", ["lite0", "lite0-half", "lite1", "lite2", "lite2w"])
def test_the_shipped_patterns_are_names_of_the_shipped_networks(arch: str) -> None:
    net = build(arch)
    freeze(net, load("finetune", "student").frozen)
    # Nothing that learns is before the fourth block, so that no gradient goes further back.
    first = next(name for name, p in net.named_parameters() if p.requires_grad)
    assert first.startswith("encoder.blocks.3.")


def test_an_unknown_name_lists_those_that_are_shipped(
    student: Refused, tmp_path: Path, further: Path
) -> None:
    code, words = student("--recipe", further, "--init", "finest", "--out", tmp_path / "out")
    assert code == 66
    assert "--init finest: no such file, and no shipped model (there are: default, fast" in words
