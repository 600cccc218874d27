"""The adapter of ISNet."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.measure.estimators.open import open_estimator
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.estimators.images import SIZES, halves, image


@pytest.mark.parametrize("size", SIZES)
def test_isnet_takes_rgb_around_zero_and_gives_its_first_map(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    estimator = open_estimator(peer_graphs.isnet(tmp_path / "i.onnx"), "x")
    assert estimator.name == "ISNet"
    left, right = halves(estimator(image(*size, (1, 200, 2))))
    assert right == pytest.approx((200 - 128) / 256 + 0.5, abs=1e-4)
    assert left == pytest.approx(0 if size != (1, 1) else right, abs=1e-4)
