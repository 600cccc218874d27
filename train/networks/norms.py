"""Batch norms begin with the statistics of images."""

from __future__ import annotations

from collections.abc import Collection, Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

MIN_VARIANCE = 1e-5  # of a channel that is the same everywhere


def measure_norms(net: nn.Module, norms: Collection[_BatchNorm], images: Iterable[Tensor]) -> None:
    """Give batch norms the mean and variance of what they see of some images.

    Their weights and biases change so that the network, in eval mode, computes the same as before.

    Args:
        norms: those of `net` that are to change.
        images: batches that `net` takes.
    """
    sums = {norm: torch.zeros(2, norm.num_features, dtype=torch.float64) for norm in norms}
    counts = dict.fromkeys(norms, 0)

    def look(norm: nn.Module, taken: tuple[Tensor, ...]) -> None:
        assert isinstance(norm, _BatchNorm)
        x = taken[0].double().transpose(0, 1).flatten(1)
        counts[norm] += x.shape[1]
        sums[norm] += torch.stack([x.sum(1), x.square().sum(1)])

    hooks = [norm.register_forward_pre_hook(look) for norm in norms]
    net.eval()
    with torch.inference_mode():
        for batch in images:
            net(batch)
    for hook in hooks:
        hook.remove()
    for norm in norms:
        first, second = sums[norm] / counts[norm]  # moments
        assert norm.running_mean is not None
        assert norm.running_var is not None
        factor = norm.weight.data.double() / (norm.running_var.double() + norm.eps).sqrt()
        zero = norm.bias.data.double() - norm.running_mean.double() * factor  # what it makes of 0
        variance = (second - first.square()).clamp_min(MIN_VARIANCE)
        norm.running_mean.copy_(first)
        norm.running_var.copy_(variance)
        norm.weight.data.copy_(factor * (variance + norm.eps).sqrt())
        norm.bias.data.copy_(zero + first * factor)
