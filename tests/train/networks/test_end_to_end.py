"""A network of another paper learns for a few steps, and its file runs, is measured and timed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
import torch
from skimage import data
from torch.utils.data import default_collate

from engines.contract import ModelSpec
from engines.engine import open_engine
from engines.preprocess import fit
from tests.conftest import Wsshm
from tests.train.processes import recipe, run
from train.config import Config, Stage
from train.data.samples import Batches, Samples
from train.export.export import export
from train.methods import METHODS
from train.methods.method import Batch
from train.networks import build
from train.objective import step_losses

pytestmark = pytest.mark.timeout(900)

ODD = [(17, 31), (97, 64), (120, 213), (256, 128), (100, 70), (2, 2), (9, 1)]  # width and height


def frames(path: Path) -> list[tuple[int, int, int]]:
    """Return the time of each frame in milliseconds, its width and its height."""
    with av.open(str(path)) as container:
        return [
            (round(1000 * float(f.pts * f.time_base)), f.width, f.height)
            for f in container.decode(video=0)
        ]


def runs_a_clip(model: Path, clip: Path, wsshm: Wsshm) -> None:
    """Check that each frame of the clip's start comes out as large and at the same time."""
    out = model.with_name("out.mp4")
    options = ["--model", model, "--size", 64, "--duration", 0.4, "--bg", "#00ff00"]
    result = wsshm("run", clip, "-o", out, *options, "--json", timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 12
    assert frames(out) == frames(clip)[:12]


@pytest.mark.parametrize("arch", ["modnet", "shm"])
def test_its_file_runs_a_clip_after_a_few_steps(
    arch: str, dataset: Path, portrait: Path, tmp_path: Path, wsshm: Wsshm
) -> None:
    torch.manual_seed(0)
    config = Config("pretrain", arch, (Stage(3, 2, (64,)),), {"l1": 1.0}, 1e-3, composites=0.4)
    net, samples = build(arch).train(), Samples(dataset, config)
    optimiser = torch.optim.SGD(net.parameters(), lr=1e-3)
    for keys in Batches(config):
        items = default_collate([samples[key] for key in keys])
        batch = Batch.of(items, torch.device("cpu"))
        optimiser.zero_grad()
        step_losses(net, net, METHODS["supervised"], None, batch, config)["total"].backward()
        optimiser.step()
    model = tmp_path / "model.onnx"
    export(net.eval(), model, ModelSpec(arch, arch, net.stride, 64, (64,)))
    runs_a_clip(model, portrait, wsshm)


@pytest.fixture(params=["modnet", "shm", "shm-psp", "gfm", "indexnet", "lfm", "p3mnet", "gca"])
def trained(request: pytest.FixtureRequest, dataset: Path, tmp_path: Path) -> Path:
    """The file that three steps of ``wsshm train`` leave, on ``data`` in the test's folder."""
    data = shutil.copytree(dataset, tmp_path / "data")
    (data / "val.txt").write_text("seg/a/images/10.jpg\n")
    path = recipe(tmp_path / "recipe.toml", pretrain=3, arch=request.param, save_every=100)
    text = path.read_text().replace("batch = 4", "batch = 2")
    path.write_text("loss = { l1 = 1.0 }\n" + text)
    options = ["--recipe", path, "--data", data, "--out", tmp_path / "out", "--workers", 0]
    said = run(tmp_path, "pretrain", *options, "--device", "cpu", timeout=600)
    assert "encoder: from random weights, as asked for" in said
    assert f"losses: those of {request.param}'s authors" in said
    return tmp_path / "out" / "model.onnx"


@pytest.mark.long
def test_its_file_is_as_good_as_any_model(
    trained: Path, portrait: Path, tmp_path: Path, wsshm: Wsshm
) -> None:
    """In a run, in a measurement, in a benchmark, and on images of any size."""
    runs_a_clip(trained, portrait, wsshm)

    measured = ["--data", tmp_path / "data", "--size", 64, "--limit", 1, "--json"]
    result = wsshm("eval", trained, *measured, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["models"][0]["size"] == 64

    timing = ["--size", 64, "--seconds", 0.3, "--repeats", 1, "--input", portrait, "--json"]
    result = wsshm("bench", trained, *timing, timeout=300)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)

    engine = open_engine(trained)
    for width, height in ODD:
        photo = cv2.resize(data.astronaut(), (width, height), interpolation=cv2.INTER_AREA)
        (alpha,) = engine(fit(width, height, 64, engine.spec.stride).shrink(photo)[np.newaxis])
        assert np.isfinite(alpha).all()
        name = f"{width}x{height}.png"
        cv2.imwrite(str(tmp_path / name), photo[..., ::-1])
        options = ["--model", trained, "--size", 64, "--save", "alpha"]
        result = wsshm("run", name, "-o", f"out-{name}", *options, timeout=300)
        assert result.returncode == 0, result.stderr
        matte = cv2.imread(str(tmp_path / f"out-{name}"), cv2.IMREAD_UNCHANGED)
        assert matte.shape[:2] == (height, width)
