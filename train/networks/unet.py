"""The matting network of the paper: encoder, ASPP, plain decoder, two heads (WSSHM, section 3).

    frames ─ encoder ─ f1 f2 f3 f4 f5 ─ aspp ─ d4 ─ d3 ─ d2 ─ d1 ─ d0 ─┬─ matte
                        └───┴───┴───┴── skips ──┴────┴────┴────┘       └─ boundary

Tap names are those of the paper's figure: ``f1``…``f5`` are the encoder's features from shallow to
deep, ``aspp`` the context on the deepest, ``d4``…``d0`` the decoder, ``matte`` and ``boundary`` the
outputs. They are attribute names here and therefore keys of every checkpoint.

The paper gives the ResNets of 101 and 18 layers, the latter also at half the width, no max-pooling,
and the ASPP. The decoder's widths, of one convolution at each level, the image as the last skip,
the ASPP's widths and dilations (2, 4, 6), and all other encoders are this project's; judged by its
frames a second, the paper's decoder is probably lighter. So is that of ``lite0-half``: it ends with
d1, at half the frame's size, which sees the frame by a convolution, ``detail``, beside f1.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor, nn

from train.networks.blocks import ASPP, conv_bn_relu, see_more
from train.networks.encoders.efficientnet_lite import LiteEncoder
from train.networks.encoders.mobilenet_v2 import MobileNetV2Encoder
from train.networks.encoders.resnet import ResNetEncoder
from train.networks.network import Network, Prediction

LEVELS = (4, 3, 2, 1, 0)  # of the decoder, in the order of execution; d0 may be absent
# Widths of d4 … d0 on a light encoder. 13 channels and the image's 3 make 16, the block convolution
# kernels work in: a step of training takes a fifth less time than with 16.
LIGHT_WIDTHS = (96, 64, 32, 13, 16)
# The same where edges may cost three times as much: 29 and 3 make two such blocks.
WIDE_WIDTHS = (160, 112, 64, 29, 32)
# Without d0, and with as many channels of detail as f1 has beside it.
HALF_WIDTHS, HALF_DETAIL = (96, 64, 16, 32), 16
BLOCK_SIDE_PIXELS = 4  # of the block of pixels whose alpha the deployed head computes at once
BLOCK_CHANNELS = BLOCK_SIDE_PIXELS**2  # that a kernel computes at once on CPUs with AVX-512


class UNet(Network):
    """A U-Net with a head for the matte and one for the boundary."""

    exact_weights = ("matte",)

    def __init__(
        self,
        arch: str,
        encoder: Any,
        aspp: int,
        decoder: tuple[int, ...],
        boundary: bool = True,
        mask_stride: int = 0,
        detail: int = 0,
    ):
        """Build the network with random weights.

        Args:
            encoder: gives f1 … f5, and has their `strides` and `channels`.
            aspp: channels of the context.
            decoder: channels of d4 … d0, with `detail` of d4 … d1.
            boundary: whether there is a head for it.
            mask_stride: of a mask that joins the skip of this stride; at 1 it is the encoder's
                fourth channel too. 0: there is no mask.
            detail: channels of a convolution of the image that d1 sees beside f1. There is no d0
                then, and the heads compute the pixels of a whole step of d1's grid at once: a
                quarter less work in all. 0: d0 sees the image itself.
        """
        super().__init__(arch, encoder.strides[-1])
        self.encoder, self.backbone, self.feature_channels = encoder, encoder.backbone, aspp
        self.predicts_boundary = boundary
        strides, channels = [1, *encoder.strides], [3, *encoder.channels]
        if detail:
            # A place of d1's grid sees the pixels that it stands for.
            self.detail = conv_bn_relu(3, detail, kernel=strides[1], stride=strides[1])
            channels[1] += detail
        self.mask_level = strides.index(mask_stride) if mask_stride else None
        if self.mask_level is not None:
            channels[self.mask_level] += 1
        if self.mask_level == 0:
            see_more(encoder, 1)
        self.aspp = ASPP(channels[-1], aspp)
        cin, self.upscale = aspp, []
        self.levels = LEVELS[: len(decoder)]
        for level, cout in zip(self.levels, decoder, strict=True):  # the image is the skip of d0
            self.add_module(f"d{level}", conv_bn_relu(cin + channels[level], cout))
            self.upscale.append(strides[level + 1] // strides[level])
            cin = cout
        self.matte = _head(cin, strides[self.levels[-1]])
        if boundary:
            self.boundary = _head(cin, strides[self.levels[-1]])

    def forward(self, frames: Tensor, mask: Tensor | None = None) -> Prediction:
        """Predict the matte and the boundary; the features are ``aspp``.

        Args:
            frames: (N, 3, H, W) float in [0, 1].
            mask: (N, 1, H / s, W / s) float in [0, 1], where the network has the mask stride s.
        """
        x = self.normalised(frames)
        if mask is not None and self.mask_level == 0:
            x = torch.cat([x, mask], 1)
        skips = [x, *self.encoder(x)]
        if len(self.levels) < len(LEVELS):
            skips[1] = torch.cat([skips[1], self.detail(x)], 1)
        if mask is not None and self.mask_level:
            skips[self.mask_level] = torch.cat([skips[self.mask_level], mask], 1)
        d = context = self.aspp(skips.pop())
        for level, scale in zip(self.levels, self.upscale, strict=True):
            if scale > 1:
                d = F.interpolate(d, scale_factor=scale, mode="bilinear", align_corners=False)
            d = getattr(self, f"d{level}")(torch.cat([d, skips[level]], 1))
        boundary = self.boundary(d) if self.predicts_boundary else None
        return Prediction(self.matte(d), boundary, context)

    def deployed(self, widen: bool = False) -> UNet:
        """Return a copy whose head, and with `widen` whose decoder, computes in whole blocks."""
        net = super().deployed(widen)
        assert isinstance(net, UNet)
        if widen:
            for level in self.levels:
                setattr(net, f"d{level}", _widened(getattr(net, f"d{level}")))
        net.matte = _blockwise(net.matte)
        return net

    def undeployed(self, name: str, weights: list[Tensor]) -> tuple[str, list[Tensor]]:
        """Undo `deployed`: of the head's blocks of pixels, take the kernels of one place."""
        if name != "matte.0":
            return name, weights
        is_block = isinstance(self.matte, nn.Sequential)
        side = math.isqrt(_convolution(self.matte).out_channels)
        kept = [y * BLOCK_SIDE_PIXELS + x for y in range(side) for x in range(side)]
        kernel, bias = weights
        return "matte.0" if is_block else "matte", [kernel[kept, :, :3, :3], bias[kept]]

    def taps(self, model: ModelProto) -> dict[str, tuple[str, ...]]:
        """Return the tensors of f1 … f4, which are the skips of d1 … d4."""
        made_by = {output: node for node in model.graph.node for output in node.output}
        convolutions = {f"/net/d{level}/d{level}.0/Conv" for level in self.levels}
        joints = [made_by[n.input[0]] for n in model.graph.node if n.name in convolutions]
        skips = {
            f"f{level}": joint.input[1:] for level, joint in zip(self.levels, joints, strict=True)
        }
        shallow = skips.pop("f1")  # and what the image says beside it, which stays in float too
        return {"f1": tuple(shallow)} | {tap: (*shallow, *skips[tap]) for tap in ("f2", "f3", "f4")}


def resnet_unet(arch: str, depth: int, width: float = 1.0, **inputs: Any) -> UNet:
    """Return the paper's network on a ResNet of 18, 34, 50 or 101 layers.

    Args:
        arch: its name.
        depth: number of layers.
        width: share of the published number of channels.
        inputs: ``boundary`` and ``mask_stride`` of `UNet`.
    """
    aspp, *decoder = (int(n * width) for n in (256, 256, 128, 64, 64, 32))
    return UNet(arch, ResNetEncoder(depth, width), aspp, tuple(decoder), **inputs)


def mobilenet_v2_unet(arch: str, **inputs: Any) -> UNet:
    """Return a light network on a MobileNetV2; `inputs` as of `resnet_unet`."""
    return UNet(arch, MobileNetV2Encoder(), 128, LIGHT_WIDTHS, **inputs)


def lite_unet(
    arch: str, number: int, wide: bool = False, half: bool = False, **inputs: Any
) -> UNet:
    """Return a network on an EfficientNet-Lite0, 1 or 2.

    Args:
        arch: its name.
        number: of the encoder.
        wide: 192 channels of context in place of 128, and `WIDE_WIDTHS` in place of `LIGHT_WIDTHS`.
        half: `HALF_WIDTHS`, and the heads at half the image's size.
        inputs: as of `resnet_unet`.
    """
    encoder = LiteEncoder(number)
    if half:
        return UNet(arch, encoder, 128, HALF_WIDTHS, detail=HALF_DETAIL, **inputs)
    aspp, widths = (192, WIDE_WIDTHS) if wide else (128, LIGHT_WIDTHS)
    return UNet(arch, encoder, aspp, widths, **inputs)


def _head(cin: int, side: int) -> nn.Module:
    """Return a convolution to one channel; at each place it computes side × side pixels."""
    conv = nn.Conv2d(cin, side**2, 3, padding=1)
    return nn.Sequential(conv, nn.PixelShuffle(side)) if side > 1 else conv


def _convolution(head: nn.Module) -> nn.Conv2d:
    conv = head[0] if isinstance(head, nn.Sequential) else head
    assert isinstance(conv, nn.Conv2d)
    return conv


def _blockwise(head: nn.Module) -> nn.Sequential:
    """Return a head as one that computes a block of pixels at each step.

    The same function, in a third of the time: kernels compute `BLOCK_CHANNELS` channels at once,
    and fewer of them take as long.
    """
    conv = _convolution(head)
    side = math.isqrt(conv.out_channels)
    places = BLOCK_SIDE_PIXELS // side
    blocks = nn.Conv2d(conv.in_channels, BLOCK_CHANNELS, places + 2, stride=places, padding=1)
    assert blocks.bias is not None
    assert conv.bias is not None
    with torch.no_grad():
        blocks.weight.zero_()
        for i in range(BLOCK_CHANNELS):
            (y, in_y), (x, in_x) = (divmod(place, side) for place in divmod(i, BLOCK_SIDE_PIXELS))
            pixel = in_y * side + in_x
            blocks.weight[i, :, y : y + 3, x : x + 3] = conv.weight[pixel]
            blocks.bias[i] = conv.bias[pixel]
    return nn.Sequential(blocks, nn.PixelShuffle(BLOCK_SIDE_PIXELS))


class _First(nn.Module):
    """The first `count` channels."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return x[:, : self.count]


def _widened(part: nn.Sequential) -> nn.Sequential:
    """Pad convolution, norm and ReLU to whole blocks of channels, and cut off those added."""
    conv, norm, relu = part
    count = conv.out_channels
    if count % BLOCK_CHANNELS == 0:
        return part
    conv, more = nn.utils.fuse_conv_bn_eval(conv, norm), -count % BLOCK_CHANNELS
    conv.weight = nn.Parameter(F.pad(conv.weight, (0, 0, 0, 0, 0, 0, 0, more)))
    conv.bias = nn.Parameter(F.pad(conv.bias, (0, more)))
    return nn.Sequential(conv, relu, _First(count))
