"""The teacher's matte as the label."""

from __future__ import annotations

from typing import Any

import torch

from tests.train.methods.batches import Constant, config, targets


def test_for_comparison_the_teachers_matte_alone(batch: dict[str, Any]) -> None:
    wanted = targets(Constant(matte=0.4, boundary=0.75), batch, config("imitate"))
    torch.testing.assert_close(wanted.label[0], torch.full((1, 32, 32), 0.4))
    torch.testing.assert_close(wanted.boundary[0], torch.full((1, 32, 32), 0.75))
