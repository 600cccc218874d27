"""Images of two halves, and the alpha of each half."""

from __future__ import annotations

import numpy as np

SIZES = [(90, 160), (200, 75), (33, 500), (1, 1)]  # landscape, portrait, strip, one pixel


def image(height: int, width: int, rgb: tuple[int, int, int]) -> np.ndarray:
    """`rgb` in the right half, black in the left."""
    whole = np.zeros((height, width, 3), np.uint8)
    whole[:, width // 2 :] = rgb
    return whole


def halves(alpha: np.ndarray) -> tuple[float, float]:
    """Left and right alpha, away from the middle."""
    quarter = alpha.shape[1] // 4
    return float(alpha[:, : quarter + 1].mean()), float(alpha[:, -quarter - 1 :].mean())
