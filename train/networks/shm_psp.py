"""SHM with the networks of its paper (Chen et al., 2018): PSPNet-50 and Deep Image Matting's.

Differs from the paper: r of M has no bound here, losses and stages are those of
`train.networks.shm`, with image × alpha for the composite and T never alone, and M starts from
random weights, not from VGG-16's. T is torchvision's ResNet-50, whose stem is one convolution, and
has neither PSPNet's auxiliary loss nor its dropout.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from train.networks.blocks import PyramidPooling, conv_bn_relu, max_pool_2x2, max_unpool_2x2
from train.networks.encoders.resnet import PooledResNet
from train.networks.shm import CLASSES, SHM

BINS = (1, 2, 3, 6)  # of the pyramid
PYRAMID_CHANNELS = 512
# Channels of VGG-16's convolutions; a pooling after each stage but the last.
VGG = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
# Channels of the decoder before each un-pooling.
DECODER = (512, 256, 128, 64)
MATTING_STRIDE = 16


class PyramidTrimap(nn.Module):
    """T of the deepest features, at an eighth of the size."""

    def __init__(self, channels: int):
        super().__init__()
        branches = (conv_bn_relu(channels, PYRAMID_CHANNELS, 1) for _ in BINS)
        self.pyramid = PyramidPooling(branches, BINS, align=False)
        self.join = conv_bn_relu(channels + len(BINS) * PYRAMID_CHANNELS, PYRAMID_CHANNELS)
        self.classify = nn.Conv2d(PYRAMID_CHANNELS, CLASSES, 1)

    def forward(self, features: list[Tensor]) -> Tensor:
        logits = self.classify(self.join(self.pyramid(features[-1])))
        return F.interpolate(logits, scale_factor=8.0, mode="bilinear", align_corners=False)


class DeepMatting(nn.Module):
    """M: VGG-16's convolutions, and a decoder that un-pools where they pooled."""

    def __init__(self) -> None:
        super().__init__()
        self.stages, self.decoder, cin = nn.ModuleList(), nn.ModuleList(), 3 + CLASSES
        for widths in VGG:
            layers: list[nn.Module] = []
            for width in widths:
                layers += _conv_bias_bn_relu(cin, width, 3)
                cin = width
            self.stages.append(nn.Sequential(*layers))
        for width in DECODER:
            self.decoder.append(nn.Sequential(*_conv_bias_bn_relu(cin, width, 5)))
            cin = width
        self.last = nn.Sequential(*_conv_bias_bn_relu(cin, cin, 5), nn.Conv2d(cin, 1, 5, padding=2))

    def forward(self, x: Tensor) -> Tensor:
        pools: list[Tensor] = []
        for i, stage in enumerate(self.stages):
            x = stage(x)
            if i < len(self.stages) - 1:
                x, places = max_pool_2x2(x)
                pools.append(places)
        for conv, places in zip(self.decoder, reversed(pools), strict=True):
            x = max_unpool_2x2(conv(x), places)
        alpha: Tensor = self.last(x)
        return alpha


def published(arch: str) -> SHM:
    """Return the paper's form, in which layer3 and layer4 dilate instead of halving."""
    encoder = PooledResNet(50, dilated=(False, True, True))
    skips = {"f1": "relu"} | {f"f{i + 1}": f"layer{i}" for i in (1, 2, 3)}
    net = SHM(arch, MATTING_STRIDE, encoder, PyramidTrimap(2048), DeepMatting(), skips)
    net.chooses = True  # of four places at each un-pooling
    return net


def _conv_bias_bn_relu(cin: int, cout: int, kernel: int) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
    return [conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]
