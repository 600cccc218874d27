"""SHM: a trimap, then the matte inside it (Chen et al., 2018), in a light form.

    frames ─ encoder ─ T ─ background, unknown, person: b, u, p ─┬───────────────── alpha = p + u·r
       └─────────────────────────────────────────────────────────┴─ M ─ r ───────────┘

The paper's own networks are in `train.networks.shm_psp`; this one is the size of the open
re-implementation, on a MobileNetV2. WSSHM does not say which it ran; at the frames a second that it
gives, the paper's would take more than its processor can compute. Differs from that form: the
classes are read as they are learnt (there, person and unknown are exchanged in the fusion), the
image is normalised as for ImageNet, and a convolution that nothing reads is left out. As there,
image × alpha (here in [0, 1]) stands for the paper's composite. There is no stage in which T learns
alone: pre-training on masks, in which its loss weighs 1 and not 0.01, beside those of alpha, stands
for it.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.losses import charbonnier
from train.networks.encoders.mobilenet_v2 import MobileNetV2Encoder
from train.networks.network import Network, Prediction, Targets, output_of
from train.networks.transition import PERSON, UNKNOWN, Trimap

ALPHA_WEIGHT, COMPOSED_WEIGHT, TRIMAP_WEIGHT = 0.5, 0.5, 0.01
TRIMAP_WEIGHT_OF_MASKS = 1.0  # as where T learns alone
EPSILON = 1e-3
CLASSES = 3
MATTING_WIDTHS = (16, 32, 64, 128)


class SHM(Network):
    """A network for the trimap and one for the matte, fused softly."""

    def __init__(
        self,
        arch: str,
        stride: int,
        encoder: nn.Module,
        trimap: nn.Module,
        matting: nn.Module,
        skips: dict[str, str],
    ):
        """Join the parts.

        Args:
            encoder: gives features for T.
            trimap: T, gives logits (N, 3, H, W) of the features.
            matting: M, gives r (N, 1, H, W) of the image and the probabilities (N, 6, H, W).
            skips: of the encoder's features by name, the parts of it that give them.
        """
        super().__init__(arch, stride)
        self.encoder, self.backbone = encoder, encoder.backbone
        self.trimap, self.matting, self.skips = trimap, matting, skips

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the fused matte; the side is the trimap, logits."""
        image = self.normalised(frames)
        trimap = self.trimap(self.encoder(image))
        share = trimap.float().softmax(1)
        r = self.matting(torch.cat([image, share], 1)).float()
        alpha = share[:, PERSON : PERSON + 1] + share[:, UNKNOWN : UNKNOWN + 1] * r
        return Prediction(alpha, sides={"trimap": trimap}, is_alpha=True)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return those of alpha, of image × alpha, and of the trimap."""
        assert prediction.sides is not None
        alpha, label, weight = prediction.alpha, targets.label, targets.pixel_weight
        rgb_weight = None if weight is None else weight.expand_as(frames)
        composed = charbonnier(alpha * frames, label * frames, rgb_weight, EPSILON)
        trimap = Trimap.of(targets)
        by = torch.lerp(
            torch.full_like(trimap.judged, TRIMAP_WEIGHT_OF_MASKS),
            torch.full_like(trimap.judged, TRIMAP_WEIGHT),
            trimap.judged,
        )
        return {
            "alpha": ALPHA_WEIGHT * charbonnier(alpha, label, weight, EPSILON).mean(),
            "composed": COMPOSED_WEIGHT * composed.mean(),
            "trimap": (by * trimap.cross_entropies(prediction.sides["trimap"])).mean(),
        }

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of the encoder's features and of the trimap."""
        features = {name: output_of(model, f"encoder/{part}") for name, part in self.skips.items()}
        return features | {"f5": output_of(model, "encoder"), "trimap": output_of(model, "trimap")}


def light(arch: str) -> SHM:
    """Return the light form."""
    encoder = FullSizeMobileNetV2()
    skips = {f"f{i}": f"features.{end}" for i, end in enumerate(encoder.ends[:-1], 1)}
    return SHM(arch, 16, encoder, LightTrimap(encoder.channels), LightMatting(), skips)


class FullSizeMobileNetV2(MobileNetV2Encoder):
    """MobileNetV2 without the first halving: f1…f5 at strides 1, 2, 4, 8, 16."""

    strides: ClassVar[tuple[int, ...]] = (1, 2, 4, 8, 16)

    def __init__(self) -> None:
        """Build the encoder with random weights; what torchvision lacks begins as the identity."""
        super().__init__()
        self.features[0][0].stride = (1, 1)
        # The first inverted residual expands its 32 channels to 32.
        expand = nn.Conv2d(32, 32, 1, bias=False)
        nn.init.dirac_(expand.weight)
        self.expand = nn.Sequential(expand, nn.BatchNorm2d(32), nn.ReLU6(inplace=True))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        x, taps = self.expand(self.features[0](x)), []
        for i in range(1, len(self.features)):
            x = self.features[i](x)
            if i in self.ends:
                taps.append(x)
        return taps


class LightTrimap(nn.Module):
    """A decoder that adds the encoder's features."""

    def __init__(self, channels: list[int]):
        super().__init__()
        self.up, self.smooth = nn.ModuleList(), nn.ModuleList()
        for level in range(len(channels) - 1, 0, -1):
            cin, cout = channels[level], channels[level - 1]
            conv = nn.Conv2d(cin, cout, 3, padding=1)
            self.up.append(nn.Sequential(conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True)))
            conv = nn.Conv2d(cout, cout, 3, padding=1)
            self.smooth.append(nn.Sequential(conv, nn.BatchNorm2d(cout)))
        self.classify = nn.Conv2d(channels[0], CLASSES, 3, padding=1)

    def forward(self, features: list[Tensor]) -> Tensor:
        *skips, x = features
        for up, smooth, skip in zip(self.up, self.smooth, reversed(skips), strict=True):
            larger = F.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
            x = smooth(up(larger) + skip)
        logits: Tensor = self.classify(x)
        return logits


class LightMatting(nn.Module):
    """A plain encoder and decoder of four levels."""

    def __init__(self) -> None:
        super().__init__()
        down, up, cin = [], [], 3 + CLASSES
        for width in MATTING_WIDTHS:
            down += [*_conv_bn_relu(cin, width), nn.MaxPool2d(3, 2, 1)]
            cin = width
        for width in (cin, *MATTING_WIDTHS[-2::-1]):
            up += _conv_bn_relu(cin, width)
            up.append(nn.ConvTranspose2d(width, width, 5, 2, 2, output_padding=1, bias=False))
            cin = width
        self.down, self.up = nn.Sequential(*down), nn.Sequential(*up)
        self.alpha = nn.Conv2d(cin, 1, 5, padding=2, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        alpha: Tensor = self.alpha(self.up(self.down(x)))
        return alpha


def _conv_bn_relu(cin: int, cout: int) -> list[nn.Module]:
    conv = nn.Conv2d(cin, cout, 3, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(cout), nn.ReLU(inplace=True)]
