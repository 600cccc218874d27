"""MobileNetV2 (Sandler et al., 2018) as an encoder."""

from __future__ import annotations

from typing import ClassVar

import torchvision
from torch import Tensor, nn


class MobileNetV2Encoder(nn.Module):
    """torchvision's MobileNetV2 up to its last 320 channels: f1…f5 at strides 2, 4, 8, 16, 32."""

    backbone: ClassVar[str] = "mbv2"
    strides: ClassVar[tuple[int, ...]] = (2, 4, 8, 16, 32)

    def __init__(self, whole: bool = False) -> None:
        """Build the encoder with random weights.

        Args:
            whole: with the last 1×1 convolution, so that f5 has 1280 channels.
        """
        super().__init__()
        layers = torchvision.models.mobilenet_v2(weights=None).features
        self.features = layers if whole else layers[:18]
        self.channels = [16, 24, 32, 96, 1280 if whole else 320]
        self.ends = (1, 3, 6, 13, 18 if whole else 17)  # layers whose outputs are f1 … f5

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return f1 … f5 for normalised frames (N, 3, H, W)."""
        taps = []
        for i, layer in enumerate(self.features):
            x = layer(x)
            if i in self.ends:
                taps.append(x)
        return taps
