"""Start a ResNet of a fraction of the width from the weights of the whole one.

Channel pruning by reconstruction (He, Zhang and Sun, 2017): of every layer the channels are kept
that explain the others best, and every convolution is fitted anew, by least squares on natural
images, to give what the whole network gives there. Each fit takes what the narrow network itself
has so far, and so makes good what was lost before.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.networks.unet import BasicBlock, Bottleneck, MattingNet

RIDGE = 1e-3  # of an input's mean square
IMAGES = 128
BATCH = 8  # images unfolded at a time


def narrow(whole: MattingNet, own: MattingNet, images: Tensor, stages: int = 4) -> None:
    """Fit the encoder of `own`, its stem and first `stages` stages, to that of `whole`.

    Args:
        whole, own: with ResNet encoders of the same depth, `own` with fewer channels.
        images: (N, 3, H, W) float in [0, 1], natural images; the first 128 are used.
    """
    own.mean.copy_(whole.mean)
    own.std.copy_(whole.std)
    wide, slim = whole.encoder.eval(), own.encoder
    with torch.no_grad():
        x = (images[:IMAGES] - own.mean) / own.std
        stem = wide.bn1(wide.conv1(x))
        theirs, mine = F.relu(stem), Tensor()
        for i in range(1, stages + 1):
            blocks = list(zip(getattr(wide, f"layer{i}"), getattr(slim, f"layer{i}"), strict=True))
            first, features = theirs, []
            for block, _ in blocks:
                theirs = block(theirs)
                features.append(theirs)
            shared = blocks[0][0].downsample is None  # the stage goes on with the stem's channels
            keep = _choose([first, *features] if shared else features, slim.channels[i])
            if i == 1:
                kept = keep if shared else _choose([first], slim.channels[0])
                mine = F.relu(_fit(slim.conv1, slim.bn1, x, stem[:, kept]))
            theirs = first
            for block, part in blocks:
                theirs, mine = _block(block, part, theirs, mine, keep)


def _block(
    whole: BasicBlock | Bottleneck,
    part: BasicBlock | Bottleneck,
    theirs: Tensor,
    mine: Tensor,
    keep: Tensor,
) -> tuple[Tensor, Tensor]:
    """Fit one block, whose outputs are the channels `keep`; returns both networks' outputs."""
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
    """Which channels to keep: greedily, those from which the others follow best, linearly."""
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
    """Give a convolution and its norm the weights that come nearest to `target`; what they give.

    The norm has the statistics of `x`, so that training starts from this function.
    """
    size = conv.weight[0].numel()
    a, b = torch.zeros(size + 1, size + 1), torch.zeros(size + 1, conv.out_channels)
    for part, wanted in zip(x.split(BATCH), target.split(BATCH), strict=True):
        rows = F.unfold(part, conv.kernel_size, conv.dilation, conv.padding, conv.stride)
        rows = F.pad(rows.transpose(1, 2).flatten(0, 1), (0, 1), value=1.0)
        a += rows.T @ rows
        b += rows.T @ wanted.flatten(2).transpose(1, 2).flatten(0, 1)
    a, b = a.double(), b.double()
    a.diagonal()[:-1].add_(RIDGE * a.diagonal()[:-1].mean())
    solution = torch.linalg.solve(a, b).float()
    conv.weight.copy_(solution[:-1].T.view_as(conv.weight))
    out = torch.cat([conv(part) for part in x.split(BATCH)])
    var, mean = torch.var_mean(out, (0, 2, 3))
    only_add(norm, solution[-1], mean, var)
    return out + solution[-1].view(1, -1, 1, 1)


def only_add(norm: nn.BatchNorm2d, bias: Tensor, mean: Tensor, var: Tensor) -> None:
    """Make a norm add `bias` and do nothing else to what has these statistics, (C,) each."""
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)
    norm.weight.data.copy_((var + norm.eps).sqrt())
    norm.bias.data.copy_(mean + bias)
