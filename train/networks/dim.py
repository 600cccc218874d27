"""Deep Image Matting, stage 1 (Xu et al., 2017), as in *Image Matting* (Lang et al., 2021).

    frames, trimap ─ 4 to 3 ─ VGG-16, 4 poolings ─ 1×1 ─ 5×5 ─ (un-pooling, 5×5) × 4 ─ 5×5 ─ alpha
                                    └──── places of the maxima ──────┘

The second paper puts a convolution from four channels to three before VGG-16, which so keeps its
own first one, and pools four times. Its decoder of "six convolutional layers and four unpooling
layers, followed by a final alpha prediction layer" is read as the first paper's 1×1 and 5×5 kernels
without the level of the fifth pooling. There is no second stage, and no composition loss.

Differs from both: a side that is no multiple of 16 is padded to one by repeating the border, as
engines do, and alpha is cropped again; the second paper's 28 pixels become 32, where its poolings
would drop a row of 7. Its "max pooling with size two, one stride, one padding" would enlarge; ours
halves. The first convolution, of 3×3 and without an activation, begins by passing the image on;
VGG-16 begins as torchvision's does, the decoder by Glorot's rule as the first paper's.

``dim`` has no batch norms, as VGG-16 has none; from random weights it stays at one alpha for all
pixels at the second paper's learning rate of 0.01, and learns at 1e-4. ``dim-bn`` has one after
each convolution but the first and the last, as SegNet, which the second paper calls its network.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn, onnx

from train.networks.blocks import max_unpool_2x2
from train.networks.encoders.vgg16 import VGG16Encoder
from train.networks.network import Network, Prediction

DECODER = (256, 128, 64, 64)  # channels of the convolutions after each un-pooling
STRIDE = 16


class DIM(Network):
    """Alpha of frames that have a trimap."""

    takes_trimap = True
    chooses = True  # one of four places at each un-pooling

    def __init__(self, arch: str, norm: bool = False):
        """Build the network with random weights.

        Args:
            norm: a batch norm after each convolution but the first and the last.
        """
        super().__init__(arch, STRIDE)
        self.mix = nn.Conv2d(4, 3, 3, padding=1)
        nn.init.dirac_(self.mix.weight)
        nn.init.zeros_(self.mix.bias)
        self.encoder, self.backbone = VGG16Encoder(norm), "vgg16_bn" if norm else "vgg16"
        cin = self.encoder.channels
        self.bridge = nn.Sequential(_conv_relu(cin, cin, 1, norm), _conv_relu(cin, cin, 5, norm))
        self.decoder = nn.ModuleList()
        for width in DECODER:
            self.decoder.append(_conv_relu(cin, width, 5, norm))
            cin = width
        self.alpha = nn.Conv2d(cin, 1, 5, padding=2)
        nn.init.xavier_normal_(self.alpha.weight)
        nn.init.zeros_(self.alpha.bias)

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the mattes of frames with trimaps (N, 4, H, W), RGB and trimap in [0, 1]."""
        if onnx.is_in_onnx_export():  # frames are padded by engines
            return Prediction(self._logits(frames))
        height, width = frames.shape[2:]
        padding = (0, -width % STRIDE, 0, -height % STRIDE)
        logits = self._logits(F.pad(frames, padding, mode="replicate"))
        return Prediction(logits[..., :height, :width])

    def _logits(self, frames: Tensor) -> Tensor:
        rgb, trimap = self.normalised(frames[:, :3]), frames[:, 3:]
        x, pools = self.encoder(self.mix(torch.cat([rgb, trimap], 1)))
        x = self.bridge(x)
        for conv, places in zip(self.decoder, reversed(pools), strict=True):
            x = conv(max_unpool_2x2(x, places))
        logits: Tensor = self.alpha(x)
        return logits


def _conv_relu(cin: int, cout: int, kernel: int, norm: bool) -> nn.Sequential:
    conv = nn.Conv2d(cin, cout, kernel, padding=kernel // 2)
    nn.init.xavier_normal_(conv.weight)
    nn.init.zeros_(conv.bias)
    return nn.Sequential(conv, *([nn.BatchNorm2d(cout)] if norm else []), nn.ReLU(inplace=True))
