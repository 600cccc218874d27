"""ResNet of any width (He et al., 2016) as an encoder."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F
import torchvision
from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3×3 convolutions and a shortcut, of any width (torchvision's refuses widths below 64)."""

    expansion: ClassVar[int] = 1

    def __init__(self, cin: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _shortcut(cin, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 with four times the width at the end; the stride is on the 3×3."""

    expansion: ClassVar[int] = 4

    def __init__(self, cin: int, width: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, width * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(width * 4)
        self.downsample = _shortcut(cin, width * 4, stride)

    def forward(self, x: Tensor) -> Tensor:
        out = F.relu(self.bn1(self.conv1(x)))
        out = F.relu(self.bn2(self.conv2(out)))
        out = self.bn3(self.conv3(out))
        return F.relu(out + (x if self.downsample is None else self.downsample(x)))


def _shortcut(cin: int, cout: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and cin == cout:
        return None
    return nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))


# Layers → the kind of block, and how many of them each stage has.
STAGES: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}


class ResNetEncoder(nn.Module):
    """A ResNet without the max-pool after its stem: f1…f5 at strides 2, 2, 4, 8, 16.

    Keys are torchvision's (``conv1``, ``bn1``, ``layer1.0.conv1`` …), so that its weights load
    unchanged at full width.
    """

    strides: ClassVar[tuple[int, ...]] = (2, 2, 4, 8, 16)

    def __init__(self, depth: int, width: float = 1.0):
        """Build the encoder with random weights.

        Args:
            depth: number of layers, one of `STAGES`.
            width: share of the published number of channels.
        """
        super().__init__()
        self.depth, self.width, self.backbone = depth, width, f"r{depth}"
        block, counts = STAGES[depth]
        stem, *widths = (int(c * width) for c in (64, 64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        cin, self.channels = stem, [stem]
        for i, (count, c) in enumerate(zip(counts, widths, strict=True)):
            blocks = []
            for j in range(count):
                blocks.append(block(cin, c, stride=2 if i > 0 and j == 0 else 1))
                cin = c * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            self.channels.append(cin)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        features = [F.relu(self.bn1(self.conv1(x)))]
        for i in range(1, 5):
            features.append(getattr(self, f"layer{i}")(features[-1]))
        return features


class PooledResNet(nn.Module):
    """torchvision's ResNet without its classifier: f1…f5 at strides 2, 4, 8, 16, 32."""

    def __init__(self, depth: int, dilated: tuple[bool, bool, bool] = (False, False, False)):
        """Build the encoder with random weights.

        Args:
            depth: number of layers, as in torchvision's names.
            dilated: of the last three stages, those that keep the size and dilate instead.
        """
        super().__init__()
        self.backbone = f"r{depth}"
        whole = getattr(torchvision.models, f"resnet{depth}")(
            weights=None, replace_stride_with_dilation=dilated
        )
        for name, module in whole.named_children():
            if name not in ("avgpool", "fc"):
                self.add_module(name, module)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        features = [self.relu(self.bn1(self.conv1(x)))]
        x = self.maxpool(features[0])
        for i in range(1, 5):
            x = getattr(self, f"layer{i}")(x)
            features.append(x)
        return features
