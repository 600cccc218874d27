from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor

from engines.errors import UsageError
from train import objective
from train.config import LOSSES
from train.methods.method import edge_weight
from train.networks.network import Prediction, Targets

EVERY = {name: 0.5 + i for i, name in enumerate(LOSSES)}


def batch(n: int, side: int = 32) -> tuple[Prediction, Targets]:
    """Logits, soft labels, and samples with and without edges to judge in turn."""
    rng = torch.Generator().manual_seed(n)
    shape = (n, 1, side, side)
    prediction = Prediction(
        torch.randn(shape, generator=rng),
        torch.randn(shape, generator=rng),
        torch.rand((n, 3, 8, 8), generator=rng),
    )
    return prediction, Targets(
        torch.rand(shape, generator=rng),
        torch.rand(shape, generator=rng),
        torch.arange(n) % 2 == 0,
        features=torch.rand((n, 3, 4, 4), generator=rng),
    )


def every(x: Prediction | Targets, change: Callable[[Tensor], Tensor]) -> Any:
    """Return `x` with every tensor changed."""
    values = x._asdict() if isinstance(x, Prediction) else vars(x)
    new = {k: change(v) if isinstance(v, Tensor) else v for k, v in values.items()}
    return type(x)(**new)


def at_edges(targets: Targets, weight: float) -> Targets:
    """Return the targets with pixels at edges of samples that have none to judge weighted so."""
    pixels = edge_weight(targets.label, weight)
    exact = targets.judge_edges.view(-1, 1, 1, 1)
    return replace(targets, pixel_weight=torch.where(exact, torch.ones_like(pixels), pixels))


@pytest.mark.parametrize("mask_edge", [1.0, 0.25])
def test_gradients_of_a_whole_step_are_right(mask_edge: float) -> None:
    """Check the logits of matte and boundary, through all terms at once."""
    prediction, targets = (
        every(x, lambda v: v.double() if v.is_floating_point() else v) for x in batch(2)
    )
    targets.label[1] = (targets.label[1] > 0.5).double()
    targets = at_edges(targets, mask_edge)
    logits = [x.requires_grad_() for x in prediction[:2]]

    def total(matte: Tensor, boundary: Tensor) -> Tensor:
        given = Prediction(matte, boundary, prediction.features)
        return objective.matting_losses(given, targets, EVERY)["total"]

    assert torch.autograd.gradcheck(total, logits, fast_mode=True)


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_terms_that_are_named_are_computed(name: str) -> None:
    alone = objective.matting_losses(*batch(4), weights={name: EVERY[name]})
    assert list(alone) == [name, "total"]
    assert alone["total"] == alone[name] > 0
    among = objective.matting_losses(*batch(4), weights=EVERY)
    assert set(among) == {*LOSSES, "total"}
    torch.testing.assert_close(among[name], alone[name])


def test_a_term_left_out_may_be_impossible() -> None:
    """A pyramid has no five levels on eight pixels; nobody asked for one."""
    assert objective.matting_losses(*batch(2, side=8), weights={"l1": 1.0})["total"] > 0


def test_the_total_is_the_sum_of_weighted_terms() -> None:
    one = objective.matting_losses(*batch(4), weights=dict.fromkeys(LOSSES, 1.0))
    weighted = objective.matting_losses(*batch(4), weights=EVERY)
    for name, weight in EVERY.items():
        torch.testing.assert_close(weighted[name], weight * one[name])
    total = sum(weight * one[name] for name, weight in EVERY.items())
    torch.testing.assert_close(weighted["total"], total)


@pytest.mark.parametrize("mask_edge", [1.0, 0.25])
def test_halves_of_a_batch_average_to_the_whole(mask_edge: float) -> None:
    """Split as processes do: samples with edges to judge in one half, or in both."""
    prediction, targets = batch(8)
    targets.label[1::2] = (targets.label[1::2] > 0.5).float()
    targets = at_edges(targets, mask_edge)
    for start, step in ((0, 1), (0, 2)):
        parts = []
        for rank in range(2):
            rows = slice(rank * 4, rank * 4 + 4) if step == 1 else slice(start + rank, None, 2)
            part = [every(x, itemgetter(rows)) for x in (prediction, targets)]
            parts.append(objective.matting_losses(part[0], part[1], EVERY))
        all_of_it = objective.matting_losses(prediction, targets, EVERY)
        for name, value in all_of_it.items():
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_terms_of_edges_leave_coarse_masks_alone() -> None:
    """Gradient, pyramid and boundary terms count as zero where the label is a mask."""
    prediction, targets = batch(2)
    both = objective.matting_losses(prediction, targets, EVERY)
    alone = [every(x, lambda v: v[:1]) for x in (prediction, targets)]
    first = objective.matting_losses(alone[0], alone[1], EVERY)
    coarse = replace(targets, judge_edges=torch.tensor([False, False]))
    none = objective.matting_losses(prediction, coarse, EVERY)
    edges = "gradient", "laplacian", "boundary"
    for name in edges:
        torch.testing.assert_close(both[name], first[name] / 2)
        assert none[name] == 0
    assert {"mse", "l1", "bce", "context"} <= {*EVERY} - {*edges}
    torch.testing.assert_close(none["total"], sum(none[n] for n in {*EVERY} - {*edges}))


@pytest.mark.parametrize("name", [name for name in LOSSES if name != "context"])
def test_a_pixel_without_weight_teaches_nothing(name: str) -> None:
    prediction, targets = batch(2)
    weight = torch.ones_like(targets.label)
    weight[..., 20:] = 0
    weighted = replace(targets, pixel_weight=weight)

    def loss(of: Targets) -> Tensor:
        return objective.matting_losses(prediction, of, {name: 1.0})["total"]

    spoilt = {
        key: torch.where(weight > 0, getattr(targets, key), 0.0) for key in ("label", "boundary")
    }
    assert loss(replace(weighted, **spoilt)) == loss(weighted)
    assert loss(replace(targets, **spoilt)) != loss(targets)
    assert loss(weighted) != loss(targets)
    everything = replace(targets, pixel_weight=torch.ones_like(weight))
    torch.testing.assert_close(loss(everything), loss(targets))
    nothing = replace(targets, pixel_weight=torch.zeros_like(weight))
    assert loss(nothing) == 0


@pytest.mark.parametrize("term", ["boundary", "context"])
def test_a_term_of_what_is_not_predicted_is_named(term: str) -> None:
    prediction, targets = batch(1)
    with pytest.raises(UsageError, match=f"`{term}`.*; take it out of the recipe"):
        objective.matting_losses(Prediction(prediction.matte), targets, {term: 1.0})


def test_a_networks_own_losses_take_the_place_of_the_recipes() -> None:
    own = {"semantic": torch.tensor(2.0), "detail": torch.tensor(0.5)}
    found = objective.matting_losses(*batch(2), weights={"l1": 1.0}, own=own)
    assert list(found) == ["semantic", "detail", "total"]
    assert found["total"] == 2.5


def test_an_alpha_is_judged_as_it_is() -> None:
    """Outside [0, 1] too, where it must be pulled back; only the cross-entropy limits it."""
    prediction, targets = batch(2)
    alpha = (prediction.matte.sigmoid() * 3 - 1).requires_grad_()
    for name in ("mse", "l1"):
        given = Prediction(alpha, is_alpha=True)
        loss = objective.matting_losses(given, targets, {name: 1.0})["total"]
        assert (torch.autograd.grad(loss, alpha)[0] != 0).all()
    inside = prediction.matte.clamp(-5, 5)
    same = Prediction(inside.sigmoid(), is_alpha=True)
    for name in ("mse", "l1", "bce", "gradient", "laplacian"):
        torch.testing.assert_close(
            objective.matting_losses(same, targets, {name: 1.0}),
            objective.matting_losses(Prediction(inside), targets, {name: 1.0}),
        )


def test_every_loss_of_a_recipe_has_its_function() -> None:
    assert tuple(objective.TERMS) == LOSSES
    assert set(LOSSES) >= objective.NEEDS_TEACHER


def test_a_loss_that_needs_a_teacher_is_refused_without_one() -> None:
    objective.check_terms({"context": 1.0}, has_teacher=True)
    with pytest.raises(UsageError, match="the loss `context` needs a teacher"):
        objective.check_terms({"l1": 1.0, "context": 1.0}, has_teacher=False)
