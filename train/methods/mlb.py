"""Matte Label Blending: one label from a teacher's fine boundary and a coarse mask (WSSHM).

Tensors are (N, 1, H, W) float in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor


def boundary_label(alpha: Tensor) -> Tensor:
    """B: 1 where ``0.05 < alpha < 0.95``, else 0 (WSSHM, step 1)."""
    return ((alpha > 0.05) & (alpha < 0.95)).to(alpha.dtype)


def blend(mask: Tensor, matte: Tensor, boundary: Tensor) -> Tensor:
    """M* = B'·M' + (1 - B')·S: the teacher's matte at the boundary, the mask elsewhere.

    Args:
        mask: S, the coarse label.
        matte, boundary: M' and B' as the teacher predicts them.
    """
    return torch.lerp(mask, matte, boundary)
