"""Results as a person reads them."""

from __future__ import annotations

import numpy as np
import pytest

from engines.measure.quality import table
from engines.measure.quality.evaluate import Row
from engines.measure.quality.metrics import METRICS, REGIONS

FACTORS = {"×10³": 1e3, "×10²": 1e2, "÷10³": 1e-3}


class Nobody:
    """An estimator by its name alone."""

    name = "nobody"

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        raise AssertionError

    def reset(self) -> None:
        raise AssertionError


@pytest.mark.parametrize("region", REGIONS)
def test_cells_are_values_by_the_factor_of_their_column(region: str) -> None:
    """Read as a person does: the figure, divided by what its heading says, is the value."""
    metrics = [m for m in METRICS if m.region == region]
    values = {m.key: (i + 1.25) / m.factor for i, m in enumerate(metrics)}
    rows = [Row("nobody", "set", "source", "image", "subject", values)]
    lines = [*table.lines(rows, [Nobody()], "val")]
    after = next(i for i, x in enumerate(lines) if x.startswith("mean over sources"))
    heads = lines[after].removeprefix("mean over sources").split()
    cells = map(float, lines[after + 1].split()[1:])
    shown = [cell / FACTORS.get(head[-4:], 1) for head, cell in zip(heads, cells, strict=True)]
    assert shown == pytest.approx([*values.values()], rel=1e-3)
    assert [head for head in heads if head[-4:] not in FACTORS] == ["IoU"] * sum(
        m.factor == 1 for m in metrics
    )
