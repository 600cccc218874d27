"""Small images and a small dataset."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


def write(path: Path, channels: int = 3, width: int = 12, height: int = 8) -> None:
    """An image with a gradient in every channel, alpha among them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ramp = np.linspace(0, 240, width * height).reshape(height, width, 1).astype(np.uint8)
    cv2.imwrite(str(path), np.repeat(ramp, channels, 2))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Our own layout: a set of each kind and two backgrounds."""
    for name in ("10", "2", "1"):
        write(tmp_path / f"seg/a/images/{name}.jpg")
        write(tmp_path / f"seg/a/masks/{name}.png", 1)
    write(tmp_path / "matte/b/images/1.jpg")
    write(tmp_path / "matte/b/alphas/1.png", 1)
    write(tmp_path / "matte/c/rgba/1.png", 4)
    write(tmp_path / "background/1.jpg")
    write(tmp_path / "background/2.jpg")
    return tmp_path


def cutout(height: int = 40, width: int = 30) -> np.ndarray:
    """A blue person whose soft left edge is still green from where it was cut."""
    rgba = np.zeros((height, width, 4), np.uint8)
    rgba[..., :3] = (0, 255, 0)
    rgba[..., 3] = np.clip(np.arange(width) * 20, 0, 255)
    rgba[rgba[..., 3] >= 230, :3] = (10, 20, 200)
    return rgba
