"""Convolutions with spectral normalisation (Miyato et al., 2018).

The kernel, as a matrix of one row for each output channel, is divided by its greatest singular
value. One step of power iteration estimates that value, and goes on in training from where the step
before ended. ``weight`` is the kernel before the division, so that published weights load.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class SpectralConv2d(nn.Conv2d):
    """A convolution without bias that keeps height and width, or divides them by `stride`."""

    def __init__(self, cin: int, cout: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__(cin, cout, kernel, stride, padding, bias=False)
        self.register_buffer("direction", F.normalize(torch.randn(cout), dim=0))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (N, C, H, W)."""
        return self._conv_forward(x, self.kernel(), None)

    def kernel(self) -> Tensor:
        """Return the normalised kernel."""
        return self.weight / _spectral_norm(self, self.weight.flatten(1))


class SpectralDoubling(nn.ConvTranspose2d):
    """A transposed convolution of 4×4 at stride 2, without bias: it doubles height and width."""

    def __init__(self, channels: int):
        super().__init__(channels, channels, 4, 2, 1, bias=False)
        self.register_buffer("direction", F.normalize(torch.randn(channels), dim=0))

    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]  # no output size
        """Convolve (N, C, H, W)."""
        return F.conv_transpose2d(x, self.kernel(), None, self.stride, self.padding)

    def kernel(self) -> Tensor:
        """Return the normalised kernel."""
        return self.weight / _spectral_norm(self, self.weight.transpose(0, 1).flatten(1))


def fold(net: nn.Module) -> None:
    """Divide the kernels for good: replace the convolutions in `net` by plain ones."""
    for name, part in net.named_children():
        if isinstance(part, SpectralConv2d | SpectralDoubling):
            kind = nn.Conv2d if isinstance(part, SpectralConv2d) else nn.ConvTranspose2d
            plain = kind(
                part.in_channels,
                part.out_channels,
                part.kernel_size,
                part.stride,
                part.padding,
                bias=False,
            )
            plain.weight.data.copy_(part.kernel())
            setattr(net, name, plain)
        else:
            fold(part)


def _spectral_norm(conv: SpectralConv2d | SpectralDoubling, matrix: Tensor) -> Tensor:
    # Products and sums, as autocast would compute matrix products in fewer bits.
    with torch.no_grad():
        right = F.normalize((matrix * conv.direction[:, None]).sum(0), dim=0)
        left = F.normalize((matrix * right).sum(1), dim=0)
        if conv.training:
            conv.direction.copy_(left)
    return (left * (matrix * right).sum(1)).sum()
