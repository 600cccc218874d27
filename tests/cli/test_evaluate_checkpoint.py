from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from tests.conftest import Wsshm, one_error_line
from train.checkpoint.checkpoint import save_weights
from train.networks import build


@pytest.mark.timeout(150)
def test_a_checkpoint_is_exported_first(wsshm: Wsshm, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = build("r18x0.25")
    save_weights(tmp_path / "mine.safetensors", "r18x0.25", net.state_dict(), {})
    for kind in ("images", "masks"):
        (tmp_path / "data/seg/a" / kind).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"data/seg/a/{kind}/1.png"), np.eye(64, dtype=np.uint8) * 255)
    (tmp_path / "data/val.txt").write_text("seg/a/images/1.png")
    result = wsshm("eval", "mine.safetensors", "--size", 64, "--json", timeout=140)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["models"] == [{"name": "mine", "size": 64}]
    assert list(found["sets"]) == ["masks"]
    assert not list(tmp_path.glob("*.onnx"))


def test_a_damaged_checkpoint_is_one_error_line(
    wsshm: Wsshm, dataset: Path, tmp_path: Path
) -> None:
    (tmp_path / "junk.pt").write_bytes(b"junk" * 100)
    result = wsshm("eval", "junk.pt", "--data", dataset)
    assert result.returncode == 65
    assert one_error_line(result, "junk.pt")
