"""VGG-16's convolutions (Simonyan and Zisserman, 2015), with torchvision's keys."""

from __future__ import annotations

from torch import Tensor, nn

from train.networks.blocks import max_pool_2x2

# Channels of the convolutions of each stage; a pooling after each but the last.
STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16Encoder(nn.Module):
    """Features at a sixteenth of the size, as without the last of the five poolings."""

    channels = STAGES[-1][-1]

    def __init__(self, norm: bool = False):
        """Build the encoder with random weights, drawn as torchvision draws them.

        Args:
            norm: a batch norm after each convolution, as in torchvision's ``vgg16_bn``.
        """
        super().__init__()
        layers: list[nn.Module] = []
        cin = 3
        for widths in STAGES:
            for width in widths:
                conv = nn.Conv2d(cin, width, 3, padding=1)
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(conv.bias)
                layers += [conv, *([nn.BatchNorm2d(width)] if norm else []), nn.ReLU(inplace=True)]
                cin = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return features (N, 512, H/16, W/16) and masks of `max_pool_2x2`, from large to small.

        Args:
            x: (N, 3, H, W), normalised, H and W multiples of 16.
        """
        pools = []
        for layer in self.features:
            if isinstance(layer, nn.MaxPool2d):
                x, places = max_pool_2x2(x)
                pools.append(places)
            else:
                x = layer(x)
        return x, pools
