"""GFM: a glance at the whole and a focus on the edge (Li et al., 2022), on a ResNet-34, variant TT.

    frames ─ encoder ─ f1/2 f2/4 f3/8 f4/16 f5/32 ─┬─ pyramid ─ glance: background, unknown, person
                        └────┴────┴────┴── skips ──┴─ context ─ focus: alpha of the unknown

    alpha = 1 where the glance sees the person, focus where it sees the unknown, 0 elsewhere

Differs from the authors' code: the image is normalised as for ImageNet (theirs is 0 to 255), the
glance's cross-entropy is that of logits (theirs of their sigmoids), the ResNet's classifier, which
computes nothing there, is left out, and so is, for composites too, the loss of compositions, for
which a photograph has no foreground. Encoder and variant are their code's defaults: WSSHM does not
say which it ran.
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.networks.blocks import PyramidPooling
from train.networks.encoders.resnet import PooledResNet
from train.networks.network import Network, Prediction, Targets, output_of
from train.networks.transition import Trimap, fused

LOSS_WEIGHT = 0.25  # of each of the authors' four losses
BINS = (1, 3, 5)  # of the pyramid
# Channels of the decoders' stages, from /32 to the last at /2: of what enters, and of the three
# convolutions. The last gives a decoder's output.
STAGES = (
    (1024, 512, 512, 256),
    (512, 256, 256, 128),
    (256, 128, 128, 64),
    (128, 64, 64, 64),
    (128, 64, 64),
)
CLASSES = 3  # of the glance


def conv_bn_relu(cin: int, cout: int, dilation: int = 1) -> list[nn.Module]:
    """Return a 3×3 convolution with bias, a batch norm and a ReLU."""
    return [
        nn.Conv2d(cin, cout, 3, padding=dilation, dilation=dilation),
        nn.BatchNorm2d(cout),
        nn.ReLU(inplace=True),
    ]


def stages(outputs: int) -> nn.ModuleList:
    """Return the stages of a decoder, each of three convolutions."""
    made = nn.ModuleList()
    for channels in STAGES:
        layers = [x for a, b in pairwise(channels) for x in conv_bn_relu(a, b)]
        made.append(nn.Sequential(*layers))
    made[-1].append(nn.Conv2d(STAGES[-1][-1], outputs, 3, padding=1))
    return made


class Glance(nn.Module):
    """A decoder of context: what each pixel is, as logits (N, 3, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        branches = (nn.Conv2d(512, 512, 1, bias=False) for _ in BINS)
        self.pyramid = PyramidPooling(branches, BINS, align=True)
        self.join = nn.Sequential(nn.Conv2d(512 * 4, 512, 1), nn.ReLU(inplace=True))
        self.stages = stages(CLASSES)
        self.contexts = nn.ModuleList(
            nn.Sequential(*conv_bn_relu(512, channels)) for channels in (256, 128, 64, 64)
        )

    def forward(self, f5: Tensor) -> Tensor:
        context = self.join(self.pyramid(f5))
        x = _enlarged(self.stages[0](torch.cat([context, f5], 1)), 2)
        for i, (part, stage) in enumerate(zip(self.contexts, self.stages[1:], strict=True)):
            beside = _enlarged(part(context), 2 ** (i + 1))
            x = _enlarged(stage(torch.cat([beside, x], 1)), 2)
        return x


class Focus(nn.Module):
    """A decoder of detail: logits of alpha (N, 1, H, W), meant for the unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.context = nn.Sequential(*(x for _ in range(3) for x in conv_bn_relu(512, 512, 2)))
        self.stages = stages(1)

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, f5 = features
        x = _enlarged(self.stages[0](torch.cat([self.context(f5), f5], 1)), 2)
        for skip, stage in zip(reversed(skips), self.stages[1:], strict=True):
            x = _enlarged(stage(torch.cat([x, skip], 1)), 2)
        return x


class GFM(Network):
    """A matting network of two decoders on one ResNet-34."""

    chooses = True

    def __init__(self, arch: str):
        super().__init__(arch, 32)
        self.encoder = PooledResNet(34)
        self.backbone = self.encoder.backbone
        self.glance, self.focus = Glance(), Focus()

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the fused matte; the sides are glance and focus, logits."""
        features = self.encoder(self.normalised(frames))
        glance, focus = self.glance(features[-1]), self.focus(features)
        sides = {"glance": glance, "focus": focus}
        return Prediction(fused(glance, focus), sides=sides, is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return those of the glance, of the focus in the trimap's unknown, and of their fusion."""
        assert prediction.sides is not None
        trimap, label, alpha = Trimap.of(targets), targets.label, prediction.alpha
        focus = prediction.sides["focus"].sigmoid()
        losses = {
            "glance": trimap.cross_entropy(prediction.sides["glance"]),
            "focus": trimap.inside(focus, label),
            "fused": trimap.everywhere(alpha, label),
        }
        return {name: LOSS_WEIGHT * loss for name, loss in losses.items()}

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of f1 … f5 and of the glance."""
        names = {"f1": "encoder/relu"} | {f"f{i + 1}": f"encoder/layer{i}" for i in range(1, 5)}
        names["glance"] = "glance"
        return {tap: output_of(model, name) for tap, name in names.items()}


def _enlarged(x: Tensor, scale: int) -> Tensor:
    return F.interpolate(x, scale_factor=float(scale), mode="bilinear", align_corners=False)
