from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from operator import itemgetter
from typing import Any

import pytest
import torch
from torch import Tensor

from engines.errors import UsageError
from train import losses
from train.config import LOSSES
from train.methods.method import edge_weight
from train.networks.network import Prediction, Targets

Term = Callable[[Tensor, Tensor], Tensor]
OF_MATTES = [losses.mse, losses.l1, losses.gradient, losses.laplacian_pyramid]
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


@pytest.mark.parametrize("term", OF_MATTES)
@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 64, 96), (2, 1, 128, 32)])
def test_a_matte_against_itself_costs_nothing(term: Term, shape: tuple[int, ...]) -> None:
    alpha = torch.rand(shape)
    assert torch.equal(term(alpha, alpha), torch.zeros(shape[0]))


@pytest.mark.parametrize("term", OF_MATTES)
def test_anything_else_costs_something_of_each_sample(term: Term) -> None:
    alpha = torch.rand(2, 1, 32, 32)
    other = alpha.clone()
    other[1, 0, 10, 20] += 0.5
    cost = term(other, alpha)
    assert cost.shape == (2,)
    assert cost[0] == 0
    assert cost[1] > 0


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 64, 96)])
def test_cross_entropy_is_least_where_logits_and_label_agree(shape: tuple[int, ...]) -> None:
    """The minimum is the entropy of the label, not zero."""
    label = torch.rand(shape).clamp(0.01, 0.99)
    logits = torch.logit(label)
    entropy = -(label * label.log() + (1 - label) * (1 - label).log())
    torch.testing.assert_close(losses.bce(logits, label), entropy.flatten(1).mean(1))
    for shift in (-0.1, 0.1):
        assert (losses.bce(logits + shift, label) > losses.bce(logits, label)).all()


@pytest.mark.parametrize("term", [*OF_MATTES, losses.bce])
def test_gradients_are_right(term: Term) -> None:
    torch.manual_seed(0)
    matte = torch.rand(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    alpha = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: term(m, alpha), (matte,), fast_mode=True)


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
        return losses.matting_losses(given, targets, EVERY)["total"]

    assert torch.autograd.gradcheck(total, logits, fast_mode=True)


def test_values_by_hand() -> None:
    matte, alpha = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    alpha[..., 16:] = 0.5
    assert losses.l1(matte, alpha).item() == 0.25
    assert losses.mse(matte, alpha).item() == 0.125
    assert losses.gradient(matte, alpha).item() == pytest.approx(0.5 / 31)
    assert losses.gradient(matte, alpha.mT).item() == pytest.approx(0.5 / 31)
    assert losses.bce(matte, alpha).item() == pytest.approx(math.log(2))
    flat = torch.ones(1, 1, 32, 32)  # a constant difference lives in no band of the pyramid
    assert losses.laplacian_pyramid(matte, flat).item() == pytest.approx(0, abs=1e-6)


def test_features_are_compared_by_direction_on_the_coarser_grid() -> None:
    theirs = torch.zeros(2, 3, 2, 2)
    theirs[:, 0] = 5  # one direction everywhere
    ours = torch.zeros(2, 3, 4, 4)
    ours[0, 0] = 0.1  # the same, of another size
    ours[1, 0, ::2] = ours[1, 1, 1::2] = 1  # on average half of it another direction
    expected = [0, 1 - 0.5**0.5]
    for pair in ((ours, theirs), (theirs, ours)):
        assert losses.context(*pair).tolist() == pytest.approx(expected, abs=1e-6)


def test_the_pyramid_minds_broad_differences_more_than_fine_ones() -> None:
    """Differences of the same size everywhere; level k weighs 2^k."""
    grey, columns = torch.full((1, 1, 64, 64), 0.5), torch.arange(64)
    costs = [
        losses.laplacian_pyramid((columns // width % 2).float().expand_as(grey), grey).item()
        for width in (1, 4, 16)
    ]
    assert costs[0] < costs[1] < costs[2]


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_terms_that_are_named_are_computed(name: str) -> None:
    alone = losses.matting_losses(*batch(4), weights={name: EVERY[name]})
    assert list(alone) == [name, "total"]
    assert alone["total"] == alone[name] > 0
    among = losses.matting_losses(*batch(4), weights=EVERY)
    assert set(among) == {*LOSSES, "total"}
    torch.testing.assert_close(among[name], alone[name])


def test_a_term_left_out_may_be_impossible() -> None:
    """A pyramid has no five levels on eight pixels; nobody asked for one."""
    assert losses.matting_losses(*batch(2, side=8), weights={"l1": 1.0})["total"] > 0


def test_the_total_is_the_sum_of_weighted_terms() -> None:
    one = losses.matting_losses(*batch(4), weights=dict.fromkeys(LOSSES, 1.0))
    weighted = losses.matting_losses(*batch(4), weights=EVERY)
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
            parts.append(losses.matting_losses(part[0], part[1], EVERY))
        all_of_it = losses.matting_losses(prediction, targets, EVERY)
        for name, value in all_of_it.items():
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_terms_of_edges_leave_coarse_masks_alone() -> None:
    """Gradient, pyramid and boundary terms count as zero where the label is a mask."""
    prediction, targets = batch(2)
    both = losses.matting_losses(prediction, targets, EVERY)
    alone = [every(x, lambda v: v[:1]) for x in (prediction, targets)]
    first = losses.matting_losses(alone[0], alone[1], EVERY)
    coarse = replace(targets, judge_edges=torch.tensor([False, False]))
    none = losses.matting_losses(prediction, coarse, EVERY)
    edges = "gradient", "laplacian", "boundary"
    for name in edges:
        torch.testing.assert_close(both[name], first[name] / 2)
        assert none[name] == 0
    assert {"mse", "l1", "bce", "context"} <= {*EVERY} - {*edges}
    torch.testing.assert_close(none["total"], sum(none[n] for n in {*EVERY} - {*edges}))


@pytest.mark.parametrize("term", ["boundary", "context"])
def test_a_term_of_what_is_not_predicted_is_named(term: str) -> None:
    prediction, targets = batch(1)
    with pytest.raises(UsageError, match=f"`{term}`.*; take it out of the recipe"):
        losses.matting_losses(Prediction(prediction.matte), targets, {term: 1.0})


def test_a_network_adds_losses_of_its_own() -> None:
    own = {"semantic": torch.tensor(2.0)}
    alone = losses.matting_losses(*batch(2), weights={"l1": 1.0})
    both = losses.matting_losses(*batch(2), weights={"l1": 1.0}, side_losses=own)
    assert list(both) == ["l1", "semantic", "total"]
    assert both["total"] == alone["total"] + 2


def test_every_loss_of_a_recipe_has_its_function() -> None:
    assert tuple(losses.TERMS) == LOSSES
    assert set(LOSSES) >= losses.NEEDS_TEACHER


def test_a_loss_that_needs_a_teacher_is_refused_without_one() -> None:
    losses.check_terms({"context": 1.0}, has_teacher=True)
    with pytest.raises(UsageError, match="the loss `context` needs a teacher"):
        losses.check_terms({"l1": 1.0, "context": 1.0}, has_teacher=False)
