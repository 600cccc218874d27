"""MODNet: semantics, detail and their fusion (Ke et al., 2022).

    frames ─ encoder ─ /2 /4 … /32 ─ low ─ L/8 ─┬─ semantic (training)
       │               │  │                     │
       ├───────────────┴──┴──────────── high ───┼─ H/2 ─ detail (training)
       └───────────────────────────── fusion ───┴─ matte

The losses are those of the authors' code, in which semantics weigh 10 (1 in the paper), and errors
of alpha in the unknown five times those elsewhere. As there, image × alpha stands for the paper's
composite of the true foreground and background. Differs from it: their encoder starts from a
network for person segmentation, this one from ImageNet, with its mean and deviation; image × alpha
is taken in [0, 1], not [-1, 1]. The paper's adaptation to videos without labels, and its delay of a
frame against flicker, are left out.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.losses import l1, mean, mse
from train.networks.encoders.mobilenet_v2 import MobileNetV2Encoder
from train.networks.network import Network, Prediction, Targets, output_of
from train.networks.transition import Trimap

SEMANTIC_WEIGHT, DETAIL_WEIGHT, UNKNOWN_WEIGHT = 10.0, 10.0, 4.0
SEMANTIC_STRIDE = 16
GAUSSIAN = (0.2389, 0.5222, 0.2389)  # 3 taps of σ 0.8


class IBNorm(nn.Module):
    """Batch norm of the first half of the channels, instance norm of the others."""

    def __init__(self, channels: int):
        super().__init__()
        self.channels = channels // 2
        self.batch = nn.BatchNorm2d(self.channels)
        self.register_buffer("ones", torch.ones(channels - self.channels), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        some, others = x[:, : self.channels], x[:, self.channels :]
        # nn.InstanceNorm2d checks shapes on every call, and without a scale the number of channels
        # is unknown to the exporter.
        none = torch.zeros_like(self.ones)
        alone = torch.instance_norm(others, self.ones, none, None, None, True, 0.0, 1e-5, True)
        return torch.cat([self.batch(some), alone], 1)


def conv_ibn_relu(cin: int, cout: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution that keeps height and width at stride 1, an `IBNorm` and a ReLU."""
    conv = nn.Conv2d(cin, cout, kernel, stride, kernel // 2)
    return nn.Sequential(conv, IBNorm(cout), nn.ReLU(inplace=True))


class SqueezeExcite(nn.Module):
    """Weigh the channels by what the whole image holds of them."""

    def __init__(self, channels: int, reduction: int = 4):
        super().__init__()
        self.squeeze = nn.Conv2d(channels, channels // reduction, 1, bias=False)
        self.excite = nn.Conv2d(channels // reduction, channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        weight = self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True))))
        return x * weight.sigmoid()


class LowBranch(nn.Module):
    """Where the person is: from f5 (/32) to L (/8)."""

    def __init__(self, channels: int):
        super().__init__()
        self.weigh = SqueezeExcite(channels)
        self.conv16, self.conv8 = conv_ibn_relu(channels, 96, 5), conv_ibn_relu(96, 32, 5)
        self.semantic = nn.Conv2d(32, 1, 3, 2, 1)

    def forward(self, f5: Tensor) -> Tensor:
        return self.conv8(_double(self.conv16(_double(self.weigh(f5)))))


class HighBranch(nn.Module):
    """The edges: from the image, f1 (/2), f2 (/4) and L (/8) to H (/2)."""

    def __init__(self, c1: int, c2: int):
        super().__init__()
        self.enter2, self.enter4 = conv_ibn_relu(c1, 32, 1), conv_ibn_relu(c2, 32, 1)
        self.down = conv_ibn_relu(3 + 32, 32, 3, stride=2)
        self.join = conv_ibn_relu(32 + 32, 64, 3)
        self.conv4 = nn.Sequential(
            conv_ibn_relu(64 + 32 + 3, 64, 3), conv_ibn_relu(64, 64, 3), conv_ibn_relu(64, 32, 3)
        )
        self.conv2 = nn.Sequential(
            conv_ibn_relu(32 + 32, 64, 3),
            conv_ibn_relu(64, 32, 3),
            conv_ibn_relu(32, 32, 3),
            conv_ibn_relu(32, 32, 3),
        )
        self.detail = nn.Sequential(conv_ibn_relu(32 + 3, 32, 3), nn.Conv2d(32, 1, 1))

    def forward(self, image: Tensor, f1: Tensor, f2: Tensor, low: Tensor) -> Tensor:
        image2, image4 = (_resized(image, scale) for scale in (1 / 2, 1 / 4))
        e2, e4 = self.enter2(f1), self.enter4(f2)
        x = self.down(torch.cat([image2, e2], 1))
        x = self.join(torch.cat([x, e4], 1))
        x = self.conv4(torch.cat([x, _double(low), image4], 1))
        return self.conv2(torch.cat([_double(x), e2], 1))


class Fusion(nn.Module):
    """Alpha: from the image, L (/8) and H (/2)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv4 = conv_ibn_relu(32, 32, 5)
        self.conv2 = conv_ibn_relu(32 + 32, 32, 3)
        self.conv1 = nn.Sequential(conv_ibn_relu(32 + 3, 16, 3), nn.Conv2d(16, 1, 1))

    def forward(self, image: Tensor, low: Tensor, high: Tensor) -> Tensor:
        x = self.conv4(_double(low))
        x = self.conv2(torch.cat([_double(x), high], 1))
        return self.conv1(torch.cat([_double(x), image], 1))


class MODNet(Network):
    """A matting network of three branches on one MobileNetV2."""

    exact_weights = ("fusion.conv1",)

    def __init__(self, arch: str):
        super().__init__(arch, 32)
        self.encoder = MobileNetV2Encoder(whole=True)
        self.backbone = self.encoder.backbone
        c1, c2, *_, c5 = self.encoder.channels
        self.low, self.high, self.fusion = LowBranch(c5), HighBranch(c1, c2), Fusion()

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the matte; what only training needs are the sides semantic and detail, logits."""
        image = self.normalised(frames)
        f1, f2, *_, f5 = self.encoder(image)
        low = self.low(f5)
        high = self.high(image, f1, f2, low)
        sides = {
            "semantic": self.low.semantic(low),
            "detail": self.high.detail(torch.cat([_double(high), image], 1)),
        }
        return Prediction(self.fusion(image, low, high), sides=sides)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return those of semantics everywhere, of detail in the trimap's unknown, and of alpha."""
        assert prediction.sides is not None
        label, trimap = targets.label, Trimap.of(targets)
        semantic, detail = (prediction.sides[k].sigmoid() for k in ("semantic", "detail"))
        coarse, weight = trimap.reduced(label, _coarse)

        def unknown(values: Tensor) -> Tensor:
            """Return the mean over all pixels of values inside the unknown."""
            return (mean(values * trimap.unknown, trimap.weight) * trimap.judged).mean()

        light = frames.mean(1, keepdim=True)  # |image × difference|, averaged over R, G and B
        difference = (prediction.alpha - label).abs()
        alpha, composed = (
            l1(prediction.alpha * by, label * by, targets.pixel_weight).mean()
            + UNKNOWN_WEIGHT * unknown(difference * by)
            for by in (torch.ones_like(light), light)
        )
        return {
            "semantic": SEMANTIC_WEIGHT * mse(semantic, coarse, weight).mean(),
            "detail": DETAIL_WEIGHT * unknown((detail - label).abs()),
            "alpha": alpha,
            "composed": composed,
        }

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of f1, f5, L and H."""
        names = {"f1": "encoder/features.1", "f5": "encoder", "low": "low", "high": "high"}
        return {tap: output_of(model, name) for tap, name in names.items()}


def _resized(x: Tensor, scale: float) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)


def _coarse(x: Tensor) -> Tensor:
    return _blurred(_resized(x, 1 / SEMANTIC_STRIDE))


def _double(x: Tensor) -> Tensor:
    return _resized(x, 2.0)


def _blurred(x: Tensor) -> Tensor:
    taps = x.new_tensor(GAUSSIAN)
    return F.conv2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), torch.outer(taps, taps)[None, None])
