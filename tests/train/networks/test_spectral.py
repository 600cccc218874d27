from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import spectral_norm

from train.networks.spectral import SpectralConv2d, SpectralDoubling, fold


def pair(kind: str) -> tuple[nn.Module, nn.Module]:
    """Return a convolution of ours, and torch's parametrization of a plain one, of one kernel."""
    torch.manual_seed(0)
    if kind == "conv":
        own, plain = SpectralConv2d(6, 8, 3, 2, 1), nn.Conv2d(6, 8, 3, 2, 1, bias=False)
    else:
        own, plain = SpectralDoubling(6), nn.ConvTranspose2d(6, 6, 4, 2, 1, bias=False)
    own.weight.data[:, 0] += 1.0  # so that one singular value is much greater than the others
    plain.load_state_dict({"weight": own.weight})
    return own, spectral_norm(plain, n_power_iterations=50)


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_training_finds_the_spectral_norm(kind: str) -> None:
    own, torchs = pair(kind)
    x = torch.randn(2, 6, 8, 8)
    for _ in range(50):
        own(x)
    torch.testing.assert_close(own(x), torchs(x), atol=1e-5, rtol=1e-4)
    matrix = own.weight if kind == "conv" else own.weight.transpose(0, 1)
    norm = torch.linalg.matrix_norm(matrix.flatten(1), 2)
    torch.testing.assert_close(own.kernel(), own.weight / norm)


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_its_gradient_is_torchs(kind: str) -> None:
    own, torchs = pair(kind)
    x = torch.randn(2, 6, 8, 8)
    for _ in range(50):
        own(x)
    for net in (own, torchs):
        net(x).square().sum().backward()
    expected = torchs.parametrizations.weight.original.grad
    torch.testing.assert_close(own.weight.grad, expected, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("kind", ["conv", "transposed"])
def test_folding_keeps_the_function(kind: str) -> None:
    own, _ = pair(kind)
    net = nn.Sequential(nn.Sequential(own)).eval()
    x = torch.randn(2, 6, 8, 8)
    expected = net(x)
    fold(net)
    assert type(net[0][0]) in (nn.Conv2d, nn.ConvTranspose2d)
    torch.testing.assert_close(net(x), expected)


def test_evaluation_changes_nothing() -> None:
    own, _ = pair("conv")
    own.eval()
    x = torch.randn(2, 6, 8, 8)
    assert torch.equal(own(x), own(x))
