"""The cache of plans, empty for each test."""

from __future__ import annotations

from pathlib import Path

import pytest

from engines.tensorrt import plan as tensorrt_plan


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tensorrt_plan, "cache", lambda: tmp_path / "plans")
    return tmp_path / "plans"
