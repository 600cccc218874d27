"""Imitation, for comparison: the teacher's matte is the label everywhere, masks are ignored."""

from __future__ import annotations

from train.config import Config
from train.methods.method import Batch, Method, Teacher
from train.methods.pseudo_label import pseudo_label, refined_targets
from train.networks.network import Targets


def targets(batch: Batch, teacher: Teacher | None, config: Config) -> Targets:
    """Return the teacher's mattes as labels."""
    predicted = pseudo_label(teacher, batch, config)
    return refined_targets(batch, predicted, predicted.matte)


METHOD = Method(
    targets, needs_teacher=True, needs_weak_view=True, uses_masks=False, teacher_follows=True
)
