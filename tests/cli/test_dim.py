"""Models that take a trimap, from `wsshm train dim` to `wsshm eval`; the rest refuses them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests import graphs
from tests.conftest import Wsshm, one_error_line


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten bright persons on dark noise, as AISegment's pictures are published."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for i in range(10):
        photos = root / "matte/aisegment/clip_img/1/clip_0"
        mattes = root / "matte/aisegment/matting/1/matting_0"
        alpha = np.zeros((80, 60), np.uint8)
        cv2.ellipse(alpha, (20 + 2 * i, 50), (14, 40), 0, 0, 360, 255, -1)
        image = rng.integers(0, 60, (80, 60, 3), np.uint8)
        image[alpha > 0] += 180
        for folder, name, picture in (
            (photos, f"{i}.jpg", image),
            (mattes, f"{i}.png", np.dstack([image, cv2.GaussianBlur(alpha, (0, 0), 1.5)])),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / name), picture)
    return root


@pytest.fixture
def val(published: Path) -> Iterator[Path]:
    """The same data, of which all images are ``val``."""
    paths = (p.relative_to(published).as_posix() for p in published.rglob("*.jpg"))
    listing = published / "val.txt"
    listing.write_text("\n".join(paths))
    yield published
    listing.unlink()


def test_it_is_measured_with_trimaps(wsshm: Wsshm, val: Path, brightness: Path) -> None:
    model = graphs.trimap(val / "told.onnx")
    result = wsshm("eval", model, brightness, "--data", val, "--square", 28, "--json")
    assert result.returncode == 0, result.stderr
    assert "masks: left out, as told takes trimaps made of an alpha" in result.stderr
    found = json.loads(result.stdout)["sets"]
    assert [*found] == ["mattes"]
    assert found["mattes"]["images"] == 10
    means = found["mattes"]["mean_over_sources"]
    assert 0 < means["told"]["mad"] < 0.5 * means["brightness"]["mad"]


@pytest.mark.parametrize(
    ("args", "code", "needle"),
    [
        (("run", "PORTRAIT", "-o", "out.mp4", "--model"), 65, "needs a trimap beside each frame"),
        (("bench",), 65, "needs a trimap beside each frame"),
        (("eval", "--empty", "PORTRAIT"), 2, "made of an alpha; empty has none"),
    ],
)
def test_it_is_refused_where_there_is_no_alpha(
    wsshm: Wsshm, portrait: Path, tmp_path: Path, args: tuple[str, ...], code: int, needle: str
) -> None:
    model = graphs.trimap(tmp_path / "model.onnx")
    refused = wsshm(*(portrait if a == "PORTRAIT" else a for a in args), model)
    assert refused.returncode == code, refused.stderr
    one_error_line(refused, needle)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.long
@pytest.mark.timeout(600)
def test_it_trains_on_the_published_layout_and_its_file_is_measured(
    wsshm: Wsshm, published: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "few.toml"
    recipe.write_text(
        "[dim]\nepochs = 4\nlr = 3e-4\nstages = [{ steps = 1, batch = 4, sizes = [28] }]"
    )
    train = ("train", "dim", "--data", published, "--recipe", recipe, "--augment")
    result = wsshm(*train, "--encoder-weights", "none", "--workers", 0, timeout=500)
    assert result.returncode == 0, result.stderr
    assert "encoder: from random weights, as asked for" in result.stderr
    assert "8 steps" in result.stderr
    run = tmp_path / "runs/dim-dim-bn"
    left_out = (run / "val.txt").read_text().split()
    assert len(left_out) == 2
    scores = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"train_loss", "test_loss"} <= scores.keys()
    (published / "val.txt").write_text("\n".join(left_out))
    try:
        for model in ("model.onnx", "model.safetensors"):
            result = wsshm("eval", run / model, "--data", published, "--json", timeout=200)
            assert result.returncode == 0, result.stderr
            assert json.loads(result.stdout)["sets"]["mattes"]["images"] == 2
    finally:
        (published / "val.txt").unlink()
    again = wsshm(*train, "--resume", timeout=100)
    assert again.returncode == 0
    assert "finished already" in again.stderr
