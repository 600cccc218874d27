"""Building blocks that several networks share."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def conv_bn_relu(cin: int, cout: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    """Return a convolution that keeps height and width, a batch norm and a ReLU."""
    return nn.Sequential(
        nn.Conv2d(
            cin, cout, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


class ASPP(nn.Module):
    """Atrous spatial pyramid pooling (Chen et al., DeepLab v3).

    The pooled branch is added after the projection instead of concatenated before it: the same
    function, without an up-sampling to a size that depends on the input.
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
