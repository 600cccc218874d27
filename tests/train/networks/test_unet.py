from __future__ import annotations

import pytest
import torch

from engines.errors import UsageError
from tests.train.networks.costs import multiplications, parameters
from train.networks import NETWORKS, build
from train.networks.unet import UNet


@pytest.mark.parametrize("arch", [a for a, e in NETWORKS.items() if not e.takes_trimap])
def test_outputs_have_the_size_of_the_frames(arch: str) -> None:
    net = build(arch).eval()
    with torch.inference_mode():
        prediction = net(torch.rand(1, 3, 64, 96))
    assert prediction.matte.shape == (1, 1, 64, 96)
    if isinstance(net, UNet):
        assert prediction.boundary.shape == (1, 1, 64, 96)


@pytest.mark.parametrize(
    ("arch", "strides", "channels"),
    [
        ("r18", (2, 2, 4, 8, 16), [64, 64, 128, 256, 512]),
        ("r18x0.5", (2, 2, 4, 8, 16), [32, 32, 64, 128, 256]),
        ("r101", (2, 2, 4, 8, 16), [64, 256, 512, 1024, 2048]),
        ("mbv2", (2, 4, 8, 16, 32), [16, 24, 32, 96, 320]),
        ("lite0", (2, 4, 8, 16, 32), [16, 24, 40, 112, 320]),
        ("lite2", (2, 4, 8, 16, 32), [16, 24, 48, 120, 352]),
    ],
)
def test_taps_are_those_of_the_paper(arch: str, strides: tuple, channels: list[int]) -> None:
    """f1…f5: no max-pool after the stem, and the width multiplier on every stage."""
    features = build(arch).encoder(torch.rand(1, 3, 64, 96))
    assert [(64 // f.shape[2], 96 // f.shape[3]) for f in features] == [(s, s) for s in strides]
    assert [f.shape[1] for f in features] == channels


@pytest.mark.parametrize(
    ("arch", "count", "billions"),
    [
        ("r101", 54_646_818, 219.9),
        ("r18", 15_102_498, 67.4),
        ("r18x0.5", 3_781_394, 17.1),
    ],
)
def test_it_costs_what_it_is_said_to(arch: str, count: int, billions: float) -> None:
    with torch.device("meta"):
        assert parameters(build(arch)) == count
    assert multiplications(arch) / 1e9 == pytest.approx(billions, rel=0.01)


def test_unknown_architecture_is_named() -> None:
    with pytest.raises(UsageError, match=r"r19.*r18x0\.5"):
        build("r19")


def test_state_dict_carries_the_tap_names() -> None:
    roots = {key.split(".")[0] for key in build("r18x0.25").state_dict()}
    assert roots == {
        "encoder",
        "aspp",
        "d4",
        "d3",
        "d2",
        "d1",
        "d0",
        "matte",
        "boundary",
        "mean",
        "std",
    }


def test_without_d0_a_place_of_d1_says_the_pixels_that_it_stands_for() -> None:
    """The heads see d1 alone, and d1 the image's own pixels: those of one block move few others."""
    torch.manual_seed(0)
    net = build("lite0-half").eval()
    assert not hasattr(net, "d0")
    d1 = torch.zeros(1, 32, 8, 8)
    with torch.inference_mode():
        before = net.matte(d1)
        d1[..., 4, 4] = 1
        moved = (net.matte(d1) - before).abs()[0, 0] > 0
    assert before.shape == (1, 1, 16, 16)
    assert moved.nonzero().min(0).values.tolist() == [6, 6]
    assert moved.nonzero().max(0).values.tolist() == [11, 11]


@pytest.mark.parametrize("arch", ["r18x0.25", "mbv2", "lite0"])
@pytest.mark.parametrize("stride", [1, 4])
def test_a_mask_joins_at_its_stride(arch: str, stride: int) -> None:
    """At 1 it is one more channel of the image, and the encoder begins as if it were not there."""
    torch.manual_seed(0)
    net = build(arch, boundary=False, mask_stride=stride).eval()
    frames = torch.rand(1, 3, 64, 96)
    masks = [torch.full((1, 1, 64 // stride, 96 // stride), x) for x in (0.0, 1.0)]
    with torch.inference_mode():
        empty, full = (net(frames, mask) for mask in masks)
        assert empty.boundary is None
        assert not torch.equal(empty.matte, full.matte)
        if stride == 1:
            image = net.normalised(frames)
            seen = [net.encoder(torch.cat([image, mask], 1))[-1] for mask in masks]
            assert torch.equal(*seen)
