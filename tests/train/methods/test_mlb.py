"""Matte Label Blending: the formula, and what a batch is learnt as."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.train.methods.batches import Constant, config, losses_of, targets
from train.methods import mlb

probability = st.floats(0, 1, width=32)
pixels = st.lists(st.tuples(probability, probability, probability), min_size=1, max_size=64)
no_deadline = settings(deadline=None)  # machines differ


def column(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, 1, 1, -1)


def three(rows: list[tuple[float, float, float]]) -> tuple[Tensor, Tensor, Tensor]:
    mask, matte, boundary = zip(*rows, strict=True)
    return column(mask), column(matte), column(boundary)


@no_deadline
@given(pixels)
def test_away_from_the_boundary_the_label_is_the_mask(
    rows: list[tuple[float, float, float]],
) -> None:
    mask, matte, _ = three(rows)
    assert torch.equal(mlb.blend(mask, matte, torch.zeros_like(mask)), mask)


@no_deadline
@given(pixels)
def test_on_the_boundary_the_label_is_the_teachers_matte(
    rows: list[tuple[float, float, float]],
) -> None:
    mask, matte, _ = three(rows)
    assert torch.equal(mlb.blend(mask, matte, torch.ones_like(mask)), matte)


@no_deadline
@given(pixels)
def test_the_label_lies_between_mask_and_matte(rows: list[tuple[float, float, float]]) -> None:
    mask, matte, boundary = three(rows)
    label = mlb.blend(mask, matte, boundary)
    assert (label >= torch.minimum(mask, matte)).all()
    assert (label <= torch.maximum(mask, matte)).all()
    assert label.min() >= 0
    assert label.max() <= 1


@no_deadline
@given(pixels)
def test_the_label_is_the_papers_formula(rows: list[tuple[float, float, float]]) -> None:
    mask, matte, boundary = (x.double() for x in three(rows))
    expected = boundary * matte + (1 - boundary) * mask
    torch.testing.assert_close(mlb.blend(mask, matte, boundary), expected)


def test_a_mask_is_blended_by_what_the_teacher_says_of_the_weak_view(
    batch: dict[str, Any],
) -> None:
    """It is not asked about the composite, which has its alpha."""
    teacher = Constant(matte=0.4, boundary=0.75)
    wanted = targets(teacher, batch, config("mlb"))
    torch.testing.assert_close(teacher.seen, batch["weak"][:1] / 255)
    torch.testing.assert_close(wanted.label[0], 0.75 * 0.4 + 0.25 * batch["label"][0] / 255)
    torch.testing.assert_close(wanted.boundary[0], torch.full((1, 32, 32), 0.75))
    assert wanted.judge_edges.tolist() == [True, True]


def test_near_a_masks_edge_the_teachers_matte_has_what_the_recipe_takes_from_the_mask(
    batch: dict[str, Any],
) -> None:
    batch["label"][0] = 0
    batch["label"][0, :, :, 16:] = 255
    c = replace(config(), mask_edge=0.25)
    wanted = targets(Constant(matte=0.5, boundary=1e-6), batch, c).label[0, 0]
    torch.testing.assert_close(wanted[:, :13], torch.zeros(32, 13), atol=1e-5, rtol=0)
    torch.testing.assert_close(wanted[:, 13:16], torch.full((32, 3), 0.75 * 0.5))
    torch.testing.assert_close(wanted[:, 16:19], torch.full((32, 3), 0.25 + 0.75 * 0.5))
    torch.testing.assert_close(wanted[:, 19:], torch.ones(32, 13), atol=1e-5, rtol=0)
    certain = targets(Constant(matte=0.5, boundary=1 - 1e-6), batch, c).label[0, 0]
    torch.testing.assert_close(certain, torch.full((32, 32), 0.5), atol=1e-5, rtol=0)


def test_of_a_fine_label_the_teacher_has_what_may_not_teach(batch: dict[str, Any]) -> None:
    weight = torch.full((2, 1, 32, 32), 255, dtype=torch.uint8)
    weight[:, :, :8] = 0
    given = batch | {"weight": weight, "has_alpha": torch.tensor([True, True])}
    wanted = targets(Constant(matte=0.4, boundary=0.75), given, config("mlb"))
    assert wanted.pixel_weight is None
    torch.testing.assert_close(wanted.label[:, :, :8], torch.full((2, 1, 8, 32), 0.4))
    torch.testing.assert_close(wanted.boundary[:, :, :8], torch.full((2, 1, 8, 32), 0.75))
    assert torch.equal(wanted.label[:, :, 8:], batch["label"][:, :, 8:] / 255)
    assert set(wanted.boundary[:, :, 8:].unique().tolist()) <= {0.0, 1.0}


def test_composites_alone_need_no_teacher(batch: dict[str, Any]) -> None:
    teacher = Constant(matte=0.4, boundary=0.75)
    wanted = targets(teacher, batch | {"has_alpha": torch.tensor([True, True])}, config("mlb"))
    assert torch.equal(wanted.label, batch["label"] / 255)
    assert not hasattr(teacher, "seen")


def test_the_teacher_is_not_taught(batch: dict[str, Any]) -> None:
    teacher, student = Constant(0.4, 0.75), Constant(0.6, 0.5)
    losses_of(student, teacher, batch, config())["total"].backward()
    assert teacher.said.grad is None
    assert student.said.grad is not None
    assert student.said.grad.abs().min() > 0
    wanted = targets(teacher, batch, replace(config(), loss={"context": 1.0}))
    tensors = [wanted.label, wanted.boundary, wanted.features, *wanted.shown.values()]
    assert len(tensors) == 5
    for tensor in tensors:
        assert tensor is not None
        assert not tensor.requires_grad


def test_the_student_sees_the_strong_view(batch: dict[str, Any]) -> None:
    student = Constant(0.6, 0.5)
    losses_of(student, Constant(0.4, 0.75), batch, config())
    torch.testing.assert_close(student.seen, batch["image"] / 255)


def test_features_are_compared_with_the_teachers_of_the_weak_view(batch: dict[str, Any]) -> None:
    """Cosine 1 for features of one sign, whatever their size."""
    teacher, student = Constant(0.9, 0.75), Constant(0.6, 0.5)
    c = replace(config(), loss={"context": 2.0})
    wanted = targets(teacher, batch, c)
    assert wanted.features is not None
    torch.testing.assert_close(wanted.features, 2 * teacher.said[0].expand(2, 4, 32, 32))
    losses = losses_of(student, teacher, batch, c)
    assert losses["context"].item() == pytest.approx(0, abs=1e-6)
    losses = losses_of(Constant(0.4, 0.5), teacher, batch, c)
    assert losses["total"].item() == pytest.approx(4)
