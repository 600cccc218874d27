"""Building blocks that several networks share."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(
    cin: int, cout: int, kernel: int = 3, dilation: int = 1, bias: bool = False, stride: int = 1
) -> nn.Sequential:
    """Return a convolution, a batch norm and a ReLU; height and width are divided by `stride`."""
    padding = dilation * (kernel - 1) // 2
    return nn.Sequential(
        nn.Conv2d(cin, cout, kernel, stride, padding, dilation, bias=bias),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


def see_more(part: nn.Module, count: int) -> nn.Conv2d:
    """Let the first convolution of a part see `count` more channels, after those that it sees.

    Their weights are zero, so that it begins as the same function.
    """
    conv = first_convolution(part)
    more = conv.weight.new_zeros(conv.out_channels, count, *conv.kernel_size)
    conv.weight = nn.Parameter(torch.cat([conv.weight.detach(), more], 1))
    conv.in_channels += count
    return conv


def first_convolution(part: nn.Module) -> nn.Conv2d:
    """Return the first convolution of a part, in the order of registration."""
    return next(m for m in part.modules() if isinstance(m, nn.Conv2d))


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., DeepLab v3).

    The pooled branch is added after the projection instead of concatenated before it, without an
    up-sampling to a size that depends on the input; it has no norm and ReLU of its own. There is no
    dropout.
    """

    def __init__(self, cin: int, cout: int, dilations: tuple[int, ...] = (2, 4, 6)):
        super().__init__()
        branch = cout // 2
        self.branches = nn.ModuleList(
            [conv_bn_relu(cin, branch, 1), *(conv_bn_relu(cin, branch, 3, d) for d in dilations)]
        )
        self.project = nn.Conv2d(branch * len(self.branches), cout, 1, bias=False)
        self.pooled = nn.Conv2d(cin, cout, 1, bias=False)
        self.bn = nn.BatchNorm2d(cout)

    def forward(self, x: Tensor) -> Tensor:
        out = self.project(torch.cat([b(x) for b in self.branches], 1))
        return F.relu(self.bn(out + self.pooled(x.mean((2, 3), keepdim=True))))


def adaptive_avg_pool(x: Tensor, count: int) -> Tensor:
    """Return `F.adaptive_avg_pool2d` of x (N, C, H, W) to `count` × `count`.

    As products with two matrices of shares, made of H and W in the graph: exporters refuse torch's
    where `count` is no divisor of them, and the matrices fit any size.
    """
    return _shares(x, x.shape[2], count) @ x @ _shares(x, x.shape[3], count).t()


def _shares(like: Tensor, length: int, count: int) -> Tensor:
    """Return (count, length): row i is the mean from floor(i·L/n) to ceil((i + 1)·L/n)."""
    place = torch.arange(length, device=like.device)
    row = torch.arange(count, device=like.device)[:, None]
    start, end = row * length // count, ((row + 1) * length + count - 1) // count
    inside = ((place >= start) & (place < end)).to(like.dtype)
    return inside / inside.sum(1, keepdim=True)


class PyramidPooling(nn.Module):
    """The means of parts of the image beside the features (Zhao et al., PSPNet).

    Returns the features and, of each bin size, a 1×1 convolution of the means, enlarged to the
    features' size: (N, C + the branches' channels, h, w).
    """

    def __init__(self, branches: Iterable[nn.Module], bins: tuple[int, ...], align: bool):
        """Build the pyramid.

        Args:
            branches: what the means of each bin size go through.
            bins: into how many parts each side is divided.
            align: corners, where the means are enlarged.
        """
        super().__init__()
        self.branches, self.bins, self.align = nn.ModuleList(branches), bins, align

    def forward(self, x: Tensor) -> Tensor:
        parts = [x]
        for branch, count in zip(self.branches, self.bins, strict=True):
            means = branch(adaptive_avg_pool(x, count))
            parts.append(
                F.interpolate(means, x.shape[2:], mode="bilinear", align_corners=self.align)
            )
        return torch.cat(parts, 1)


def max_pool_2x2(x: Tensor) -> tuple[Tensor, Tensor]:
    """Halve x (N, C, H, W), H and W even, and say where each maximum was.

    Returns:
        The maxima (N, C, H/2, W/2), and masks (N, C, 4, H/2, W/2) that are 1 at the maximum among
        the four places of a window, the first in the order of rows where several are equal.
    """
    pooled = F.max_pool2d(x, 2)
    with torch.no_grad():
        free, masks = torch.ones_like(pooled), []
        for i in range(4):
            place = x[:, :, i // 2 :: 2, i % 2 :: 2]
            masks.append((place >= pooled).to(x.dtype) * free)
            free = free - masks[-1]
    return pooled, torch.stack(masks, 2)


def max_unpool_2x2(x: Tensor, masks: Tensor) -> Tensor:
    """Return x (N, C, h, w) at the places of the maxima, 0 elsewhere: (N, C, 2h, 2w).

    The same as `F.max_unpool2d`, which has no form that both ONNX and TensorRT take.

    Args:
        masks: of `max_pool_2x2`.
    """
    return F.pixel_shuffle((masks * x[:, :, None]).flatten(1, 2), 2)
