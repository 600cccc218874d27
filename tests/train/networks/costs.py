"""What a network costs: its parameters, and the multiplications of its convolutions."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from train.networks import build


def parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def multiplications(arch: str, side: int = 512) -> dict[str, int]:
    """Return the multiply-adds of each convolution for one square frame, by its name.

    Computes nothing: the tensors have shapes alone.
    """
    with torch.device("meta"):
        net = build(arch).eval()
    found: dict[str, int] = {}

    def count(name: str) -> Any:
        def hook(conv: Any, inputs: Any, output: Any) -> None:
            # Each value of the larger side meets each weight of one channel of the other.
            larger = inputs[0] if isinstance(conv, nn.ConvTranspose2d) else output
            channels = larger.shape[1]
            found[name] = found.get(name, 0) + larger.numel() * conv.weight.numel() // channels

        return hook

    for name, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
            module.register_forward_hook(count(name))
    with torch.device("meta"), torch.inference_mode():
        net(torch.empty(1, 3, side, side))
    return found
