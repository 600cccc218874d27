"""The matting network: encoder, ASPP, plain decoder, two heads (WSSHM, section 3).

    frames ─ encoder ─ f1 f2 f3 f4 f5 ─ aspp ─ d4 ─ d3 ─ d2 ─ d1 ─ d0 ─┬─ matte
                        └───┴───┴───┴── skips ──┴────┴────┴────┘       └─ boundary

Tap names are those of the paper's figure: ``f1``…``f5`` are the encoder's features from shallow to
deep, ``aspp`` the context on the deepest, ``d4``…``d0`` the decoder, ``matte`` and ``boundary`` the
outputs. They are attribute names here and therefore keys of every checkpoint.
"""

from __future__ import annotations

import math
import re
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def conv_bn_relu(cin: int, cout: int, kernel: int = 3, dilation: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(
            cin, cout, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=False
        ),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    )


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


class ResNetEncoder(nn.Module):
    """ResNet without the max-pool after its stem: f1…f5 at strides 2, 2, 4, 8, 16.

    Keys are torchvision's (``conv1``, ``bn1``, ``layer1.0.conv1`` …), so its weights load as they
    are at full width.
    """

    strides: ClassVar[tuple[int, ...]] = (2, 2, 4, 8, 16)

    def __init__(self, block: type[BasicBlock | Bottleneck], depths: tuple[int, ...], width: float):
        super().__init__()
        stem, *widths = (int(c * width) for c in (64, 64, 128, 256, 512))
        self.conv1 = nn.Conv2d(3, stem, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        cin, self.channels = stem, [stem]
        for i, (depth, c) in enumerate(zip(depths, widths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(block(cin, c, stride=2 if i > 0 and j == 0 else 1))
                cin = c * block.expansion
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
            self.channels.append(cin)

    def forward(self, x: Tensor) -> list[Tensor]:
        features = [F.relu(self.bn1(self.conv1(x)))]
        for i in range(1, 5):
            features.append(getattr(self, f"layer{i}")(features[-1]))
        return features


class MobileNetV2Encoder(nn.Module):
    """torchvision's MobileNetV2 up to its last 320 channels: f1…f5 at strides 2, 4, 8, 16, 32."""

    strides: ClassVar[tuple[int, ...]] = (2, 4, 8, 16, 32)
    ends: ClassVar[tuple[int, ...]] = (1, 3, 6, 13, 17)

    def __init__(self) -> None:
        super().__init__()
        self.features = torchvision.models.mobilenet_v2(weights=None).features[:18]
        self.channels = [16, 24, 32, 96, 320]

    def forward(self, x: Tensor) -> list[Tensor]:
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                taps.append(x)
        return taps


class MBConv(nn.Module):
    """Inverted residual of EfficientNet-Lite: expand, depthwise, project; ReLU6, no squeeze-excite.

    A stride of 2 pads as TensorFlow's ``SAME`` does on even sizes, the odd pixel at the end: the
    published weights expect that.
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
    """TensorFlow's ``SAME`` for a stride of 2 on an even size, as `F.pad` takes it."""
    before, after = (kernel - 2) // 2, (kernel - 1) // 2
    return before, after, before, after


class LiteEncoder(nn.Module):
    """EfficientNet-Lite up to its last features: f1…f5 at strides 2, 4, 8, 16, 32.

    Lite0, 1 and 2 of Tan and Le's EfficientNet without squeeze-excite and swish, which makes them
    fit for int8. Keys are those of ``efficientnet_lite_pytorch`` without leading underscores.
    """

    strides: ClassVar[tuple[int, ...]] = (2, 4, 8, 16, 32)
    scales: ClassVar[dict[int, tuple[float, float]]] = {0: (1.0, 1.0), 1: (1.0, 1.1), 2: (1.1, 1.2)}
    # expansion, kernel, stride, channels, blocks, whether the next stage is at half the size
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
        super().__init__()
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
        x = F.relu6(self.bn0(self.conv_stem(F.pad(x, same_padding(3)))))
        taps = []
        for i, block in enumerate(self.blocks):
            x = block(x)
            if i in self.ends:
                taps.append(x)
        return taps


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


class MattingNet(nn.Module):
    """U-Net with two heads; the only definition of the network in the project.

    Args:
        arch: a name of `architectures`.

    `forward` takes frames (N, 3, H, W) float in [0, 1], RGB, H and W multiples of `stride`, and
    returns the logits of ``matte`` and ``boundary``, each (N, 1, H, W), and the features ``aspp``,
    (N, C, H / s, W / s) with s the encoder's deepest stride.
    """

    def __init__(self, arch: str):
        super().__init__()
        self.arch = arch
        self.encoder, aspp, decoder = _build(arch)
        strides, channels = [1, *self.encoder.strides], [3, *self.encoder.channels]
        self.stride = strides[-1]
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))
        self.aspp = ASPP(channels[-1], aspp)
        cin, self.upscale = aspp, []
        for level in range(4, -1, -1):  # d4 … d0; d0 sees the image itself as its skip
            cout = decoder[4 - level]
            self.add_module(f"d{level}", conv_bn_relu(cin + channels[level], cout))
            self.upscale.append(strides[level + 1] // strides[level])
            cin = cout
        self.matte = nn.Conv2d(cin, 1, 3, padding=1)
        self.boundary = nn.Conv2d(cin, 1, 3, padding=1)

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x = (frames - self.mean) / self.std
        skips = [x, *self.encoder(x)]
        d = context = self.aspp(skips.pop())
        for level, scale in zip(range(4, -1, -1), self.upscale, strict=True):
            if scale > 1:
                d = F.interpolate(d, scale_factor=scale, mode="bilinear", align_corners=False)
            d = getattr(self, f"d{level}")(torch.cat([d, skips[level]], 1))
        return self.matte(d), self.boundary(d), context


_RESNETS: dict[int, tuple[type[BasicBlock | Bottleneck], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
    101: (Bottleneck, (3, 4, 23, 3)),
}
architectures = (
    "r101",
    "r50",
    "r34",
    "r18",
    "r18x0.5",
    "r18x0.25",
    "mbv2",
    "lite0",
    "lite1",
    "lite2",
)


def _build(arch: str) -> tuple[Any, int, tuple[int, ...]]:
    """The encoder, the width of the ASPP, and the widths of d4…d0."""
    if arch == "mbv2":
        # 13 channels and the image's 3 make 16, the block convolution kernels work in: a step of
        # training takes a fifth less time than with 16.
        return MobileNetV2Encoder(), 128, (96, 64, 32, 13, 16)
    if arch in ("lite0", "lite1", "lite2"):
        return LiteEncoder(int(arch[-1])), 128, (96, 64, 32, 13, 16)
    match = re.fullmatch(r"r(\d+)(?:x(\d*\.?\d+))?", arch)
    if not match or int(match[1]) not in _RESNETS:
        raise ValueError(f"unknown architecture {arch!r}; known: {', '.join(architectures)}")
    width = float(match[2] or 1)
    c = [int(n * width) for n in (256, 256, 128, 64, 64, 32)]
    return ResNetEncoder(*_RESNETS[int(match[1])], width), c[0], tuple(c[1:])
