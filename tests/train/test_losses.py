from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from train import losses

Term = Callable[[Tensor, Tensor], Tensor]
OF_MATTES = [losses.mse, losses.l1, losses.gradient, losses.laplacian_pyramid]


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


def test_a_charbonnier_loss_is_absolute_but_for_small_differences() -> None:
    matte, alpha = torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)
    alpha[..., 2:] = 0.5
    weight = torch.zeros_like(alpha)
    weight[..., 2:] = 1
    assert losses.charbonnier(matte, alpha).item() == pytest.approx(0.25, abs=1e-5)
    assert losses.charbonnier(matte, alpha, weight).item() == pytest.approx(0.5, abs=1e-5)
    assert losses.charbonnier(matte, matte, epsilon=1e-3).item() == pytest.approx(1e-3)
    flat = matte.clone().requires_grad_()
    losses.charbonnier(flat, alpha).sum().backward()
    assert flat.grad is not None
    assert flat.grad.isfinite().all()


def test_an_even_pyramid_weighs_all_levels_alike() -> None:
    """The weights of the other are 1/5, 2/5 … 16/5, so that it costs between a fifth and 16/5."""
    torch.manual_seed(0)
    matte, alpha = torch.rand(2, 2, 1, 64, 64)
    uneven, even = (losses.laplacian_pyramid(matte, alpha, even=e) for e in (False, True))
    assert (even / 5 < uneven).all()
    assert (uneven < even * 16 / 5).all()
    assert torch.equal(
        losses.laplacian_pyramid(matte, alpha, 1), losses.laplacian_pyramid(matte, alpha, 1, True)
    )
