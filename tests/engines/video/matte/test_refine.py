"""Alpha at the frame's size: nearer to the truth on edges, and nothing else touched."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.arrays import Plane
from engines.measure.quality import cases
from engines.measure.quality.metrics import boundary_region, gradient_error, mse
from engines.video import frame as fr
from engines.video.frame import Frame
from engines.video.matte import outline
from engines.video.matte.postprocess import full_size
from engines.video.matte.refine import refine
from tests.outlines import (
    FORMATS,
    PERSON,
    WALL,
    framed,
    over,
    reduced,
    soft_person,
    textured,
)


def refined(frame: Frame, alpha: np.ndarray) -> Plane:
    full = full_size(alpha, frame.format)
    refine(full, outline.find(fr.planes(frame.image), alpha), frame.format)
    return full


@pytest.mark.parametrize("ratio", [2, 2.7, 4])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_edges_are_nearer_to_the_truth(pix_fmt: str, ratio: float) -> None:
    """A head with strands of hair, its matte reduced and brought back: half the error is left."""
    true = soft_person()
    height, width = true.shape
    rgb = over(true, textured(PERSON, width, height, 0), textured(WALL, width, height, 1))
    frame, small = framed(rgb, pix_fmt), reduced(true, ratio)
    edges = boundary_region(true / 255)
    bilinear, ours = full_size(small, frame.format) / 255, refined(frame, small) / 255
    assert mse(ours, true / 255) < 0.5 * mse(bilinear, true / 255)
    assert mse(ours, true / 255, edges) < 0.5 * mse(bilinear, true / 255, edges)
    assert gradient_error(ours, true / 255) < 0.25 * gradient_error(bilinear, true / 255)


@pytest.mark.parametrize("ratio", [2, 4])
def test_photographs_composited(ratio: int, shared_data: Path) -> None:
    """Cut-outs over photographs: a sixth of the boundary's error goes."""
    errors = []
    for case in cases.choose(cases.composites(shared_data, "val"), only="[!o]*/*", limit=1):
        rgb, true = case.read()
        frame, small = framed(rgb), reduced(true, ratio)
        edges = boundary_region(true / 255)
        both = full_size(small, frame.format), refined(frame, small)
        errors.append([mse(a / 255, true / 255, edges) for a in both])
    bilinear, ours = np.mean(errors, axis=0)
    assert ours < 5 / 6 * bilinear


@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_no_edge_no_change(level: float) -> None:
    """Where the network's alpha is even, whatever the image shows, it is what is written."""
    noise = np.random.default_rng(0).integers(0, 256, (90, 120, 3), np.uint8)
    frame, alpha = framed(noise), np.full((32, 48), level, np.float32)
    np.testing.assert_array_equal(refined(frame, alpha), full_size(alpha, frame.format))


def test_equal_colours_say_nothing() -> None:
    """Before a wall of its own colour, a person's edge stays where the network saw it."""
    true = soft_person()
    height, width = true.shape
    noise = np.random.default_rng(1).normal(128, 1.5, (height, width, 1)).round()
    frame = framed(np.repeat(noise, 3, axis=2).astype(np.uint8))
    small = reduced(true, 3)
    moved = refined(frame, small).astype(int) - full_size(small, frame.format)
    assert np.abs(moved).max() <= 8
    assert np.abs(moved).mean() < 0.2


def test_stays_within_what_the_network_saw_nearby() -> None:
    """In noise, alpha leaves nowhere the range of the network's own pixels around."""
    rng = np.random.default_rng(2)
    frame = framed(rng.integers(0, 256, (150, 210, 3), np.uint8))
    alpha = cv2.GaussianBlur(rng.random((50, 70)).astype(np.float32), (0, 0), 1)
    levels = cv2.convertScaleAbs(alpha, alpha=255)
    around = np.ones((5, 5), np.uint8)
    low, high = (
        cv2.resize(f(levels, around), (210, 150), interpolation=cv2.INTER_NEAREST)
        for f in (cv2.erode, cv2.dilate)
    )
    ours = refined(frame, alpha)
    assert (ours >= low).all()
    assert (ours <= high).all()
    assert (ours != full_size(alpha, frame.format)).mean() > 0.5


@pytest.mark.parametrize(("width", "height"), [(2, 2), (3, 5), (853, 479), (200, 3), (3, 200)])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_any_size(pix_fmt: str, width: int, height: int) -> None:
    """Odd and thin images, mattes larger and smaller than they, planes with padded rows."""
    rng = np.random.default_rng(3)
    frame = framed(rng.integers(0, 256, (height, width, 3), np.uint8), pix_fmt)
    planes = fr.planes(frame.image)
    before = [p.copy() for p in planes]
    for shape in ((1, 1), (31, 57), (64, 96)):
        alpha = rng.random(shape).astype(np.float32)
        ours, packed = (full_size(alpha, frame.format) for _ in range(2))
        refine(ours, outline.find(planes, alpha), frame.format)
        refine(packed, outline.find(before, alpha), frame.format)
        assert ours.shape == (height, width)
        np.testing.assert_array_equal(ours, packed)
    for plane, old in zip(planes, before, strict=True):
        np.testing.assert_array_equal(plane, old)
