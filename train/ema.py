"""Moving averages of a network's weights: the one that is released, and a teacher's."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


def averaged(net: nn.Module, decay: float) -> AveragedModel:
    """Return an average of `net` that forgets its start: its decay grows from 0.1 to `decay`."""

    def update(average: Any, current: Any, count: Any) -> None:
        n = int(count)
        get_ema_multi_avg_fn(min(decay, (1 + n) / (10 + n)))(average, current, count)

    return AveragedModel(net, multi_avg_fn=update, use_buffers=True)


def following(teacher: nn.Module, decay: float) -> AveragedModel:
    """Return an average that begins as the teacher and is updated with its student's weights."""
    follower = AveragedModel(teacher, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
    follower.n_averaged.fill_(1)  # or the first update would copy the student
    return follower.eval()


def to_device(module: nn.Module, device: torch.device) -> None:
    """Move a network or an average to the device, channels last."""
    module.to(device, memory_format=torch.channels_last)
    if isinstance(module, AveragedModel):
        module.n_averaged = module.n_averaged.cpu()  # read at every step
