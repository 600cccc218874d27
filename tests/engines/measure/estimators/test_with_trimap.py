from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.contract import ModelSpec
from engines.datasets.trimap import make_trimap
from engines.engine import open_engine
from engines.errors import BadData, UsageError
from engines.measure.estimators.estimator import GuidedEstimator
from engines.measure.estimators.open import open_estimator
from tests import graphs


def scene() -> tuple[np.ndarray, np.ndarray]:
    """Return noise (128, 192, 3) and an alpha with a soft edge, both uint8."""
    alpha = np.zeros((128, 192), np.uint8)
    alpha[30:, 60:140] = 255
    rgb = np.random.default_rng(0).integers(0, 256, (128, 192, 3), np.uint8)
    return rgb, cv2.GaussianBlur(alpha, (0, 0), 3)


def test_its_trimap_is_made_of_the_truth_where_the_network_sees_it(tmp_path: Path) -> None:
    model = open_estimator(graphs.trimap(tmp_path / "m.onnx"), size=64)
    assert isinstance(model, GuidedEstimator)
    assert model.needs_alpha
    rgb, truth = scene()
    small, alpha = (cv2.resize(x, (96, 64), interpolation=cv2.INTER_AREA) for x in (rgb, truth))
    trimap = make_trimap(alpha, 2)
    grey = small.mean(2) / 255
    expected = np.where(trimap == 128, grey, trimap / 255).astype(np.float32)
    found = model.with_truth(rgb, truth)
    assert found.shape == truth.shape
    np.testing.assert_allclose(found, cv2.resize(expected, (192, 128)), atol=1e-4)


def test_there_is_nothing_without_a_truth(tmp_path: Path) -> None:
    path = graphs.trimap(tmp_path / "m.onnx")
    with pytest.raises(UsageError, match="no truth to make a trimap of"):
        open_estimator(path)(scene()[0])
    with pytest.raises(UsageError, match="--as-run"):
        open_estimator(path, as_run=True)


def test_engines_refuse_it(tmp_path: Path) -> None:
    with pytest.raises(BadData, match="needs a trimap beside each frame"):
        open_engine(graphs.trimap(tmp_path / "m.onnx"), "cpu")


def test_description_keeps_the_name_of_its_trimap() -> None:
    spec = ModelSpec("a", "dim", 16, 28, (28,), trimap="trimap")
    assert ModelSpec.from_metadata({"wsshm": spec.to_json()}, "a") == spec
