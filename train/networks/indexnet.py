"""IndexNet without a trimap (Lu et al., 2019): pooling and un-pooling by learnt weights.

    frames ─ stage0 ─ P ─ stage1 ─ P ─ stage2 ─ P ─ stage3 ─ P ─ stage4 ─ P ─ stage5 ─ context
               d0 ─── U ──── d1, d2 ── U ── d3 ─── U ── d4 ──── U ── d5, d6 ─ U ──────── │

An index block sees the features before a pooling P and says how much each of four pixels counts,
once for P and the skip, once for the un-pooling U of the decoder at the same place.

The index blocks are as wide as in the authors' code; the cost that its page states belongs to
blocks of twice that width. Differs from it: no trimap, so three channels instead of four and a loss
over all pixels; it is that of alpha alone, for composites too, as a photograph has no foreground
for compositions. How WSSHM took its trimap away is not told.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
import torchvision
from onnx import ModelProto
from torch import Tensor, nn

from train.losses import charbonnier
from train.networks.network import Network, Prediction, Targets, output_of

DILATIONS = (2, 4, 8)  # of the context
CONTEXT_CHANNELS = 256  # of each of its branches
PARTS = 4  # pixels of a window of a pooling


class IndexedMobileNetV2(nn.Module):
    """torchvision's MobileNetV2 at stride 1, in the stages between which index blocks halve it.

    As in the authors' code, the 3×3 convolutions of an inverted residual see a border of what its
    first 1×1 convolution makes of zeros, instead of a border of zeros.
    """

    backbone: ClassVar[str] = "mbv2"
    # Of the stages: their layers, and the channels they give.
    stages: ClassVar[tuple[tuple[int, int], ...]] = (
        (0, 1),
        (1, 4),
        (4, 7),
        (7, 11),
        (11, 17),
        (17, 18),
    )
    channels: ClassVar[tuple[int, ...]] = (32, 24, 32, 64, 160, 320)
    inner: ClassVar[dict[int, int]] = {1: 16, 13: 96}  # layers that are skips too → their channels

    def __init__(self) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.features = torchvision.models.mobilenet_v2(weights=None).features[:18]
        for i, layer in enumerate(self.features):
            for conv in layer.modules():
                if isinstance(conv, nn.Conv2d) and conv.kernel_size == (3, 3):
                    conv.stride = (1, 1)
                    conv.padding = (0, 0) if i else (1, 1)

    def stage(self, number: int, x: Tensor) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the output of a stage, and those of its layers that are skips."""
        first, end = self.stages[number]
        skips = {}
        for i in range(first, end):
            layer: Any = self.features[i]
            if i == 0:
                x = layer(x)
            else:
                out = layer.conv(F.pad(x, (1, 1, 1, 1)))
                x = x + out if layer.use_res_connect else out
            if i in self.inner:
                skips[i] = x
        return x, skips

    def forward(self, x: Tensor) -> Tensor:
        """Return the deepest features, halved by means: as by indices that are all alike."""
        for number in range(len(self.stages)):
            x, _ = self.stage(number, F.avg_pool2d(x, 2) if number else x)
        return x


class IndexBlock(nn.Module):
    """How much each pixel counts, from features (N, C, H, W): two maps of that size, in [0, 1]."""

    def __init__(self, channels: int):
        super().__init__()
        self.parts = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 4, 2, 1, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU6(inplace=True),
                nn.Conv2d(channels, channels, 1, bias=False),
            )
            for _ in range(PARTS)
        )

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the encoder's map, whose windows of four sum to 1, and the decoder's."""
        shares = torch.stack([part(x) for part in self.parts], 2).sigmoid()  # (N, C, 4, h, w)
        encoder, decoder = (
            F.pixel_shuffle(maps.flatten(1, 2), 2) for maps in (shares.softmax(2), shares)
        )
        return encoder, decoder


class Context(nn.Module):
    """Atrous spatial pyramid pooling with depthwise convolutions (Chen et al., 2018)."""

    def __init__(self, cin: int, cout: int):
        super().__init__()
        self.near = nn.Sequential(*_conv_bn_relu6(cin, CONTEXT_CHANNELS, 1))
        self.far = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(cin, cin, 3, padding=d, dilation=d, groups=cin, bias=False),
                nn.BatchNorm2d(cin),
                nn.ReLU6(inplace=True),
                *_conv_bn_relu6(cin, CONTEXT_CHANNELS, 1),
            )
            for d in DILATIONS
        )
        self.mean = nn.Sequential(*_conv_bn_relu6(cin, CONTEXT_CHANNELS, 1))
        branches = len(DILATIONS) + 2
        self.join = nn.Sequential(
            *_conv_bn_relu6(branches * CONTEXT_CHANNELS, cout, 1), nn.Dropout(0.5)
        )

    def forward(self, x: Tensor) -> Tensor:
        near = self.near(x)
        mean = self.mean(x.mean((2, 3), keepdim=True)).expand_as(near)
        joined: Tensor = self.join(torch.cat([near, *(far(x) for far in self.far), mean], 1))
        return joined


class IndexNet(Network):
    """A matting network of index blocks on a MobileNetV2."""

    def __init__(self, arch: str):
        super().__init__(arch, 32)
        self.encoder = IndexedMobileNetV2()
        self.backbone = self.encoder.backbone
        *pooled, deepest = self.encoder.channels
        self.indices = nn.ModuleList(IndexBlock(channels) for channels in pooled)
        self.context = Context(deepest, 160)
        for name, cin, cout in (
            ("d6", 160 + 160, 96),
            ("d5", 96 + 96, 64),
            ("d4", 64 + 64, 32),
            ("d3", 32 + 32, 24),
            ("d2", 24 + 24, 16),
            ("d1", 16 + 16, 32),
            ("d0", 32 + 32, 32),
        ):
            self.add_module(name, nn.Sequential(*_conv_bn_relu6(cin, cout, 5)))
        self.matte = nn.Sequential(
            *_conv_bn_relu6(32, 1, 5), nn.Conv2d(1, 1, 5, padding=2, bias=False)
        )

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the matte, which no sigmoid bounds."""
        x, skips, maps = self.normalised(frames), [], []
        inner: dict[int, Tensor] = {}
        for number, index in enumerate(self.indices):
            x, within = self.encoder.stage(number, x)
            share, back = index(x)
            x, inner = x * share, inner | within
            skips.append(x)
            maps.append(back)
            x = PARTS * F.avg_pool2d(x, 2)
        x = self.context(self.encoder.stage(len(self.indices), x)[0])

        def joined(x: Tensor, level: int) -> Tensor:
            """Un-pool and join the skip, which has been weighed by the same index block."""
            larger = F.interpolate(x, scale_factor=2.0, mode="nearest")
            return torch.cat([larger * maps[level], skips[level]], 1)

        x = self.d6(joined(x, 4))
        x = self.d5(torch.cat([x, inner[13]], 1))
        x = self.d4(joined(x, 3))
        x = self.d3(joined(x, 2))
        x = self.d2(joined(x, 1))
        x = self.d1(torch.cat([x, inner[1]], 1))
        x = self.d0(joined(x, 0))
        return Prediction(self.matte(x), is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return that of alpha, over all pixels."""
        alpha = charbonnier(prediction.alpha, targets.label, targets.pixel_weight)
        return {"alpha": alpha.mean()}

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of the first layer, of the context, d4 and d2."""
        names = {"f1": "features.0", "context": "context", "d4": "d4", "d2": "d2"}
        return {tap: output_of(model, name) for tap, name in names.items()}


def _conv_bn_relu6(cin: int, cout: int, kernel: int) -> Iterator[nn.Module]:
    yield nn.Conv2d(cin, cout, kernel, padding=kernel // 2, bias=False)
    yield nn.BatchNorm2d(cout)
    yield nn.ReLU6(inplace=True)
