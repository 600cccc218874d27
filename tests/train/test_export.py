from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from engines.contract import ModelSpec
from engines.engine import open_engine
from engines.errors import BadData
from train import export
from train.model import MattingNet


@pytest.fixture
def net() -> MattingNet:
    torch.manual_seed(0)
    return MattingNet("r18x0.25").eval()


SPEC = ModelSpec("test", "r18x0.25", 16, 64, (64,))


def test_exported_file_gives_the_networks_alpha(net: MattingNet, tmp_path: Path) -> None:
    """Through the engine that ships, on sizes other than the exporter saw."""
    path = tmp_path / "net.onnx"
    worst = export.export(net, path, SPEC)
    assert worst <= export.ROUNDED_TOLERANCE
    engine = open_engine(path)
    assert engine.spec == SPEC
    frames = np.random.default_rng(0).integers(0, 256, (2, 48, 112, 3), np.uint8)
    with torch.inference_mode():
        expected = export.Deployed(net)(torch.from_numpy(frames)).numpy()
    assert np.abs(engine(frames) - expected).max() <= export.ROUNDED_TOLERANCE
    assert list(tmp_path.iterdir()) == [path]


def test_graph_has_constant_scales_and_no_boundary(net: MattingNet, tmp_path: Path) -> None:
    export.export(net, tmp_path / "net.onnx", SPEC)
    graph = onnx.load(tmp_path / "net.onnx").graph
    assert [o.name for o in graph.output] == ["alpha"]
    constants = {n.output[0] for n in graph.node if n.op_type == "Constant"}
    resizes = [n for n in graph.node if n.op_type == "Resize"]
    assert resizes
    assert all(n.input[2] in constants for n in resizes)
    assert not {n.op_type for n in graph.node} & {"Shape", "If", "Loop", "NonZero"}


def test_nothing_is_written_when_parity_fails(
    net: MattingNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "TOLERANCE", -1.0)
    with pytest.raises(BadData, match="differs from torch"):
        export.export(net, tmp_path / "net.onnx", SPEC)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    torch.save({"arch": "r18x0.25", "ema": {}}, tmp_path / "empty.pt")
    with pytest.raises(BadData, match=r"empty\.pt: not a checkpoint of wsshm"):
        export.load_net(tmp_path / "empty.pt")
