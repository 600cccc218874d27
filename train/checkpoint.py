"""Checkpoints: written beside and renamed, loaded without running code."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a kill at any moment leaves the old file or the new one, whole."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as f:
        torch.save(state, f)
        f.flush()
        os.fsync(f.fileno())
    part.replace(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors and plain values; anything else in it is refused by torch."""
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
