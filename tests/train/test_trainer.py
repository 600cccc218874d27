"""``wsshm train`` in real processes: what a run leaves, how it is stopped, and how it goes on."""

from __future__ import annotations

import contextlib
import math
import os
import re
import shutil
import signal
import time
import tomllib
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from engines.engine import open_engine
from tests.conftest import one_error_line
from tests.faults.helpers import disk
from tests.train.processes import (
    ENDLESS,
    STEPS,
    Chain,
    Training,
    board,
    gone,
    reached,
    recipe,
    rows,
    run,
    saved,
)
from train.checkpoint import checkpoint
from train.config import Config, Stage, load
from train.trainer import rate

pytestmark = pytest.mark.timeout(900)  # every process imports torch, on whatever machine


def pretraining(folder: Path, data: Path, workers: int, **keys: Any) -> Training:
    """Start an endless run without a teacher, in ``folder/out``."""
    path = recipe(folder / "recipe.toml", pretrain=ENDLESS, **{"log_every": 1} | keys)
    options = ["--recipe", path, "--data", data, "--out", folder / "out", "--workers", workers]
    return Training(folder, "pretrain", *options)


def same(a: Any, b: Any, where: str = "state") -> None:
    """Assert that two states are equal in everything, tensors bit for bit."""
    assert type(a) is type(b), where
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype, where
        assert torch.equal(a, b), where
    elif isinstance(a, dict):
        assert set(a) == set(b), where
        for key in a:
            same(a[key], b[key], f"{where}.{key}")
    elif isinstance(a, list | tuple):
        assert len(a) == len(b), where
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            same(x, y, f"{where}.{i}")
    else:
        assert a == b, where


def test_every_run_of_a_chain_leaves_the_same_files(chain: Chain) -> None:
    for kind in ("pretrain", "teacher", "student"):
        out = chain.out(kind)
        names = sorted(re.sub(r"tfevents.*", "tfevents", p.name) for p in out.iterdir())
        steps = STEPS if kind != "pretrain" else 4
        kept = ["step-00000034.pt", "step-00000040.pt"] if steps == STEPS else ["step-00000004.pt"]
        assert names == [
            "config.toml",
            "events.out.tfevents",
            "grid.png",
            "metrics.jsonl",
            "model.onnx",
            "model.safetensors",
            *kept,
        ]
        assert saved(out)["step"] == steps
        arch, weights = checkpoint.weights(out / "model.safetensors")
        assert arch == "r18x0.25"
        same(weights, checkpoint.weights(out / kept[-1])[1])


def test_the_config_beside_a_run_is_the_one_it_had(chain: Chain) -> None:
    for kind in ("pretrain", "teacher", "student"):
        found = tomllib.loads((chain.out(kind) / "config.toml").read_text())
        about = found.pop("run")
        config = Config.from_dict(found, "config.toml")
        assert config.kind == kind
        assert config.plain() == saved(chain.out(kind))["config"]
        assert about["data"] == str(chain.data)
        assert about["init"].endswith("pretrain-r18x0.25/model.safetensors") == (kind != "pretrain")
        assert about["teacher"].endswith("teacher-r18x0.25/model.safetensors") == (
            kind == "student"
        )


def test_metrics_are_finite_and_in_order(chain: Chain) -> None:
    for kind in ("pretrain", "teacher", "student"):
        found = rows(chain.out(kind))
        losses = [row for row in found if "total" in row]
        steps = STEPS if kind != "pretrain" else 4
        assert [row["step"] for row in losses] == list(range(4, steps + 1, 4))
        assert all(a["step"] <= b["step"] for a, b in pairwise(found))
        assert all(math.isfinite(value) for row in found for value in row.values())
        for row in losses:
            parts = set(row) - {"step", "total", "lr", "images_per_s"}
            assert sum(row[name] for name in parts) == pytest.approx(row["total"], abs=1e-5)
        scores = {row["step"]: row["val_iou"] for row in found if "val_iou" in row}
        assert list(scores) == list(range(10, steps + 1, 10)) or list(scores) == [steps]
        assert all(0 <= score <= 1 for score in scores.values())


def test_the_released_model_runs_in_the_engine(chain: Chain) -> None:
    image = cv2.cvtColor(cv2.imread(str(chain.data / "seg/a/images/1.jpg")), cv2.COLOR_BGR2RGB)
    for kind in ("pretrain", "teacher", "student"):
        engine = open_engine(chain.out(kind) / "model.onnx")
        (alpha,) = engine(image[None])
        assert alpha.shape == image.shape[:2]
        assert np.isfinite(alpha).all()
        assert engine.spec.name == f"{kind}-r18x0.25"
        assert engine.spec.metrics["val_iou"] == pytest.approx(
            rows(chain.out(kind))[-1]["val_iou"], abs=1e-4
        )


def test_tensorboard_shows_the_rows_and_the_images(chain: Chain) -> None:
    for kind, columns in (("pretrain", 4), ("teacher", 4), ("student", 7)):
        events = board(chain.out(kind))
        losses = [row for row in rows(chain.out(kind)) if "total" in row]
        shown = [(e.step, pytest.approx(e.value)) for e in events.Scalars("total")]
        assert [(row["step"], row["total"]) for row in losses] == shown
        images = events.Images("grid")
        assert [e.step for e in images] == ([10, 20, 30, 40] if kind != "pretrain" else [4])
        image = cv2.imread(str(chain.out(kind) / "grid.png"))
        assert image.shape == (24 + 6 * 160, columns * 160, 3)
        assert image.std() > 10
        last = cv2.imdecode(np.frombuffer(images[-1].encoded_image_string, np.uint8), 1)
        assert np.array_equal(image, last)


@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.long), 2])
def test_killed_and_resumed_is_the_same_run(chain: Chain, workers: int, tmp_path: Path) -> None:
    """17 steps, SIGKILL and 23 steps end in the very bits of 40, the teacher's included."""
    out = tmp_path / "student"
    args = [
        "student",
        "--recipe",
        chain.recipe,
        "--data",
        chain.data,
        "--out",
        out,
        "--workers",
        workers,
        "--init",
        chain.out("pretrain") / "model.safetensors",
        "--teacher",
        chain.out("teacher") / "model.safetensors",
    ]
    with Training(tmp_path, *args) as training:
        training.until((out / "step-00000017.pt").exists)
        training.signal(signal.SIGKILL)
        training.finish()
    step = saved(out)["step"]
    assert step in (17, 34), "the second is for machines on which this test stands still"
    assert f"resumed at step {step} of {STEPS}" in run(tmp_path, *args, "--resume")

    straight, resumed = saved(chain.out("student")), saved(out)
    assert {"net", "ema", "optimiser", "rng", "teacher"} <= set(resumed)
    same(straight, resumed)
    mine, theirs = rows(out), rows(chain.out("student"))
    for row in mine + theirs:
        row.pop("images_per_s", None)
    assert mine == theirs


def test_a_teacher_of_the_same_architecture_follows(chain: Chain) -> None:
    """Otherwise equal teachers in the test above would prove nothing."""
    _, began = checkpoint.weights(chain.out("teacher") / "model.safetensors")
    follows = saved(chain.out("student"))["teacher"]
    moved = [name for name in began if not torch.equal(began[name], follows[f"module.{name}"])]
    assert "matte.weight" in moved
    assert "encoder.bn1.running_mean" in moved


@pytest.mark.parametrize(
    ("signum", "code"),
    [
        pytest.param(signal.SIGINT, 130, marks=pytest.mark.long),
        (signal.SIGTERM, 143),
        pytest.param(signal.SIGHUP, 129, marks=pytest.mark.long),
    ],
)
def test_a_signal_ends_a_run_after_a_checkpoint(
    signum: int, code: int, dataset: Path, tmp_path: Path
) -> None:
    """One line, no traceback of any process; every row is in TensorBoard too."""
    out = tmp_path / "out"
    with pretraining(tmp_path, dataset, workers=2, save_every=ENDLESS) as training:
        training.until(lambda: reached(out) > 2)
        workers = training.loaders()
        assert len(workers) == 2
        training.signal(signum)
        result = training.finish(30)
        assert gone(workers, 10)
    assert result.returncode == code, result.stderr
    assert "Traceback" not in result.stderr
    assert "Error" not in result.stderr
    (line,) = [x for x in result.stderr.splitlines() if "stopped" in x]
    match = re.fullmatch(
        rf"{re.escape(str(out))}: stopped at step (\d+) of {ENDLESS}; --resume goes on", line
    )
    assert match, line
    step = match[1]
    assert saved(out)["step"] == int(step) == reached(out)
    assert not list(out.glob("*.part*"))
    assert [e.step for e in board(out).Scalars("total")] == list(range(1, int(step) + 1))


def test_a_run_ends_by_the_clock_however_often_it_is_resumed(dataset: Path, tmp_path: Path) -> None:
    """Six seconds of work in two parts, on photographs with fine labels and without a cache."""
    data, out = shutil.copytree(dataset, tmp_path / "data"), tmp_path / "out"
    shutil.copytree(data / "seg/a/masks", data / "seg/a/fine")
    path = recipe(
        tmp_path / "recipe.toml", pretrain=ENDLESS, log_every=1, schedule="cosine", max_minutes=0.1
    )
    args = ["pretrain", "--recipe", path, "--data", data, "--out", out, "--cache-mb", 0]
    with Training(tmp_path, *args) as training:
        training.until(lambda: reached(out) > 2)
        training.signal(signal.SIGTERM)
        assert training.finish().returncode == 143
    spent = saved(out)["seconds"]
    assert 0 < spent < 6
    time.sleep(1)  # is no work
    said = run(tmp_path, *args, "--resume")
    assert f"{ENDLESS} steps or 0.1 minutes" in said
    assert "3 masks (3 with fine labels)" in said
    state, losses = saved(out), [row for row in rows(out) if "total" in row]
    assert 6 <= state["seconds"] < 30, "the last step may take long on a busy machine"
    assert state["step"] == losses[-1]["step"] > 5
    rates = [row["lr"] for row in losses[3:]]
    assert rates == sorted(rates, reverse=True)
    assert rates[-1] == 0 < rates[-2] < rates[0]
    image = cv2.imread(str(out / "grid.png"))
    assert image.shape[1] == 5 * 160, "input, mask, weight, matte and its boundary"
    assert open_engine(out / "model.onnx").spec.arch == "r18x0.25"


def test_the_rate_falls_by_steps_or_minutes_whichever_is_further() -> None:
    config = replace(load("paper", "student"), stages=(Stage(100, 2, (64,)),), warmup=10)
    assert [rate(step, config) for step in (0, 9, 10)] == [0.1, 1, 1]
    assert rate(55, config) == pytest.approx(0.5) == rate(55, config, 0.25)
    assert rate(20, config, 0.5) == pytest.approx(0.5)
    assert rate(20, config, 1.0) == rate(20, config, 1.5) == rate(100, config) == 0
    assert rate(20, replace(config, schedule="constant"), 0.5) == 1


def test_a_second_signal_ends_a_run_that_hangs(dataset: Path, tmp_path: Path) -> None:
    """Its loading process is stopped, so that no next step ends."""
    out = tmp_path / "out"
    with pretraining(tmp_path, dataset, workers=1, save_every=ENDLESS) as training:
        training.until(lambda: reached(out) > 2)
        (worker,) = training.loaders()
        os.kill(worker, signal.SIGSTOP)
        step = 0
        while step != reached(out):  # until what was loaded before has been used
            step = reached(out)
            time.sleep(1.5)
        training.signal(signal.SIGINT)
        time.sleep(1)
        assert training.process.poll() is None
        training.signal(signal.SIGINT)
        result = training.finish(2)
        os.kill(worker, signal.SIGKILL)
    assert result.returncode == 130
    assert "Traceback" not in result.stderr
    assert checkpoint.newest(out) is None


def test_a_loss_that_is_not_finite_ends_a_run(dataset: Path, tmp_path: Path) -> None:
    """At the step at which it appears; the images are named, and no bad weights were saved."""
    out = tmp_path / "out"
    keys = {"lr": 1e30, "warmup": 0, "save_every": 1}
    with pretraining(tmp_path, dataset, workers=2, **keys) as training:
        result = training.finish()
    assert result.returncode == 65, result.stderr
    line = one_error_line(result, "the loss is", f"the checkpoint before stays in {out}")
    step = int(re.search(r"at step (\d+)", line)[1])
    assert reached(out) == step
    named = line.partition("the batch: ")[2].split("; ")
    assert len(named) == 4
    images = {
        p.name
        for folder in ("seg/a/images", "matte/b/rgba", "background")
        for p in (dataset / folder).iterdir()
    }
    assert {name for sample in named for name in sample.split()} <= images
    state = saved(out)
    assert state["step"] == step
    for part in (state["net"], state["ema"]):
        for name, value in part.items():
            assert torch.isfinite(value).all(), name


def test_a_loading_process_that_is_killed_ends_a_run(dataset: Path, tmp_path: Path) -> None:
    """It ends within 10 s, as when memory runs out, and never hangs."""
    out = tmp_path / "out"
    with pretraining(tmp_path, dataset, workers=2, save_every=2) as training:
        training.until(lambda: len(list(out.glob("step-*.pt"))) == 2)
        victim, other = training.loaders()
        os.kill(victim, signal.SIGKILL)
        training.until(lambda: "error:" in training.stderr.read_text(), 10)
        result = training.finish(30)  # most of which Python takes to unload torch on a slow machine
        assert gone([other], 10)
    assert result.returncode == 69, result.stderr
    one_error_line(result, "a loading process died", victim, "memory", "--resume")
    assert saved(out)["step"] > 0


def test_a_full_disk_keeps_the_checkpoint_before(
    chain: Chain, dataset: Path, tmp_path: Path
) -> None:
    """The disk holds two checkpoints but not a third."""
    size = (chain.out("pretrain") / "step-00000004.pt").stat().st_size
    with disk(tmp_path / "disk", size * 5 // 2048) as folder:
        out = folder / "out"
        path = recipe(tmp_path / "recipe.toml", pretrain=ENDLESS, save_every=3)
        options = ["--recipe", path, "--data", dataset, "--out", out, "--workers", 2]
        with Training(tmp_path, "pretrain", *options) as training:
            result = training.finish()
        assert result.returncode == 74, result.stderr
        one_error_line(result, out / "step-00000009.pt", os.strerror(28), "free some space")
        assert saved(out)["step"] == 6
        assert not list(out.glob("*.part*"))


def test_a_disk_without_any_room_is_one_line(dataset: Path, tmp_path: Path) -> None:
    """Where not even a row of numbers fits."""
    with disk(tmp_path / "disk", 10_000) as folder:
        out = folder / "out"
        path = recipe(tmp_path / "recipe.toml", pretrain=ENDLESS, save_every=ENDLESS, log_every=1)
        options = ["--recipe", path, "--data", dataset, "--out", out, "--workers", 0]
        with Training(tmp_path, "pretrain", *options) as training:
            training.until(lambda: reached(out) > 2)
            with contextlib.suppress(OSError), (folder / "filler").open("wb", 0) as filler:
                while filler.write(bytes(4096)):
                    pass
            result = training.finish()
        assert result.returncode == 74, result.stderr
        one_error_line(result, out, os.strerror(28), "free some space")
