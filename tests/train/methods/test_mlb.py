from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from train.config import Config, Stage
from train.methods import mlb
from train.methods.method import step_losses, targets

CPU = torch.device("cpu")
probability = st.floats(0, 1, width=32)
pixels = st.lists(st.tuples(probability, probability, probability), min_size=1, max_size=64)
no_deadline = settings(deadline=None)  # machines differ


def column(values: list[float]) -> Tensor:
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


def test_the_ends_of_the_interval_are_no_boundary() -> None:
    alpha = torch.tensor([0.0, 0.05, 0.06, 0.5, 0.94, 0.95, 1.0])
    assert mlb.boundary_label(alpha).tolist() == [0, 0, 1, 1, 1, 0, 0]
    every_byte = torch.arange(256) / 255
    (inside,) = mlb.boundary_label(every_byte).nonzero(as_tuple=True)
    assert (int(inside[0]), int(inside[-1])) == (13, 242)


# ---- what a batch is to be learnt as


class Teacher(nn.Module):
    """A network that says the same of every image: logits of what it is given."""

    def __init__(self, matte: float, boundary: float):
        super().__init__()
        self.said = nn.Parameter(torch.logit(torch.tensor([matte, boundary])))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.seen = frames
        matte, boundary = (x.expand(len(frames), 1, *frames.shape[2:]) for x in self.said)
        return matte, boundary, 2 * matte.expand(-1, 4, -1, -1)


def config(labels: str = "blended") -> Config:
    loss = {"l1": 1.0, "boundary": 0.01}
    return Config("student", "r18x0.25", (Stage(1, 2, (32,)),), loss, 1e-4, labels=labels)


@pytest.fixture
def batch() -> dict[str, Any]:
    """A photograph with a coarse mask, and a composite with its alpha."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (2, 2, 3, 32, 32), generator=generator, dtype=torch.uint8)
    label = torch.randint(0, 256, (2, 1, 32, 32), generator=generator, dtype=torch.uint8)
    label[0] = (label[0] > 127) * 255
    return {
        "image": images[0],
        "weak": images[1],
        "label": label,
        "fine": torch.tensor([False, True]),
        "name": ["photo.jpg", "composite"],
    }


def test_without_a_teacher_labels_are_learnt_as_they_are(batch: dict[str, Any]) -> None:
    wanted = targets(None, batch, config(), CPU)
    assert torch.equal(wanted.label, batch["label"] / 255)
    assert torch.equal(wanted.boundary, mlb.boundary_label(wanted.label))
    assert not wanted.boundary[0].any()
    assert wanted.boundary[1].any()
    assert wanted.fine.tolist() == [False, True]


def test_a_mask_is_blended_by_what_the_teacher_says_of_the_weak_view(
    batch: dict[str, Any],
) -> None:
    teacher = Teacher(matte=0.4, boundary=0.75)
    wanted = targets(teacher, batch, config("blended"), CPU)
    torch.testing.assert_close(teacher.seen, batch["weak"] / 255)
    torch.testing.assert_close(wanted.label[0], 0.75 * 0.4 + 0.25 * batch["label"][0] / 255)
    torch.testing.assert_close(wanted.boundary[0], torch.full((1, 32, 32), 0.75))
    assert wanted.fine.tolist() == [True, True]


def test_near_a_masks_edge_the_teachers_matte_has_what_the_recipe_takes_from_the_mask(
    batch: dict[str, Any],
) -> None:
    batch["label"][0] = 0
    batch["label"][0, :, :, 16:] = 255
    c = replace(config(), mask_edge=0.25)
    wanted = targets(Teacher(matte=0.5, boundary=1e-6), batch, c, CPU).label[0, 0]
    torch.testing.assert_close(wanted[:, :13], torch.zeros(32, 13), atol=1e-5, rtol=0)
    torch.testing.assert_close(wanted[:, 13:16], torch.full((32, 3), 0.75 * 0.5))
    torch.testing.assert_close(wanted[:, 16:19], torch.full((32, 3), 0.25 + 0.75 * 0.5))
    torch.testing.assert_close(wanted[:, 19:], torch.ones(32, 13), atol=1e-5, rtol=0)
    certain = targets(Teacher(matte=0.5, boundary=1 - 1e-6), batch, c, CPU).label[0, 0]
    torch.testing.assert_close(certain, torch.full((32, 32), 0.5), atol=1e-5, rtol=0)


def test_for_comparison_the_teachers_matte_alone(batch: dict[str, Any]) -> None:
    wanted = targets(Teacher(matte=0.4, boundary=0.75), batch, config("teacher"), CPU)
    torch.testing.assert_close(wanted.label[0], torch.full((1, 32, 32), 0.4))
    torch.testing.assert_close(wanted.boundary[0], torch.full((1, 32, 32), 0.75))


@pytest.mark.parametrize("labels", ["blended", "teacher"])
def test_a_composite_keeps_its_own_alpha_and_boundary(batch: dict[str, Any], labels: str) -> None:
    wanted = targets(Teacher(0.4, 0.75), batch, config(labels), CPU)
    assert torch.equal(wanted.label[1], batch["label"][1] / 255)
    assert torch.equal(wanted.boundary[1], mlb.boundary_label(batch["label"][1] / 255))


def test_the_teacher_is_not_taught(batch: dict[str, Any]) -> None:
    teacher, student = Teacher(0.4, 0.75), Teacher(0.6, 0.5)
    step_losses(student, teacher, batch, config(), CPU)["total"].backward()
    assert teacher.said.grad is None
    assert student.said.grad is not None
    assert student.said.grad.abs().min() > 0
    wanted = targets(teacher, batch, config(), CPU)
    for tensor in vars(wanted).values():
        assert not tensor.requires_grad


def test_the_student_sees_the_strong_view(batch: dict[str, Any]) -> None:
    student = Teacher(0.6, 0.5)
    step_losses(student, Teacher(0.4, 0.75), batch, config(), CPU)
    torch.testing.assert_close(student.seen, batch["image"] / 255)


def test_features_are_compared_with_the_teachers_of_the_weak_view(batch: dict[str, Any]) -> None:
    """Cosine 1 for features of one sign, whatever their size."""
    teacher, student = Teacher(0.9, 0.75), Teacher(0.6, 0.5)
    c = replace(config(), loss={"context": 2.0})
    wanted = targets(teacher, batch, c, CPU)
    assert wanted.context is not None
    torch.testing.assert_close(wanted.context, 2 * teacher.said[0].expand(2, 4, 32, 32))
    losses = step_losses(student, teacher, batch, c, CPU)
    assert losses["context"].item() == pytest.approx(0, abs=1e-6)
    losses = step_losses(Teacher(0.4, 0.5), teacher, batch, c, CPU)
    assert losses["total"].item() == pytest.approx(4)
