from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from train.losses import laplacian_pyramid
from train.networks.network import Targets
from train.networks.transition import BACKGROUND, PERSON, UNKNOWN, Trimap, widened


def targets(label: torch.Tensor, boundary: torch.Tensor | None = None, *judged: bool) -> Targets:
    flags = torch.tensor(judged or (True,) * len(label))
    return Targets(label, torch.zeros_like(label) if boundary is None else boundary, flags)


@pytest.mark.parametrize("diameter", [1, 5, 9, 15])
def test_widening_is_a_dilation_by_a_disc(diameter: int) -> None:
    rng = np.random.default_rng(0)
    region = (rng.random((40, 50)) > 0.99).astype(np.uint8)
    r = diameter // 2
    y, x = np.mgrid[-r : r + 1, -r : r + 1]
    disc = (x * x + y * y <= r * r).astype(np.uint8)
    expected = cv2.dilate(region, disc, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    found = widened(torch.from_numpy(region).float()[None, None], diameter)
    assert np.array_equal(found[0, 0].numpy(), expected)


@pytest.mark.parametrize(("side", "reach"), [(128, 2), (256, 4), (512, 7)])
def test_the_edge_of_a_mask_is_unknown_as_wide_as_the_crop_is_large(side: int, reach: int) -> None:
    label = torch.zeros(1, 1, side, side)
    label[..., side // 2 :] = 1
    trimap = Trimap.of(targets(label))
    edge = side // 2
    row = trimap.classes[0, side // 2]
    assert (row == UNKNOWN).nonzero().flatten().tolist() == list(
        range(edge - 1 - reach, edge + 1 + reach)
    )
    assert (row[: edge - 1 - reach] == BACKGROUND).all()
    assert (row[edge + 1 + reach :] == PERSON).all()
    assert torch.equal(trimap.unknown[:, 0] > 0, trimap.classes == UNKNOWN)


def test_soft_labels_and_a_teachers_boundary_are_unknown() -> None:
    label, boundary = torch.ones(2, 1, 64, 64), torch.zeros(2, 1, 64, 64)
    label[0, 0, 20, 20] = 0.5
    label[0, 0, 40, 40] = 0.97
    boundary[1, 0, 30, 10] = 0.6
    boundary[1, 0, 50, 50] = 0.4
    trimap = Trimap.of(targets(label, boundary))
    cross = [(-1, 0), (0, -1), (0, 0), (0, 1), (1, 0)]
    for n, (y, x) in enumerate([(20, 20), (30, 10)]):
        found = (trimap.classes[n] == UNKNOWN).nonzero().tolist()
        assert found == [[y + dy, x + dx] for dy, dx in cross]


def test_means_inside_leave_coarse_masks_out() -> None:
    label = torch.zeros(2, 1, 64, 64)
    label[..., 32:] = 1
    values = torch.full_like(label, 3.0)
    assert Trimap.of(targets(label)).mean_inside(values) == 3
    assert Trimap.of(targets(label, None, True, False)).mean_inside(values) == 1.5
    assert Trimap.of(targets(label, None, False, False)).mean_inside(values) == 0
    nobody = Trimap.of(targets(torch.zeros(1, 1, 64, 64)))
    assert nobody.mean_inside(values[:1]) == 0
    assert (
        nobody.cross_entropy(torch.tensor([9.0, 0, 0]).view(1, 3, 1, 1).expand(1, 3, 64, 64)) < 1e-3
    )


def test_means_weigh_pixels_by_what_they_may_teach() -> None:
    label = torch.zeros(1, 1, 64, 64)
    label[..., 32:] = 1
    weight = torch.ones_like(label)
    weight[..., :32, :], weight[..., 48:, :] = 0, 0.5
    trimap = Trimap.of(replace(targets(label), pixel_weight=weight))
    values = torch.tensor([9.0, 2, 5]).repeat_interleave(torch.tensor([32, 16, 16]))
    values = values.view(1, 1, 64, 1).expand_as(label)
    assert trimap.mean_inside(values) == pytest.approx((2 * 1 + 5 * 0.5) / 1.5)
    plain = Trimap.of(targets(label))
    logits = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    parts = plain.cross_entropies(logits).item(), trimap.cross_entropies(logits).item()
    rows = torch.nn.functional.cross_entropy(logits, plain.classes, reduction="none")[0].mean(1)
    expected = (rows[32:48].mean() * 16 + rows[48:].mean() * 8) / 24
    assert parts == (pytest.approx(rows.mean().item()), pytest.approx(expected.item()))
    spoilt = torch.where(weight > 0, logits[:, :1], 7.0)
    assert trimap.edges(spoilt, label) == trimap.edges(logits[:, :1], label) > 0
    assert plain.edges(label * 0.5, label) == laplacian_pyramid(label * 0.5, label, even=True)


def test_a_smaller_label_is_made_of_pixels_by_their_weight() -> None:
    label, weight = torch.zeros(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    label[..., :4, :4] = 1
    label[..., 4:, :2] = 1
    weight[..., 4:, :2] = 0
    weight[..., 4:, 4:] = 0
    trimap = Trimap.of(replace(targets(label), pixel_weight=weight))
    smaller, left = trimap.reduced(label, lambda x: torch.nn.functional.avg_pool2d(x, 4))
    assert smaller.tolist() == [[[[1, 0], [0, 0]]]]
    assert left.tolist() == [[[[1, 1], [0.5, 0]]]]
