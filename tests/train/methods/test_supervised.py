"""Labels as they are."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.train.methods.batches import config, targets
from train.methods.method import Batch, boundary_label
from train.methods.supervised import METHOD
from train.networks.network import Prediction
from train.objective import matting_losses


def test_without_a_teacher_labels_are_learnt_as_they_are(batch: dict[str, Any]) -> None:
    wanted = targets(None, batch, config("supervised"))
    assert torch.equal(wanted.label, batch["label"] / 255)
    assert torch.equal(wanted.boundary, boundary_label(wanted.label))
    assert not wanted.boundary[0].any()
    assert wanted.boundary[1].any()
    assert wanted.judge_edges.tolist() == [False, True]


def test_what_may_not_teach_has_no_weight(batch: dict[str, Any]) -> None:
    weight = torch.full((2, 1, 32, 32), 255, dtype=torch.uint8)
    weight[:, :, :8] = 0
    given = batch | {"weight": weight}
    wanted = targets(None, given, config("supervised"))
    assert torch.equal(wanted.pixel_weight, weight / 255)
    assert list(wanted.shown) == ["weight"]
    less = targets(None, given, replace(config("supervised"), mask_edge=0.5)).pixel_weight
    edges = targets(None, batch, replace(config("supervised"), mask_edge=0.5)).pixel_weight
    assert torch.equal(less, edges * weight / 255)
    assert (edges[0] == 0.5).any()


def loss_of(
    logits: Tensor, label: Tensor, has_alpha: Tensor, name: str, mask_edge: float
) -> Tensor:
    """Return one term for logits and the targets made of a label."""
    batch = Batch(torch.zeros(len(label), 3, 32, 32), label, has_alpha)
    wanted = METHOD.targets(batch, None, replace(config("supervised"), mask_edge=mask_edge))
    return matting_losses(Prediction(logits), wanted, {name: 1.0})[name]


@pytest.mark.parametrize("name", ["mse", "l1", "bce"])
def test_weighted_means_by_hand(name: str) -> None:
    """A coarse mask that is wrong by 1 / 2 at its edge alone; an alpha has no such edge."""
    label = torch.zeros(2, 1, 32, 32)
    label[..., 16:] = 1
    logits = torch.where(label > 0, 40.0, -40.0)  # right, as far as float32 goes
    logits[..., 13:19] = 0.0
    wrong = {"mse": 0.25, "l1": 0.5, "bce": math.log(2)}[name]
    cost = loss_of(logits, label, torch.tensor([False, True]), name, mask_edge=0.25)
    coarse = wrong * (6 * 0.25) / (26 + 6 * 0.25)
    assert cost.item() == pytest.approx((coarse + wrong * 6 / 32) / 2, rel=1e-5)


def test_a_mask_that_is_all_edge_is_no_division_by_zero() -> None:
    label = (torch.rand(1, 1, 32, 32) > 0.5).float()
    assert loss_of(label, label, torch.tensor([False]), "l1", mask_edge=0.0).isfinite()
