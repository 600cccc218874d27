"""Weights and images that encoders are started from."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from train.networks.network import Network

LAYER4 = ["layer4.0.conv1", "layer4.0.conv2", "layer4.1.conv1", "layer4.1.conv2"]


def photographs() -> Tensor:
    return torch.rand(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def not_asked_for() -> Tensor:
    pytest.fail("images are for weights that are folded or to be narrowed")


def state_of(net: Network) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in net.encoder.state_dict().items()}


def assert_untouched(net: Network, before: dict[str, Tensor]) -> None:
    for name, value in net.encoder.state_dict().items():
        assert torch.equal(value, before[name]), name


def folded(net: Network) -> dict[str, Tensor]:
    """Random weights with a bias for each convolution, as if batch norm were in them."""
    torch.manual_seed(0)
    state = {}
    for name, module in net.encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            state[f"{name}.weight"] = torch.randn_like(module.weight) * 0.1
            state[f"{name}.bias"] = torch.randn(module.out_channels)
    return state
