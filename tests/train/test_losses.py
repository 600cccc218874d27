from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from train import losses
from train.config import LOSSES

Term = Callable[[Tensor, Tensor], Tensor]
OF_MATTES = [losses.mse, losses.l1, losses.gradient, losses.laplacian_pyramid]
EVERY = {name: 0.5 + i for i, name in enumerate(LOSSES)}


def batch(n: int, side: int = 32) -> dict[str, Tensor]:
    """Logits of a network, soft labels, and fine and coarse samples by turns."""
    rng = torch.Generator().manual_seed(n)
    shape = (n, 1, side, side)
    return {
        "matte": torch.randn(shape, generator=rng),
        "boundary": torch.randn(shape, generator=rng),
        "label": torch.rand(shape, generator=rng),
        "boundary_label": torch.rand(shape, generator=rng),
        "fine": torch.arange(n) % 2 == 0,
        "features": torch.rand((n, 3, 8, 8), generator=rng),
        "of_teacher": torch.rand((n, 3, 4, 4), generator=rng),
    }


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
    """Its minimum is the label's own entropy, not zero."""
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
    """Of the matte's and of the boundary's logits, through every term at once."""
    b = {k: v.double() if k != "fine" else v for k, v in batch(2).items()}
    b["label"][1] = (b["label"][1] > 0.5).double()
    logits = [b.pop(k).requires_grad_() for k in ("matte", "boundary")]

    def total(matte: Tensor, boundary: Tensor) -> Tensor:
        return losses.matting_losses(matte, boundary, **b, weights=EVERY, mask_edge=mask_edge)[
            "total"
        ]

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
    """Of the same size everywhere; level k weighs 2^k."""
    grey, columns = torch.full((1, 1, 64, 64), 0.5), torch.arange(64)
    costs = [
        losses.laplacian_pyramid((columns // width % 2).float().expand_as(grey), grey).item()
        for width in (1, 4, 16)
    ]
    assert costs[0] < costs[1] < costs[2]


def test_near_a_masks_edge_pixels_weigh_less() -> None:
    """Three pixels to each side of it."""
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 16:] = 1
    row = losses.edge_weight(mask, 0.25)[0, 0, 7].tolist()
    assert row == [1.0] * 13 + [0.25] * 6 + [1.0] * 13
    assert torch.equal(losses.edge_weight(mask, 1.0), torch.ones_like(mask))


@pytest.mark.parametrize("name", ["mse", "l1", "bce"])
def test_weighted_means_by_hand(name: str) -> None:
    """A coarse mask that is wrong by 1 / 2 at its edge alone; a fine label has no such edge."""
    label = torch.zeros(2, 1, 32, 32)
    label[..., 16:] = 1
    logits = torch.where(label > 0, 40.0, -40.0)  # right, as far as float32 goes
    logits[..., 13:19] = 0.0
    wrong = {"mse": 0.25, "l1": 0.5, "bce": math.log(2)}[name]
    fine = torch.tensor([False, True])
    cost = losses.matting_losses(logits, logits, label, label, fine, {name: 1.0}, 0.25)[name]
    coarse = wrong * (6 * 0.25) / (26 + 6 * 0.25)
    assert cost.item() == pytest.approx((coarse + wrong * 6 / 32) / 2, rel=1e-5)


def test_a_mask_that_is_all_edge_is_no_division_by_zero() -> None:
    label = (torch.rand(1, 1, 32, 32) > 0.5).float()
    coarse = torch.tensor([False])
    cost = losses.matting_losses(label, label, label, label, coarse, {"l1": 1.0}, mask_edge=0.0)
    assert cost["l1"].isfinite()


@pytest.mark.parametrize("name", LOSSES)
def test_only_the_terms_that_are_named_are_computed(name: str) -> None:
    alone = losses.matting_losses(**batch(4), weights={name: EVERY[name]})
    assert list(alone) == [name, "total"]
    assert alone["total"] == alone[name] > 0
    among = losses.matting_losses(**batch(4), weights=EVERY)
    assert set(among) == {*LOSSES, "total"}
    torch.testing.assert_close(among[name], alone[name])


def test_a_term_left_out_may_be_impossible() -> None:
    """A pyramid has no five levels on eight pixels; nobody asked for one."""
    assert losses.matting_losses(**batch(2, side=8), weights={"l1": 1.0})["total"] > 0


def test_the_total_is_the_sum_of_weighted_terms() -> None:
    one = losses.matting_losses(**batch(4), weights=dict.fromkeys(LOSSES, 1.0))
    weighted = losses.matting_losses(**batch(4), weights=EVERY)
    for name, weight in EVERY.items():
        torch.testing.assert_close(weighted[name], weight * one[name])
    total = sum(weight * one[name] for name, weight in EVERY.items())
    torch.testing.assert_close(weighted["total"], total)


@pytest.mark.parametrize("mask_edge", [1.0, 0.25])
def test_halves_of_a_batch_average_to_the_whole(mask_edge: float) -> None:
    """As processes share it: the fine samples all in one half, or spread over both."""
    whole = batch(8)
    whole["label"][1::2] = (whole["label"][1::2] > 0.5).float()
    for start, step in ((0, 1), (0, 2)):
        parts = []
        for rank in range(2):
            rows = slice(rank * 4, rank * 4 + 4) if step == 1 else slice(start + rank, None, 2)
            part = {k: v[rows] for k, v in whole.items()}
            parts.append(losses.matting_losses(**part, weights=EVERY, mask_edge=mask_edge))
        all_of_it = losses.matting_losses(**whole, weights=EVERY, mask_edge=mask_edge)
        for name, value in all_of_it.items():
            torch.testing.assert_close((parts[0][name] + parts[1][name]) / 2, value)


def test_terms_of_edges_leave_coarse_masks_alone() -> None:
    """Gradient, pyramid and boundary terms count as zero where the label is a mask."""
    b = batch(2)
    both = losses.matting_losses(**b, weights=EVERY)
    first = losses.matting_losses(**{k: v[:1] for k, v in b.items()}, weights=EVERY)
    none = losses.matting_losses(**b | {"fine": torch.tensor([False, False])}, weights=EVERY)
    for name in ("gradient", "laplacian", "boundary"):
        torch.testing.assert_close(both[name], first[name] / 2)
        assert none[name] == 0
    torch.testing.assert_close(none["total"], sum(none[n] for n in ("mse", "l1", "bce", "context")))
