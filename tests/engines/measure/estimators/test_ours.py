"""What is measured is what a run writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from skimage import data

from engines.measure.estimators.open import open_estimator
from engines.models import resolve_model
from tests.conftest import Wsshm


def test_as_run_is_what_a_run_writes(wsshm: Wsshm, tmp_path: Path) -> None:
    """Seen at the image's own size, so that both see the same."""
    rgb = data.astronaut()
    cv2.imwrite(str(tmp_path / "in.png"), rgb[..., ::-1])
    result = wsshm(
        "run",
        "in.png",
        "--model",
        "fast",
        "--precision",
        "fp32",
        "--size",
        512,
        "--save",
        "alpha",
        "-o",
        "a.png",
    )
    assert result.returncode == 0, result.stderr
    written = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_GRAYSCALE).astype(np.float32) / 255
    _, path = resolve_model("fast")
    plain = np.abs(open_estimator(path, "fast", 512)(rgb) - written).mean()
    as_run = np.abs(open_estimator(path, "fast", 512, as_run=True)(rgb) - written).mean()
    assert as_run < 0.0005
    assert plain > 2 * as_run


def test_a_new_sequence_remembers_nothing() -> None:
    """Frames of a clip are smoothed with those before; after `reset` there are none."""
    _, path = resolve_model("fast")
    estimator = open_estimator(path, "fast", 96, as_run=True)
    rgb = data.astronaut()
    changed = rgb.copy()
    changed[:60, :60] = 255 - changed[:60, :60]  # where nobody is
    first = estimator(changed)
    second = estimator(rgb)
    estimator.reset()
    alone = estimator(rgb)
    assert np.abs(second - alone).max() > 0
    estimator.reset()
    np.testing.assert_array_equal(estimator(changed), first)
