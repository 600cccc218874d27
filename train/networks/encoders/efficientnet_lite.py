"""EfficientNet-Lite (Tan and Le, 2019) as an encoder."""

from __future__ import annotations

import math
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn


class MBConv(nn.Module):
    """Inverted residual of EfficientNet-Lite: expand, depthwise, project; ReLU6, no squeeze-excite.

    A stride of 2 pads as TensorFlow's ``SAME`` does on even sizes, with the odd pixel at the end,
    because the published weights expect it.
    """

    def __init__(self, cin: int, cout: int, expand: int, kernel: int, stride: int):
        super().__init__()
        wide = cin * expand
        if expand > 1:
            self.expand_conv = nn.Conv2d(cin, wide, 1, bias=False)
            self.bn0 = nn.BatchNorm2d(wide)
        self.pad = same_padding(kernel) if stride == 2 else None
        self.depthwise_conv = nn.Conv2d(
            wide, wide, kernel, stride, 0 if self.pad else kernel // 2, groups=wide, bias=False
        )
        self.bn1 = nn.BatchNorm2d(wide)
        self.project_conv = nn.Conv2d(wide, cout, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.expands, self.shortcut = expand > 1, stride == 1 and cin == cout

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu6(self.bn0(self.expand_conv(x))) if self.expands else x
        out = F.pad(out, self.pad) if self.pad else out
        out = F.relu6(self.bn1(self.depthwise_conv(out)))
        out = self.bn2(self.project_conv(out))
        return x + out if self.shortcut else out


def same_padding(kernel: int) -> tuple[int, int, int, int]:
    """Return TensorFlow's ``SAME`` padding for stride 2 on an even size, as `F.pad` takes it."""
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return before, after, before, after


class LiteEncoder(nn.Module):
    """EfficientNet-Lite up to its last features: f1…f5 at strides 2, 4, 8, 16, 32.

    Without squeeze-excite and swish, which int8 represents badly. Keys are those of
    ``efficientnet_lite_pytorch`` without leading underscores.
    """

    strides: ClassVar[tuple[int, ...]] = (2, 4, 8, 16, 32)
    scales: ClassVar[dict[int, tuple[float, float]]] = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
    # expansion, kernel, stride, channels, blocks, whether the stage's output is one of f1 … f5
    stages: ClassVar[tuple[tuple[int, int, int, int, int, bool], ...]] = (
        (1, 3, 1, 16, 1, True),
        (6, 3, 2, 24, 2, True),
        (6, 5, 2, 40, 2, True),
        (6, 3, 2, 80, 3, False),
        (6, 5, 1, 112, 3, True),
        (6, 5, 2, 192, 4, False),
        (6, 3, 1, 320, 1, True),
    )

    def __init__(self, number: int) -> None:
        """Build Lite0, 1 or 2 with random weights."""
        super().__init__()
        self.backbone = f"lite{number}"
        width, depth = self.scales[number]
        self.conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn0 = nn.BatchNorm2d(32)
        self.blocks, cin, self.channels, self.ends = nn.ModuleList(), 32, [], []
        for i, (expand, kernel, stride, channels, count, tap) in enumerate(self.stages):
            cout = int(channels * width + 4) // 8 * 8
            if 0 < i < len(self.stages) - 1:
                count = math.ceil(count * depth)
            for j in range(count):
                self.blocks.append(MBConv(cin, cout, expand, kernel, stride if j == 0 else 1))
                cin = cout
            if tap:
                self.channels.append(cin)
                self.ends.append(len(self.blocks) - 1)
        for m in self.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.eps = 1e-3

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        x = F.relu6(self.bn0(self.conv_stem(F.pad(x, same_padding(3)))))
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                taps.append(x)
        return taps
