"""Forms that export are torch's own operators."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from train.export.graph import OPSET
from train.networks.blocks import (
    PyramidPooling,
    adaptive_avg_pool,
    max_pool_2x2,
    max_unpool_2x2,
)

SIZES = [(16, 16), (9, 7), (64, 48), (2, 2), (1, 3)]


def exported(module: nn.Module, *shapes: tuple[int, int]) -> list[tuple[np.ndarray, np.ndarray]]:
    """Export for one size, run at all `shapes`; return what torch and the file give."""
    written = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            module.eval(),
            (torch.zeros(1, 3, 8, 12),),
            written,
            dynamo=False,
            opset_version=OPSET,
            input_names=["x"],
            dynamic_axes={"x": {0: "n", 2: "h", 3: "w"}},
        )
    graph = onnx.load_from_string(written.getvalue()).graph
    assert not {"MaxUnpool", "NonZero", "If", "Loop"} & {node.op_type for node in graph.node}
    session = ort.InferenceSession(written.getvalue())
    pairs = []
    for h, w in shapes:
        x = torch.randn(2, 3, h, w, generator=torch.Generator().manual_seed(h))
        with torch.inference_mode():
            pairs.append((module(x).numpy(), session.run(None, {"x": x.numpy()})[0]))
    return pairs


class Function(nn.Module):
    def __init__(self, function: Any):
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.function(x)
        return result


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6])
def test_adaptive_means_are_torchs(size: tuple[int, int], count: int) -> None:
    x = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(adaptive_avg_pool(x, count), F.adaptive_avg_pool2d(x, count))


@pytest.mark.parametrize("align", [True, False])
def test_pyramids_export_for_any_size(align: bool) -> None:
    torch.manual_seed(0)
    bins = (1, 3, 5, 6)
    pyramid = PyramidPooling([nn.Conv2d(3, 4, 1) for _ in bins], bins, align)
    for expected, found in exported(pyramid, (8, 12), (5, 9), (32, 18)):
        np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize("levels", [2, 1000])
def test_unpooling_is_torchs_to_the_bit(levels: int) -> None:
    """Where several of four values are the greatest, too."""
    torch.manual_seed(0)
    x = torch.randint(-levels, levels, (2, 3, 8, 12)).float()
    pooled, masks = max_pool_2x2(x)
    theirs, places = F.max_pool2d(x, 2, return_indices=True)
    assert torch.equal(pooled, theirs)
    values = torch.randn_like(pooled)
    assert torch.equal(max_unpool_2x2(values, masks), F.max_unpool2d(values, places, 2))


def test_gradients_of_unpooling_are_torchs() -> None:
    torch.manual_seed(0)
    x, found = torch.randn(1, 2, 6, 4), []
    for ours in (True, False):
        given = x.clone().requires_grad_()
        if ours:
            out = max_unpool_2x2(*max_pool_2x2(given))
        else:
            pooled, places = F.max_pool2d(given, 2, return_indices=True)
            out = F.max_unpool2d(pooled, places, 2)
        (out * torch.arange(24.0).view(6, 4)).sum().backward()
        found.append(given.grad)
    assert torch.equal(*found)


def test_unpooling_exports_for_any_size() -> None:
    def unpooled(x: Tensor) -> Tensor:
        pooled, masks = max_pool_2x2(x)
        return max_unpool_2x2(pooled * 3, masks)

    for expected, found in exported(Function(unpooled), (8, 12), (2, 6), (32, 18)):
        assert np.array_equal(found, expected)
