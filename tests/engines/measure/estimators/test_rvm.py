"""The adapter of Robust Video Matting."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.measure.estimators.open import open_estimator
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.estimators.images import SIZES, halves, image


@pytest.mark.parametrize("size", SIZES)
def test_rvm_sees_the_image_with_its_aspect(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.rvm(tmp_path / "rvm.onnx"), "x")
    assert estimator.name == "RVM 72x128"
    alpha = estimator(image(*size, (102, 255, 0)))
    assert alpha.shape == size
    assert alpha.dtype == np.float32
    left, right = halves(alpha)
    # Two images were seen before the one that counts: 0.2 more.
    if size[1] > 1:
        assert left == pytest.approx(0.2, abs=1e-5)
    assert right == pytest.approx(102 / 255 + 0.2, abs=1e-5)


def test_rvm_carries_its_state_until_it_is_reset(tmp_path: Path) -> None:
    estimator = open_estimator(peer_graphs.rvm(tmp_path / "rvm.onnx"), "x")
    black = np.zeros((36, 64, 3), np.uint8)
    seen = [estimator(black).mean() for _ in range(3)]
    assert seen == pytest.approx([0.2, 0.3, 0.4], abs=1e-5)
    estimator.reset()
    assert estimator(black).mean() == pytest.approx(0.2, abs=1e-5)
