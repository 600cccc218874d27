from __future__ import annotations

import pytest
import torch
from torch import nn

from train.model import MattingNet, architectures, load_encoder


@pytest.mark.parametrize("arch", architectures)
def test_outputs_have_the_size_of_the_frames(arch: str) -> None:
    net = MattingNet(arch).eval()
    with torch.inference_mode():
        matte, boundary = net(torch.rand(1, 3, 64, 96))
    assert matte.shape == boundary.shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("arch", "strides", "channels"),
    [
        ("r18", (2, 2, 4, 8, 16), [64, 64, 128, 256, 512]),
        ("r18x0.5", (2, 2, 4, 8, 16), [32, 32, 64, 128, 256]),
        ("r101", (2, 2, 4, 8, 16), [64, 256, 512, 1024, 2048]),
        ("mbv2", (2, 4, 8, 16, 32), [16, 24, 32, 96, 320]),
    ],
)
def test_taps_are_those_of_the_paper(arch: str, strides: tuple, channels: list[int]) -> None:
    """f1…f5: no max-pool after the stem, and the width multiplier on every stage."""
    features = MattingNet(arch).encoder(torch.rand(1, 3, 64, 96))
    assert [(64 // f.shape[2], 96 // f.shape[3]) for f in features] == [(s, s) for s in strides]
    assert [f.shape[1] for f in features] == channels


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(ValueError, match=r"r19.*r18x0\.5"):
        MattingNet("r19")


def test_state_dict_carries_the_tap_names() -> None:
    roots = {key.split(".")[0] for key in MattingNet("r18x0.25").state_dict()}
    assert roots == {
        "encoder", "aspp", "d4", "d3", "d2", "d1", "d0", "matte", "boundary", "mean", "std",
    }  # fmt: skip


def test_folded_weights_start_the_published_function() -> None:
    """The encoder with inserted batch norms gives what the folded network gives."""
    torch.manual_seed(0)
    net = MattingNet("r18x0.25")
    folded = {}
    for name, module in net.encoder.named_modules():
        if isinstance(module, nn.Conv2d):
            folded[f"{name}.weight"] = torch.randn_like(module.weight) * 0.1
            folded[f"{name}.bias"] = torch.randn(module.out_channels)
    images = torch.rand(8, 3, 64, 64)
    missing = load_encoder(net, folded, (0.5,) * 3, (0.5,) * 3, images)
    assert missing == []

    def conv(name: str, x: torch.Tensor, **how: int) -> torch.Tensor:
        weight, bias = folded[f"{name}.weight"], folded[f"{name}.bias"]
        return nn.functional.conv2d(x, weight, bias, **how)

    x = (images - 0.5) / 0.5
    stem = conv("conv1", x, stride=2, padding=3).relu()
    out = conv("layer1.0.conv1", stem, padding=1).relu()
    out = (conv("layer1.0.conv2", out, padding=1) + stem).relu()
    net.eval()
    with torch.inference_mode():
        f1, *_ = net.encoder(x)
        block = net.encoder.layer1[0](f1)
    torch.testing.assert_close(f1, stem, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(block, out, rtol=1e-4, atol=1e-3)
