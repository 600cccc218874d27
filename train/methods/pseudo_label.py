"""A teacher's prediction for a batch, and targets made of it."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from train.config import Config
from train.methods.method import Batch, Teacher, boundary_label
from train.networks.network import Targets


class PseudoLabel(NamedTuple):
    """A teacher's prediction for N crops.

    Attributes:
        matte: (N, 1, S, S) float in [0, 1].
        boundary: (N, 1, S, S) float in [0, 1].
        features: (N, C, h, w) float, or None if the teacher offers none.
    """

    matte: Tensor
    boundary: Tensor
    features: Tensor | None


def pseudo_label(teacher: Teacher | None, batch: Batch, config: Config) -> PseudoLabel:
    """Return what a teacher of `train.methods.teacher` predicts for the batch's weak view.

    On a CPU it is not asked about crops whose alpha teaches all pixels, such as composites, unless
    its features are compared: their label and its boundary stand in for the prediction. A GPU would
    set its kernels up anew for each number of crops.
    """
    assert teacher is not None
    assert batch.weak is not None
    with torch.no_grad():
        if "context" in config.loss or batch.weak.device.type != "cpu":
            return _predict(teacher, batch.weak)
        asked = ~batch.has_alpha
        if batch.weight is not None:
            asked = asked | ~_may_teach(batch.weight).flatten(1).all(1)
        matte, boundary = batch.label.clone(), boundary_label(batch.label)
        if asked.any():
            predicted = _predict(teacher, batch.weak[asked])
            matte[asked], boundary[asked] = predicted.matte, predicted.boundary
        return PseudoLabel(matte, boundary, None)


def _predict(teacher: Teacher, images: Tensor) -> PseudoLabel:
    predicted = teacher(images).float()
    assert predicted.boundary is not None
    return PseudoLabel(predicted.deployed_alpha, predicted.boundary.sigmoid(), predicted.features)


def _may_teach(weight: Tensor) -> Tensor:
    return weight > 0.5


def refined_targets(batch: Batch, teacher: PseudoLabel, label: Tensor) -> Targets:
    """Return targets with `label` in place of coarse masks; alphas stay, they are more exact.

    Where an alpha may not teach, `label` takes its place too.

    Args:
        label: (N, 1, S, S) float in [0, 1], with edges that may be judged.
    """
    is_alpha = batch.has_alpha.view(-1, 1, 1, 1)
    if batch.weight is not None:
        is_alpha = is_alpha & _may_teach(batch.weight)
    label = torch.where(is_alpha, batch.label, label)
    boundary = torch.where(is_alpha, boundary_label(batch.label), teacher.boundary)
    return Targets(
        label,
        boundary,
        judge_edges=torch.ones_like(batch.has_alpha),
        features=teacher.features,
        shown={"boundary": boundary, "blended": label},
    )
