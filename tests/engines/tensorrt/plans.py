"""A plan of no model, for no GPU, and what needs TensorRT itself."""

from __future__ import annotations

import importlib.util

import pytest

from engines.contract import ModelSpec
from engines.cuda import Gpu
from engines.tensorrt.plan import Plan, key

has_tensorrt = importlib.util.find_spec("tensorrt") is not None
needs_tensorrt = pytest.mark.skipif(not has_tensorrt, reason="TensorRT is not installed")
GPU = Gpu(0, "NVIDIA Test", "8.9", 58, 13000)
SPEC = ModelSpec("lite0", "lite0", stride=32, size=384, trained_sizes=(512,), precision="fp16")
GRAPH = b"an ONNX file"


def made(size: int | None = None, data: bytes = bytes(range(256)) * 40) -> Plan:
    return Plan(key(GRAPH, size, "11.4.0.106", GPU), SPEC, data, {"mean": 1e-4})
