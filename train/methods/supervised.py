"""Supervised learning: labels as they are, coarse masks and the alphas of composites alike.

Step 0 and step 1 of WSSHM, and the student that it is compared with.
"""

from __future__ import annotations

import torch

from train.config import Config
from train.methods.method import Batch, Method, Teacher, boundary_label, edge_weight
from train.networks.network import Targets


def targets(batch: Batch, teacher: Teacher | None, config: Config) -> Targets:
    """Return the labels; coarse masks are not judged on edges, and their edges weigh less."""
    weight = batch.weight
    shown = {} if weight is None else {"weight": weight}
    if config.mask_edge != 1.0:
        at_edges = edge_weight(batch.label, config.mask_edge)
        is_alpha = batch.has_alpha.view(-1, 1, 1, 1)
        own = torch.ones_like(at_edges) if weight is None else weight
        weight = torch.where(is_alpha, own, at_edges * own)
    boundary = boundary_label(batch.label)
    return Targets(
        batch.label, boundary, batch.has_alpha, weight, contrast=batch.contrast, shown=shown
    )


METHOD = Method(targets)
