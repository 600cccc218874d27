"""Training on one batch, which a network that learns at all learns by heart."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn


def overfits(net: nn.Module, loss: Callable[[], Tensor], lr: float, steps: int) -> None:
    """Train until the loss is a tenth of what it was at first; fail if it is not within `steps`."""
    optimiser = torch.optim.Adam([p for p in net.parameters() if p.requires_grad], lr=lr)
    totals: list[float] = []
    for _ in range(steps):
        total = loss()
        optimiser.zero_grad()
        total.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        totals.append(total.item())
        if totals[-1] <= totals[0] / 10:
            return
    pytest.fail(f"the loss went {totals[::20]}")
