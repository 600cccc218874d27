"""Un-pooling is PyTorch's own, in a form that is exported."""

from __future__ import annotations

import io

import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.networks.pooling import max_pool_3x3, max_unpool_3x3

SHAPES = [(1, 1, 2, 2), (2, 3, 8, 12), (2, 5, 16, 4)]


def torchs(x: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
    pooled, indices = F.max_pool2d(x, 3, 2, 1, return_indices=True)
    return pooled, F.max_unpool2d(values, indices, 2, 2, output_size=x.shape[2:])


@pytest.mark.parametrize("levels", [1, 3, 1000], ids=["all equal", "many equal", "few equal"])
@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_torchs_bit_for_bit(shape: tuple[int, ...], levels: int) -> None:
    """With windows that overlap, so that some pixels are named by several of them."""
    torch.manual_seed(0)
    x = torch.randint(0, levels, shape).float()
    pooled, places = max_pool_3x3(x)
    values = torch.randn_like(pooled)
    expected = torchs(x, values)
    assert torch.equal(pooled, expected[0])
    assert torch.equal(max_unpool_3x3(values, places), expected[1])
    assert torch.equal(sum(places, torch.zeros_like(pooled)), torch.ones_like(pooled))


def test_gradients_are_torchs_where_no_pixel_is_named_twice() -> None:
    x = torch.zeros(1, 2, 8, 8)
    x[..., ::2, ::2] = torch.rand(1, 2, 4, 4) + 1  # the middle of each window
    given = [torch.rand(1, 2, 4, 4, requires_grad=True) for _ in range(2)]
    with torch.no_grad():
        given[1].copy_(given[0])
    wanted = torch.randn(1, 2, 8, 8)
    (max_unpool_3x3(given[0], max_pool_3x3(x)[1]) * wanted).sum().backward()
    (torchs(x, given[1])[1] * wanted).sum().backward()
    assert torch.equal(given[0].grad, given[1].grad)


class RoundTrip(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        pooled, places = max_pool_3x3(x)
        return max_unpool_3x3(pooled * 2, places)


@pytest.mark.filterwarnings("ignore")
def test_its_graph_agrees_at_any_size() -> None:
    written, axes = io.BytesIO(), {0: "n", 2: "h", 3: "w"}
    torch.onnx.export(
        RoundTrip(),
        (torch.rand(1, 2, 8, 8),),
        written,
        dynamo=False,
        opset_version=17,
        input_names=["x"],
        output_names=["y"],
        dynamic_axes={"x": axes, "y": axes},
    )
    run = ort.InferenceSession(written.getvalue(), providers=["CPUExecutionProvider"])
    for shape in SHAPES:
        x = torch.rand(shape[0], 2, *shape[2:])
        (found,) = run.run(None, {"x": x.numpy()})
        assert torch.equal(torch.from_numpy(found), torchs(x, F.max_pool2d(x, 3, 2, 1) * 2)[1])
