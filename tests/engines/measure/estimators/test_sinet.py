"""The adapter of SINet."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.measure.estimators.open import open_estimator
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.estimators.images import SIZES, halves, image


@pytest.mark.parametrize("size", SIZES)
def test_sinet_takes_normalised_bgr(tmp_path: Path, size: tuple[int, int]) -> None:
    estimator = open_estimator(peer_graphs.sinet(tmp_path / "s.onnx"), "x")
    assert estimator.name == "SINet"
    red = (200 - 126.91212) / 66.355705 / 255 * 50
    assert 0.1 < red < 0.9
    assert halves(estimator(image(*size, (200, 1, 2))))[1] == pytest.approx(red, abs=1e-4)
