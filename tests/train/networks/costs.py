"""What a network costs: its parameters, and its multiplications."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from train.networks import build


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def multiplications(arch: str, side: int = 512) -> int:
    """Return the multiply-adds of convolutions and matrix products for one square frame.

    Computes nothing: the tensors have shapes alone.
    """
    with torch.device("meta"), FlopCounterMode(display=False) as counted:
        build(arch).eval()(torch.empty(1, 3, side, side))
    return int(counted.get_total_flops()) // 2
