"""A network that puts values back to where maxima were is exported with the same places."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from engines.contract import ModelSpec
from train.export.export import export
from train.export.graph import before_first, trace
from train.networks.network import Network, Prediction
from train.networks.pooling import max_pool_3x3, max_unpool_3x3


class Unpooling(Network):
    """Alpha where the image is brightest; one convolution is used before and after."""

    def __init__(self) -> None:
        super().__init__("unpooling", 2)
        torch.manual_seed(0)
        self.encoder, self.shared = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1)
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, frames: Tensor) -> Prediction:
        x = F.relu(self.shared(self.encoder(self.normalised(frames))))
        pooled, places = max_pool_3x3(x)
        return Prediction(self.head(max_unpool_3x3(self.shared(pooled), places)))


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_it_is_exported_in_all_precisions(tmp_path: Path, precision: str) -> None:
    # Noise, as the last bit decides where an area is flat.
    frames = list(np.random.default_rng(0).integers(0, 256, (15, 1, 64, 64, 3), np.uint8))
    spec = ModelSpec("unpooling", "unpooling", 2, 64, (64,), precision)
    parity = export(Unpooling().eval(), tmp_path / "net.onnx", spec, frames).parity
    assert parity.max < (0.1 if precision == "int8" else 1e-4)


def test_all_that_decides_on_places_comes_first() -> None:
    model = trace(Unpooling().eval(), ModelSpec("unpooling", "unpooling", 2, 64, (64,)))
    early = before_first(model, {})
    kinds = {node.name: node.op_type for node in model.graph.node}
    assert {"Conv", "MaxPool", "GreaterOrEqual"} <= {kinds[name] for name in early}
    assert sum(kinds[name] == "Conv" for name in early) == 2
    assert sum(kind == "Conv" for kind in kinds.values()) == 4


def test_what_does_not_depend_on_frames_is_computed() -> None:
    model = trace(Unpooling().eval(), ModelSpec("unpooling", "unpooling", 2, 64, (64,)))
    weights = {tensor.name for tensor in model.graph.initializer}
    assert all(set(node.input) - weights - {""} for node in model.graph.node)
    assert all(n.input[1] in weights for n in model.graph.node if n.op_type == "Pad")
