"""The adapter of Google Meet's segmentation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines.measure.estimators.open import open_estimator
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.estimators.images import SIZES, halves, image


@pytest.mark.parametrize("size", SIZES)
def test_meet_gives_the_softmax_of_two(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.meet(tmp_path / "m.onnx"), "x")
    assert estimator.name == "Google Meet"
    assert halves(estimator(image(*size, (255, 0, 255))))[1] == pytest.approx(1)
    assert halves(estimator(image(*size, (0, 255, 255))))[1] == pytest.approx(0)
    by_a_hair = halves(estimator(image(*size, (11, 10, 0))))[1]
    assert by_a_hair == pytest.approx(1 / (1 + np.exp(-200 / 255)), abs=1e-5)
