"""The adapter of MediaPipe selfie segmentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.measure.estimators.open import open_estimator
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.estimators.images import SIZES, halves, image


@pytest.mark.parametrize("size", SIZES)
def test_selfie_takes_rgb_up_to_one(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.selfie(tmp_path / "s.onnx"), "x")
    assert estimator.name == "MediaPipe selfie"
    alpha = estimator(image(*size, (51, 255, 255)))
    assert alpha.shape == size
    assert halves(alpha)[1] == pytest.approx(0.2, abs=1e-5)
