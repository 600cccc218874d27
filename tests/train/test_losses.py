from __future__ import annotations

import pytest
import torch

from train import losses


@pytest.mark.parametrize("term", [losses.l1, losses.gradient, losses.laplacian_pyramid])
@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 64, 96)])
def test_a_matte_against_itself_costs_nothing(term, shape: tuple[int, ...]) -> None:
    alpha = torch.rand(shape)
    assert torch.equal(term(alpha, alpha), torch.zeros(shape[0]))


@pytest.mark.parametrize("term", [losses.l1, losses.gradient, losses.laplacian_pyramid])
def test_gradients_are_right(term) -> None:
    torch.manual_seed(0)
    matte = torch.rand(1, 1, 32, 32, dtype=torch.float64, requires_grad=True)
    alpha = torch.rand(1, 1, 32, 32, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda m: term(m, alpha), (matte,), fast_mode=True)


def test_values_by_hand() -> None:
    matte, alpha = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    alpha[..., 16:] = 1
    assert losses.l1(matte, alpha).item() == 0.5
    assert losses.gradient(matte, alpha).item() == pytest.approx(1 / 31)
    flat = torch.ones(1, 1, 32, 32)  # a constant difference lives in no band of the pyramid
    assert losses.laplacian_pyramid(matte, flat).item() == pytest.approx(0, abs=1e-6)


def test_boundary_label_is_the_open_interval_of_the_paper() -> None:
    alpha = torch.tensor([0.0, 0.05, 0.06, 0.5, 0.94, 0.95, 1.0])
    assert losses.boundary_label(alpha).tolist() == [0, 0, 1, 1, 1, 0, 0]


def test_terms_of_edges_leave_coarse_masks_alone() -> None:
    """Gradient, pyramid and boundary terms are those of the fine samples only."""
    torch.manual_seed(0)
    logits, boundary = torch.randn(2, 1, 32, 32), torch.randn(2, 1, 32, 32)
    label = (torch.rand(2, 1, 32, 32) > 0.5).float()
    both = losses.matting_losses(logits, boundary, label, torch.tensor([True, False]), 0.01)
    first = losses.matting_losses(logits[:1], boundary[:1], label[:1], torch.tensor([True]), 0.01)
    none = losses.matting_losses(logits, boundary, label, torch.tensor([False, False]), 0.01)
    for name in ("gradient", "laplacian", "boundary"):
        torch.testing.assert_close(both[name], first[name])
        assert none[name] == 0
    assert none["total"] == none["l1"] + none["bce"] > 0
