"""Start a ResNet of a fraction of the width from the weights of the full-width one.

Channel pruning by reconstruction (He, Zhang and Sun, 2017): each layer keeps the channels that
explain the others best, and each convolution is fitted anew, by least squares on natural images, to
reproduce the output of the full-width network. Each fit reads the features of the narrow network as
fitted so far, and thereby corrects the errors of the layers before.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.networks.encoders.resnet import BasicBlock, Bottleneck, ResNetEncoder

RIDGE = 1e-3  # regularisation of a fit, in units of the mean square of its inputs
FIT_IMAGES = 128
BATCH_IMAGES = 8  # unfolded at a time


def is_narrow(encoder: nn.Module) -> bool:
    """Return whether the encoder is a ResNet with fewer channels than its published weights."""
    return isinstance(encoder, ResNetEncoder) and encoder.width < 1


def narrow(whole: ResNetEncoder, own: ResNetEncoder, images: Tensor, stages: int = 4) -> None:
    """Fit the stem and the first `stages` stages of `own` to those of `whole`.

    Args:
        whole, own: encoders of the same depth, `own` with fewer channels.
        images: (N, 3, H, W) float, normalised natural images; the first `FIT_IMAGES` are used.
    """
    whole.eval()
    with torch.no_grad():
        x = images[:FIT_IMAGES]
        stem = whole.bn1(whole.conv1(x))
        theirs, mine = F.relu(stem), Tensor()
        for i in range(1, stages + 1):
            blocks = list(zip(getattr(whole, f"layer{i}"), getattr(own, f"layer{i}"), strict=True))
            first, features = theirs, []
            for block, _ in blocks:
                theirs = block(theirs)
                features.append(theirs)
            shared = blocks[0][0].downsample is None  # the stage goes on with the stem's channels
            keep = _choose([first, *features] if shared else features, own.channels[i])
            if i == 1:
                kept = keep if shared else _choose([first], own.channels[0])
                mine = F.relu(_fit(own.conv1, own.bn1, x, stem[:, kept]))
            theirs = first
            for block, part in blocks:
                theirs, mine = _fit_block(block, part, theirs, mine, keep)


def _fit_block(
    whole: BasicBlock | Bottleneck,
    part: BasicBlock | Bottleneck,
    theirs: Tensor,
    mine: Tensor,
    keep: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fit one block to give the channels `keep`; return the outputs of both networks' blocks."""
    result, rest, theirs_rest = whole(theirs), mine, theirs
    if whole.downsample is not None and part.downsample is not None:
        theirs_rest = whole.downsample(theirs)
        rest = _fit(part.downsample[0], part.downsample[1], mine, theirs_rest[:, keep])
    last = 2 if isinstance(whole, BasicBlock) else 3
    for n in range(1, last + 1):
        conv, norm = getattr(part, f"conv{n}"), getattr(part, f"bn{n}")
        theirs = getattr(whole, f"bn{n}")(getattr(whole, f"conv{n}")(theirs))
        if n < last:
            kept = _choose([F.relu(theirs)], conv.out_channels)
            mine = F.relu(_fit(conv, norm, mine, theirs[:, kept]))
            theirs = F.relu(theirs)
        else:
            mine = F.relu(rest + _fit(conv, norm, mine, (theirs + theirs_rest)[:, keep] - rest))
    return result, mine


def _choose(features: list[Tensor], count: int) -> Tensor:
    """Choose greedily the channels from which the others are predicted best, linearly."""
    total = torch.zeros(())
    for f in features:
        rows = f.transpose(0, 1).flatten(1)
        cov = torch.cov(rows)
        total = total + cov / cov.trace()
    chosen: list[int] = []
    for _ in range(count):
        explains = total.square().sum(0) / total.diagonal().clamp_min(1e-9)
        explains[chosen] = -1
        j = int(explains.argmax())
        chosen.append(j)
        total = total - torch.outer(total[:, j], total[j]) / total[j, j].clamp_min(1e-9)
    return torch.tensor(sorted(chosen))


def _fit(conv: nn.Conv2d, norm: nn.BatchNorm2d, x: Tensor, target: Tensor) -> Tensor:
    """Fit a convolution and its norm to `target` and return their output.

    The norm gets the statistics of `x`, so that training starts from the fitted function.
    """
    size = conv.weight[0].numel()
    a, b = torch.zeros(size + 1, size + 1), torch.zeros(size + 1, conv.out_channels)
    for part, wanted in zip(x.split(BATCH_IMAGES), target.split(BATCH_IMAGES), strict=True):
        rows = F.unfold(part, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        rows = F.pad(rows.transpose(1, 2).flatten(0, 1), (0, 1), value=1.0)
        a += rows.T @ rows
        b += rows.T @ wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    a, b = a.double(), b.double()
    a.diagonal()[:-1].add_(RIDGE * a.diagonal()[:-1].mean())
    solution = torch.linalg.solve(a, b).float()
    conv.weight.copy_(solution[:-1].T.view_as(conv.weight))
    out = torch.cat([conv(part) for part in x.split(BATCH_IMAGES)])
    var, mean = torch.var_mean(out, (0, 2, 3))
    only_add(norm, solution[-1], mean, var)
    return out + solution[-1].view(1, -1, 1, 1)


def only_add(norm: nn.BatchNorm2d, bias: Tensor, mean: Tensor, var: Tensor) -> None:
    """Make a norm only add `bias` to inputs of this mean and variance; (C,) each."""
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.data.copy_((var + norm.eps).sqrt())
    norm.bias.data.copy_(mean + bias)
