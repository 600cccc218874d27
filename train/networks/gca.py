"""GCA (Li and Lu, 2020), trimap-free: a U-Net whose alpha agrees where the image looks alike.

    frames ─ x0 ─ stem ─ x1 ─ layer1 ─ x2 ─ layer2, attention ─ x3 ─ layer3 ─ x4 ─ layer4 ─┐
             │           │             │          ↑             │             │            │
             │           │             │       guidance         │             │            │
             │           │             │          ↓             │             │            │
    matte ─ up5 ─────── up4 ───────── up3 ── attention, up2 ────┴─── up1 ─────┴────────────┘

`guidance` is computed of the frames. Each link from x0 … x4 downwards goes through a `skip`, and is
added. Both attentions copy features between places where the guidance looks alike.

Differs from the authors': there is no trimap, so that the encoder takes the image alone, each place
counts as unknown in the attention, and the loss is the L1 over all pixels; how WSSHM did without
the trimap is not told. The stages start from ImageNet weights of torchvision's ResNet-34 as far as
they fit, those of the authors are another's.
"""

from __future__ import annotations

import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.losses import l1
from train.networks.guided_attention import GuidedContextualAttention
from train.networks.network import Network, Prediction, Targets, output_of
from train.networks.spectral import SpectralConv2d, SpectralDoubling, fold

SLOPE = 0.2  # of the decoder's ReLUs, where negative


class Residual(nn.Module):
    """A residual block of the encoder; keys are those of torchvision's BasicBlock.

    With a stride, the shortcut is averaged before its convolution.
    """

    def __init__(self, cin: int, cout: int, stride: int):
        super().__init__()
        self.conv1 = SpectralConv2d(cin, cout, 3, stride, 1)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = SpectralConv2d(cout, cout, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(cout)
        nn.init.zeros_(self.bn2.weight)
        if stride > 1:
            self.downsample = nn.Sequential(SpectralConv2d(cin, cout, 1), nn.BatchNorm2d(cout))
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        shortcut = self.downsample(F.avg_pool2d(x, 2)) if self.stride > 1 else x
        return F.relu(out + shortcut)


class Encoder(nn.Module):
    """A ResNet-34 with a stem of three convolutions and shorter stages 3 and 4.

    Keys of the stages are torchvision's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_conv_bn_relu(3, 32, 2), _conv_bn_relu(32, 32, 1))
        self.entry = _conv_bn_relu(32, 64, 2)
        cin = 64
        for i, (count, width) in enumerate(zip((3, 4, 4, 2), (64, 128, 256, 512), strict=True), 1):
            first = Residual(cin, width, 1 if i == 1 else 2)
            self.add_module(
                f"layer{i}",
                nn.Sequential(first, *(Residual(width, width, 1) for _ in range(count - 1))),
            )
            cin = width


class Doubling(nn.Module):
    """A residual block of the decoder that doubles height and width."""

    def __init__(self, cin: int, cout: int):
        super().__init__()
        self.up = SpectralDoubling(cin)
        self.bn1 = nn.BatchNorm2d(cin)
        self.conv = SpectralConv2d(cin, cout, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(cout)
        nn.init.zeros_(self.bn2.weight)
        self.shortcut = nn.Sequential(SpectralConv2d(cin, cout, 1), nn.BatchNorm2d(cout))

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv(_leaky(self.bn1(self.up(x)))))
        return _leaky(out + self.shortcut(F.interpolate(x, scale_factor=2, mode="nearest")))


class Refining(nn.Module):
    """A residual block of the decoder that keeps height and width."""

    def __init__(self, width: int):
        super().__init__()
        self.conv1 = SpectralConv2d(width, width, 3, 1, 1)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = SpectralConv2d(width, width, 3, 1, 1)
        self.bn2 = nn.BatchNorm2d(width)
        nn.init.zeros_(self.bn2.weight)

    def forward(self, x: Tensor) -> Tensor:
        return _leaky(x + self.bn2(self.conv2(_leaky(self.bn1(self.conv1(x))))))


class GCA(Network):
    """The guided contextual attention network, without a trimap."""

    def __init__(self, arch: str) -> None:
        """Build the network with random weights."""
        super().__init__(arch, 32)
        self.encoder, self.backbone = Encoder(), "r34"
        self.guidance = nn.Sequential(
            _guide(3, 16),
            _guide(16, 32),
            _guide(32, 128),
        )
        self.attention3, self.attention_up2 = (GuidedContextualAttention(128) for _ in range(2))
        self.skip0, self.skip1 = _skip(3, 32), _skip(32, 32)
        self.skip2, self.skip3, self.skip4 = _skip(64, 64), _skip(128, 128), _skip(256, 256)
        self.up1, self.up2 = _stage(512, 256, 2), _stage(256, 128, 3)
        self.up3, self.up4 = _stage(128, 64, 3), _stage(64, 32, 2)
        self.up5 = nn.Sequential(
            SpectralDoubling(32), nn.BatchNorm2d(32), nn.LeakyReLU(SLOPE, inplace=True)
        )
        self.head = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the matte."""
        encoder, x0 = self.encoder, self.normalised(frames)
        guidance = self.guidance(x0)
        x1 = encoder.stem(x0)
        x2 = encoder.layer1(encoder.entry(x1))
        x3 = self.attention3(encoder.layer2(x2), guidance)
        x4 = encoder.layer3(x3)
        y = self.up1(encoder.layer4(x4)) + self.skip4(x4)
        y = self.attention_up2(self.up2(y) + self.skip3(x3), guidance)
        y = self.up3(y) + self.skip2(x2)
        y = self.up4(y) + self.skip1(x1)
        y = self.head(self.up5(y) + self.skip0(x0))
        return Prediction(2 * y)  # (tanh(y) + 1) / 2, the paper's alpha, is the sigmoid of 2y

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the L1 of alpha, over all pixels as there is no trimap."""
        return {"alpha": l1(prediction.alpha, targets.label, targets.pixel_weight).mean()}

    def deployed(self, widen: bool = False) -> GCA:
        """Return a copy with plain convolutions."""
        net = super().deployed(widen)
        assert isinstance(net, GCA)
        fold(net)
        return net

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return x1, what x2 … x4 are computed from, and the deepest features."""
        return {part: output_of(model, part) for part in ("stem", "layer1", "layer2", "layer3")}


def _conv_bn_relu(cin: int, cout: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        SpectralConv2d(cin, cout, 3, stride, 1), nn.BatchNorm2d(cout), nn.ReLU(inplace=True)
    )


def _guide(cin: int, cout: int) -> nn.Sequential:
    return nn.Sequential(
        nn.ReflectionPad2d(1),
        SpectralConv2d(cin, cout, 3, 2),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(cout),
    )


def _skip(cin: int, cout: int) -> nn.Sequential:
    """Return two convolutions, each followed by a ReLU and, in this order, a norm."""
    return nn.Sequential(
        SpectralConv2d(cin, cout, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(cout),
        SpectralConv2d(cout, cout, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.BatchNorm2d(cout),
    )


def _stage(cin: int, cout: int, count: int) -> nn.Sequential:
    return nn.Sequential(Doubling(cin, cout), *(Refining(cout) for _ in range(count - 1)))


def _leaky(x: Tensor) -> Tensor:
    return F.leaky_relu(x, SLOPE)
