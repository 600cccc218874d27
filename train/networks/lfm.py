"""Late fusion matting (Zhang et al., 2019): two decoders, and a net that weighs one by the other.

    frames ─┬─ encoder ─ f1 f2 f3 f4 f5 ─┬─ foreground ── F ─┐
            │                            ├─ background ── B ─┼─ alpha = β·F + (1 − β)·(1 − B)
            └─ colour ───────────────────┴─ fusion ────── β ─┘

One decoder says where the person is, the other where the background is. Where they agree, alpha is
what both say; where they do not, `fusion` weighs them.

The paper does not give the widths of the decoders and norms, nor how they join what the encoder
sees; these are this project's. Differs from the paper: all parts learn in one stage, where it has
three; losses are means over pixels, where it has sums; labels of the smaller outputs are averaged
over their pixels; the transition, in which the fused alpha's error weighs most, is the trimap's
unknown, where it has all that is neither 0 nor 1.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
import torchvision
from onnx import ModelProto
from torch import Tensor, nn

from train.losses import gradient, mean
from train.networks.blocks import conv_bn_relu
from train.networks.network import Network, Prediction, Targets
from train.networks.transition import Trimap

STRIDES = (32, 16, 8, 4, 2, 1)  # of a decoder's outputs
SETTLED_WEIGHT = 0.1  # of the fused alpha's error outside the transition


class DenseNetEncoder(nn.Module):
    """torchvision's DenseNet-201 without its head: f1…f5 at strides 2, 4, 8, 16, 32.

    f2 … f4 are taken inside the transitions, between the convolution and the pooling.
    """

    backbone = "densenet201"
    strides = (2, 4, 8, 16, 32)
    channels = (64, 128, 256, 896, 1920)

    def __init__(self) -> None:
        """Build the encoder with random weights."""
        super().__init__()
        self.features = torchvision.models.densenet201(weights=None).features

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        net = self.features
        x = F.relu(net.norm0(net.conv0(x)))
        taps, x = [x], net.pool0(x)
        for i in (1, 2, 3):
            transition = net.get_submodule(f"transition{i}")
            x = net.get_submodule(f"denseblock{i}")(x)
            x = transition.conv(F.relu(transition.norm(x)))
            taps.append(x)
            x = transition.pool(x)
        return [*taps, F.relu(net.norm5(net.denseblock4(x)))]


class Decoder(nn.Module):
    """A feature pyramid from /32 to /1, with a map of probabilities at each level."""

    def __init__(self, channels: tuple[int, ...]):
        super().__init__()
        *skips, deepest = channels
        widths = (256, 256, 128, 64, 64)
        self.deepest = conv_bn_relu(deepest, widths[0])
        self.levels = nn.ModuleList(
            nn.Sequential(conv_bn_relu(cin + skip, cout), conv_bn_relu(cout, cout))
            for cin, skip, cout in zip(widths, reversed(skips), widths[1:], strict=False)
        )
        self.finest = nn.Sequential(conv_bn_relu(widths[-1], 32), conv_bn_relu(32, 32))
        self.sides = nn.ModuleList(nn.Conv2d(width, 1, 3, padding=1) for width in widths)
        self.head = nn.Conv2d(32, 1, 3, padding=1)

    def forward(self, taps: list[Tensor]) -> tuple[list[Tensor], Tensor]:
        """Return logits (N, 1, h, w) at `STRIDES`, and features (N, 32, H, W)."""
        *skips, deepest = taps
        x = self.deepest(deepest)
        sides = [self.sides[0](x)]
        for level, skip, side in zip(self.levels, reversed(skips), self.sides[1:], strict=True):
            x = level(torch.cat([_doubled(x), skip], 1))
            sides.append(side(x))
        x = self.finest(_doubled(x))
        return [*sides, self.head(x)], x


class LFM(Network):
    """The late fusion network."""

    def __init__(self, arch: str) -> None:
        """Build the network with random weights."""
        super().__init__(arch, 32)
        self.encoder = DenseNetEncoder()
        self.backbone = self.encoder.backbone
        self.foreground = Decoder(self.encoder.channels)
        self.background = Decoder(self.encoder.channels)
        self.colour = conv_bn_relu(3, 32)
        self.fusion = nn.Sequential(
            conv_bn_relu(96, 64),
            conv_bn_relu(64, 32),
            conv_bn_relu(32, 32),
            conv_bn_relu(32, 16),
            nn.Conv2d(16, 1, 3, padding=1),
        )

    def forward(self, frames: Tensor) -> Prediction:
        """Predict alpha; the sides are each decoder's logits at `STRIDES`."""
        x = self.normalised(frames)
        taps = self.encoder(x)
        sides_f, features_f = self.foreground(taps)
        sides_b, features_b = self.background(taps)
        beta = self.fusion(torch.cat([features_f, features_b, self.colour(x)], 1)).sigmoid()
        foreground, background = sides_f[-1].sigmoid(), sides_b[-1].sigmoid()
        alpha = beta * foreground + (1 - beta) * (1 - background)
        sides = {f"foreground/{s}": logits for s, logits in zip(STRIDES, sides_f, strict=True)}
        sides |= {f"background/{s}": logits for s, logits in zip(STRIDES, sides_b, strict=True)}
        return Prediction(alpha, sides=sides, is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the losses of F, of B and of the fused alpha, all in one stage."""
        assert prediction.sides is not None
        trimap, label = Trimap.of(targets), targets.label
        decoders = {"foreground": label, "background": 1 - label}
        losses = {name: label.new_zeros(()) for name in decoders}
        for side, logits in prediction.sides.items():
            name = side.split("/")[0]
            pool = partial(F.adaptive_avg_pool2d, output_size=logits.shape[2:])
            wanted, weight = trimap.reduced(decoders[name], pool)
            losses[name] = losses[name] + _decoder_loss(logits, wanted, weight, trimap.judged)
        by = torch.where(trimap.unknown > 0, trimap.judged.view(-1, 1, 1, 1), SETTLED_WEIGHT)
        fusion = mean(by * (prediction.alpha - label).abs(), trimap.weight)
        return losses | {"fusion": fusion.mean()}

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return f1 … f4, which are the skips of a decoder."""
        joints = [n for n in model.graph.node if n.name.startswith("/net/foreground/Concat")]
        skips = [joint.input[1] for joint in reversed(joints)]
        return {f"f{i}": skip for i, skip in enumerate(skips, 1)}


def _decoder_loss(logits: Tensor, label: Tensor, weight: Tensor, judged: Tensor) -> Tensor:
    """Return the loss of one map (N, 1, h, w), per pixel where the paper has sums."""
    probability = logits.sigmoid()
    is_mixed = (label > 0) & (label < 1)
    error = (probability - label).abs()
    data = torch.where(is_mixed, error, error.square())
    entropy = F.binary_cross_entropy_with_logits(logits, label, reduction="none")
    entropy = torch.where(is_mixed, 0.5, 1.0) * entropy
    edges = gradient(probability, label, weight) * judged
    return (mean(data + entropy, weight) + edges).mean()


def _doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
