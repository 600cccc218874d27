"""The records of a run: rows, TensorBoard and the image grid."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.train.data.recipes import recipe
from tests.train.processes import board, rows
from train.config import Stage
from train.data.samples import Samples
from train.log import Log, draw, grid
from train.methods import find
from train.networks import build


def test_tensorboard_of_a_resumed_run_has_every_step_once(tmp_path: Path) -> None:
    """Rows after the checkpoint are dropped and written again; none before it is lost."""
    for start, end in ((0, 6), (4, 8)):
        with Log(tmp_path, start) as log:
            for step in range(start + 1, end + 1):
                log.scalars(step, {"total": start + step})
    assert [(row["step"], row["total"]) for row in rows(tmp_path)] == [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 4),
        (5, 9),
        (6, 10),
        (7, 11),
        (8, 12),
    ]
    shown = [(e.step, e.value) for e in board(tmp_path).Scalars("total")]
    assert shown == [(row["step"], row["total"]) for row in rows(tmp_path)]


def test_a_grid_has_names_above_and_a_sample_in_each_row() -> None:
    red = torch.zeros(2, 3, 32, 32)
    red[:, 0] = 1
    steps = torch.linspace(-0.5, 1.5, 32).expand(2, 1, 32, 32)
    image = grid({"input": red, "matte": steps}, side=160)
    assert image.shape == (24 + 2 * 160, 2 * 160, 3)
    assert image.dtype == np.uint8
    assert (image[24:, :160] == (255, 0, 0)).all()
    assert (image[24:, 160:] == image[24:, 160:, :1]).all()  # grey
    assert (image[24:, 165] == 0).all()
    assert (image[24:, 315] == 255).all()
    for column in range(2):
        head = image[:24, 160 * column : 160 * (column + 1)]
        assert 20 < (head < 128).all(2).sum() < 600


@pytest.mark.parametrize(
    ("kind", "names"),
    [("pretrain", 4), ("teacher", 4), ("student", 7)],
)
def test_the_image_of_a_run(dataset: Path, tmp_path: Path, kind: str, names: int) -> None:
    """Six fixed samples; of a student also what its teacher says and what is blended of it."""
    c = replace(recipe(kind), stages=(Stage(1, 2, (64,)),))
    samples, net = Samples(dataset, c), build("r18x0.25").train()
    teacher = build("r18x0.25").eval() if kind == "student" else None
    image = draw(net, find(c.method), teacher, samples, c, torch.device("cpu"))
    assert image.shape == (24 + 6 * 160, names * 160, 3)
    assert net.training
    with Log(tmp_path, 0) as log:
        log.image(1, image)
    stored = cv2.cvtColor(cv2.imread(str(tmp_path / "grid.png")), cv2.COLOR_BGR2RGB)
    assert (stored == image).all()
    first = samples[(10**12, 64)]["image"].permute(1, 2, 0).numpy()
    shown = cv2.resize(first, (160, 160), interpolation=cv2.INTER_AREA)
    assert np.abs(image[24:184, :160].astype(int) - shown).max() <= 1
