"""Matte Label Blending: one label from a teacher's fine boundary and a coarse mask (WSSHM, step 2).

Tensors are (N, 1, H, W) float in [0, 1].
"""

from __future__ import annotations

import torch
from torch import Tensor

from train.config import Config
from train.methods.method import Batch, Method, Teacher, edge_weight
from train.methods.pseudo_label import pseudo_label, refined_targets
from train.networks.network import Targets


def blend(mask: Tensor, matte: Tensor, boundary: Tensor) -> Tensor:
    """Return M* = B'·M' + (1 - B')·S: the teacher's matte at the boundary, the mask elsewhere.

    Args:
        mask: S, the coarse label.
        matte, boundary: M' and B' as the teacher predicts them.
    """
    return torch.lerp(mask, matte, boundary)


def targets(batch: Batch, teacher: Teacher | None, config: Config) -> Targets:
    """Return blended labels; near a mask's edge the matte has a share of 1 - ``mask_edge``.

    Of a fine label, the matte has the pixels that may not teach.
    """
    predicted = pseudo_label(teacher, batch, config)
    min_share = 1 - edge_weight(batch.label, config.mask_edge)
    if batch.weight is not None:
        min_share = torch.maximum(min_share, 1 - batch.weight)
    share = torch.maximum(predicted.boundary, min_share)
    return refined_targets(batch, predicted, blend(batch.label, predicted.matte, share))


METHOD = Method(targets, needs_teacher=True, needs_weak_view=True, teacher_follows=True)
