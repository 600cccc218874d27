"""P3M-Net (Li et al., 2021): a decoder for regions, one for the edge, and features between them.

    frames ─ encoder ─ e0/1 e1/4 e2/8 e3/16 e4/32 ─┬─ global ─ background, unknown, person
                        │    │    │    │     │     │     │ TFI3 … TFI0
                        └────┴────┴────┴─────┴─────┴─ local ─ alpha of the unknown

    alpha = 1 where global sees the person, local where it sees the unknown, 0 elsewhere

Max-pooling alone halves the encoder's features; the local decoder puts its own back to where the
maxima were. Three kinds of integration join the branches: `TFI` (tripartite) the global, local and
encoder's features, `SBFI` (shallow bipartite) e0 and the local ones, `DBFI` (deep bipartite) e4 and
the global ones.

Differs from the authors': the encoder starts from torchvision's weights, of the ResNet with strides
(theirs was trained anew without); the ResNet's classifier, which computes nothing there, is left
out, and so is, for composites too, the loss of compositions, for which a photograph has no
foreground; of the values that un-pooling puts in one place, the last counts on a GPU too. WSSHM
does not say on which encoder it ran it.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.networks.blocks import conv_bn_relu
from train.networks.encoders.resnet import STAGES, BasicBlock
from train.networks.network import Network, Prediction, Targets, output_of
from train.networks.pooling import Places, max_pool_3x3, max_unpool_3x3
from train.networks.transition import Trimap, fused

REGIONS_WEIGHT, EDGE_WEIGHT, FUSED_WEIGHT = 3, 2, 3  # a side of the regions weighs 1


class UnstridedResNet34(nn.Module):
    """A ResNet-34 without strides: max-poolings after the stem and before each stage.

    Keys are torchvision's.
    """

    backbone = "r34"

    def __init__(self) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 1, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        cin = 64
        for i, (count, width) in enumerate(zip(STAGES[34][1], (64, 128, 256, 512), strict=True), 1):
            blocks = [BasicBlock(cin if j == 0 else width, width, 1) for j in range(count)]
            self.add_module(f"layer{i}", nn.Sequential(*blocks))
            cin = width

    def forward(self, x: Tensor) -> tuple[list[Tensor], list[Places]]:
        """Return features of normalised frames (N, 3, H, W) and the places of five poolings.

        The features are e0 (64 channels at /1), e0 pooled (64 at /2), e1 (64 at /4), e2 (128 at
        /8), e3 (256 at /16) and e4 (512 at /32).
        """
        x = F.relu(self.bn1(self.conv1(x)))
        features, places = [x], []
        for i in range(5):
            x, place = max_pool_3x3(x)
            if i > 0:
                x = self.get_submodule(f"layer{i}")(x)
            features.append(x)
            places.append(place)
        return features, places


class TFI(nn.Module):
    """Tripartite feature integration: one narrowing of all three features, then a convolution."""

    def __init__(self, width: int):
        super().__init__()
        self.narrow = nn.Conv2d(width, width // 2, 1, bias=False)
        self.join = conv_bn_relu(width // 2 * 3, width)

    def forward(self, of_global: Tensor, of_local: Tensor, of_encoder: Tensor) -> Tensor:
        return self.join(torch.cat([self.narrow(x) for x in (of_global, of_local, of_encoder)], 1))


class SBFI(nn.Module):
    """Shallow bipartite feature integration: the stem's features, pooled, added to a local one."""

    def __init__(self, width: int, stride: int):
        super().__init__()
        self.pool = nn.MaxPool2d(2, stride)
        self.shallow = nn.Conv2d(64, width // 2, 1, bias=False)
        self.narrow = nn.Conv2d(width, width // 2, 1, bias=False)
        self.join = conv_bn_relu(width, width)

    def forward(self, x: Tensor, stem: Tensor) -> Tensor:
        return x + self.join(torch.cat([self.narrow(x), self.shallow(self.pool(stem))], 1))


class DBFI(nn.Module):
    """Deep bipartite feature integration: e4 added to a global feature, and the regions of it."""

    def __init__(self, width: int, scale: int):
        super().__init__()
        self.narrow = nn.Conv2d(width, width // 2, 1, bias=False)
        self.deep = nn.Conv2d(512, width // 2, 1, bias=False)
        self.join = conv_bn_relu(width, width)
        self.side = nn.Conv2d(width, 3, 3, padding=1, bias=False)
        self.scale = scale

    def forward(self, x: Tensor, deepest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the feature and logits of the three regions at full size."""
        deep = _enlarged(self.deep(deepest), self.scale)
        x = x + self.join(torch.cat([self.narrow(x), deep], 1))
        return x, _enlarged(self.side(x), 32 // self.scale)


class GlobalDecoder(nn.Module):
    """What each pixel is, from /32 to /1."""

    def __init__(self) -> None:
        super().__init__()
        self.to16 = _convs(512, 512, 512, 256)
        self.to8 = _convs(256, 256, 256, 128)
        self.to4 = _convs(128, 128, 128, 64)
        self.to2 = _convs(64, 64, 64, 64)
        self.to1 = nn.Sequential(_convs(64, 64, 64), nn.Conv2d(64, 3, 3, padding=1))
        self.dbfi2, self.dbfi1, self.dbfi0 = DBFI(128, 4), DBFI(64, 8), DBFI(64, 16)

    def forward(self, e4: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
        """Return logits (N, 3, H, W), three more as the sides, and g4 … g1."""
        g4 = _enlarged(self.to16(e4), 2)
        g3 = _enlarged(self.to8(g4), 2)
        x, side2 = self.dbfi2(g3, e4)
        g2 = _enlarged(self.to4(x), 2)
        x, side1 = self.dbfi1(g2, e4)
        g1 = _enlarged(self.to2(x), 2)
        x, side0 = self.dbfi0(g1, e4)
        return _enlarged(self.to1(x), 2), [side2, side1, side0], [g4, g3, g2, g1]


class LocalDecoder(nn.Module):
    """The alpha of the transition, from /32 to /1, by un-pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.to16 = _convs(512, 512, 512, 256)
        self.to8 = _convs(256, 256, 256, 128)
        self.to4 = _convs(128, 128, 128, 64)
        self.to2 = _convs(64, 64, 64, 64)
        self.to1 = _convs(64, 64, 64)
        self.tfi3, self.tfi2, self.tfi1, self.tfi0 = TFI(256), TFI(128), TFI(64), TFI(64)
        self.sbfi2, self.sbfi1, self.sbfi0 = SBFI(128, 8), SBFI(64, 4), SBFI(64, 2)
        self.head = nn.Conv2d(64, 1, 3, padding=1)

    def forward(
        self, encoded: list[Tensor], places: list[Places], of_global: list[Tensor]
    ) -> Tensor:
        """Return logits (N, 1, H, W) of alpha."""
        e0, e0_pooled, e1, e2, e3, e4 = encoded
        g4, g3, g2, g1 = of_global
        x = self.tfi3(g4, max_unpool_3x3(self.to16(e4), places[4]), e3)
        x = self.sbfi2(self.tfi2(g3, max_unpool_3x3(self.to8(x), places[3]), e2), e0)
        x = self.sbfi1(self.tfi1(g2, max_unpool_3x3(self.to4(x), places[2]), e1), e0)
        x = self.sbfi0(self.tfi0(g1, max_unpool_3x3(self.to2(x), places[1]), e0_pooled), e0)
        return self.head(max_unpool_3x3(self.to1(x), places[0]))


class P3MNet(Network):
    """A matting network of two decoders on one ResNet-34, which share features."""

    chooses = True

    def __init__(self, arch: str) -> None:
        super().__init__(arch, 32)
        self.encoder = UnstridedResNet34()
        self.backbone = self.encoder.backbone
        self.global_decoder, self.local_decoder = GlobalDecoder(), LocalDecoder()

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the fused matte; the sides are four times the regions, and the edge, logits."""
        encoded, places = self.encoder(self.normalised(frames))
        regions, (side2, side1, side0), of_global = self.global_decoder(encoded[-1])
        edge = self.local_decoder(encoded, places, of_global)
        sides = {"regions": regions, "side2": side2, "side1": side1, "side0": side0, "edge": edge}
        return Prediction(fused(regions, edge), sides=sides, is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return those of the regions, of the edge in the trimap's unknown, and of their fusion."""
        assert prediction.sides is not None
        trimap, label, alpha = Trimap.of(targets), targets.label, prediction.alpha
        edge = prediction.sides["edge"].sigmoid()
        regions = REGIONS_WEIGHT * trimap.cross_entropy(prediction.sides["regions"])
        for name in ("side2", "side1", "side0"):
            regions = regions + trimap.cross_entropy(prediction.sides[name])

        return {
            "regions": regions / (REGIONS_WEIGHT + 3),
            "edge": EDGE_WEIGHT * trimap.inside(edge, label),
            "fused": FUSED_WEIGHT * trimap.everywhere(alpha, label),
        }

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of e4 and of the regions."""
        return {"e4": output_of(model, "encoder"), "regions": output_of(model, "global_decoder")}


def _convs(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(conv_bn_relu(a, b, bias=True) for a, b in pairwise(widths)))


def _enlarged(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=scale, mode="bilinear", align_corners=False)
