"""Properties of every method, and functions that methods share."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from engines.errors import UsageError
from tests.train.methods.batches import CPU, Constant, config, targets
from train.methods import METHODS, find
from train.methods.method import Batch, boundary_label, edge_weight


def test_the_ends_of_the_interval_are_no_boundary() -> None:
    alpha = torch.tensor([0.0, 0.05, 0.06, 0.5, 0.94, 0.95, 1.0])
    assert boundary_label(alpha).tolist() == [0, 0, 1, 1, 1, 0, 0]
    every_byte = torch.arange(256) / 255
    (inside,) = boundary_label(every_byte).nonzero(as_tuple=True)
    assert (int(inside[0]), int(inside[-1])) == (13, 242)


def test_near_a_masks_edge_pixels_weigh_less() -> None:
    """Three pixels to each side of it."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 1
    row = edge_weight(mask, 0.25)[0, 0, 7].tolist()
    assert row == [1.0] * 13 + [0.25] * 6 + [1.0] * 13
    assert torch.equal(edge_weight(mask, 1.0), torch.ones_like(mask))


def test_an_unknown_method_is_named_with_those_there_are() -> None:
    with pytest.raises(UsageError, match="unknown method 'none'; use one of supervised, mlb"):
        find("none")


@pytest.mark.parametrize("name", METHODS)
def test_every_method_gives_targets_of_the_shape_of_the_batch(
    name: str, batch: dict[str, Any]
) -> None:
    method = METHODS[name]
    teacher = Constant(0.4, 0.75) if method.needs_teacher else None
    given = Batch.of(batch, CPU)
    given = given._replace(trimap=torch.full_like(given.label, 0.5))
    if not method.needs_weak_view:
        given = given._replace(weak=None)
    wanted = method.targets(given, teacher, config(name))
    images = [wanted.label, wanted.boundary, *wanted.shown.values()]
    assert {x.shape for x in images} == {(2, 1, 32, 32)}
    assert all(x.min() >= 0 and x.max() <= 1 for x in images)
    assert wanted.judge_edges.shape == (2,)
    assert wanted.judge_edges.dtype == torch.bool


@pytest.mark.parametrize("method", ["mlb", "imitate"])
def test_a_composite_keeps_its_own_alpha_and_boundary(batch: dict[str, Any], method: str) -> None:
    wanted = targets(Constant(0.4, 0.75), batch, config(method))
    assert torch.equal(wanted.label[1], batch["label"][1] / 255)
    assert torch.equal(wanted.boundary[1], boundary_label(batch["label"][1] / 255))
