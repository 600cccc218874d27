"""Which pixels an outline has, what is seen there, and the colours on either side."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from engines.video import frame as fr
from engines.video.matte import outline
from engines.video.matte.outline import Points, Runs
from tests.outlines import PERSON, WALL, framed, over, reduced, soft_person, textured

SHAPES = [(90, 160), (61, 83), (7, 200), (1, 1), (30, 20)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("small", [(24, 40), (1, 1), (31, 7)])
def test_points_are_the_pixels_that_the_mask_covers(
    small: tuple[int, int], shape: tuple[int, int]
) -> None:
    """Each pixel of a plane belongs to the one of the mask that its upper left corner lies in."""
    mask = np.random.default_rng(0).random(small) < 0.4
    rows, columns = (np.arange(n) * m // n for n, m in zip(shape, small, strict=True))
    covered = mask[rows][:, columns]
    before = np.arange(covered.size).astype(np.uint8).reshape(shape)
    plane = before.copy()
    points = Points(Runs(mask), shape)
    assert len(points) == covered.sum()
    np.testing.assert_array_equal(points.take(plane), plane[covered])
    points.put(np.full(len(points), 200, np.uint8), plane)
    assert (plane[covered] == 200).all()
    np.testing.assert_array_equal(plane[~covered], before[~covered])


@pytest.mark.parametrize("width", [60, 160, 333])
def test_images_of_other_sizes_lie_on_the_plane(width: int) -> None:
    """A ramp from edge to edge, at any size, has at each point the height that the point has."""
    points = Points(Runs(np.ones((9, 16), np.bool_)), (160, 160))
    ramp = np.tile((np.arange(width, dtype=np.float32) + 0.5) / width, (50, 1))
    across = points.look_up(ramp).reshape(160, 160)
    down = points.look_up(ramp.T.copy()).reshape(160, 160).T
    inside = slice(4, -4)  # nearer to the edge there is nothing beyond to go by
    for seen in (across, down):
        assert np.abs(seen - (np.arange(160) + 0.5) / 160)[:, inside].max() < 1e-3


def test_colours_on_either_side() -> None:
    """On a soft edge they are, at the median, at most a fifth of the way to the other side."""
    width, height = 240, 180
    disc = cv2.circle(np.zeros((height, width), np.uint8), (120, 90), 60, 255, -1)
    alpha = cv2.GaussianBlur(disc, (0, 0), 3)
    frame = framed(
        over(alpha, textured(PERSON, width, height, 0), textured(WALL, width, height, 1))
    )
    sides = [
        fr.planes(framed(np.full((height, width, 3), c, np.uint8)).image) for c in (PERSON, WALL)
    ]
    found = outline.find(fr.planes(frame.image), reduced(alpha, 2))
    points = found.points(alpha.shape)
    assert 0.05 < len(points) / alpha.size < 0.2
    for means, side in zip(found.colours(alpha.shape), sides, strict=True):
        for mean, plane in zip(means, side, strict=True):
            assert np.median(np.abs(mean - float(plane[0, 0]))) < 22


def test_a_margin_widens_the_outline() -> None:
    """By so many of the matte's own pixels on every side."""
    alpha = reduced(soft_person(), 2)
    planes = fr.planes(framed(np.zeros((180, 240, 3), np.uint8)).image)
    narrow = outline.find(planes, alpha).mask.astype(np.uint8)
    wide = outline.find(planes, alpha, 3).mask
    np.testing.assert_array_equal(wide, cv2.dilate(narrow, np.ones((7, 7), np.uint8)) > 0)


@pytest.mark.parametrize("corner", [(0, 0), (161, 0), (0, 121), (83, 57)])
def test_colours_do_not_depend_on_what_is_far(corner: tuple[int, int]) -> None:
    """Those at a head are the same whether the outline ends with it or goes on far away."""
    width, height, (x, y) = 480, 360, corner
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    planes = fr.planes(framed(cv2.GaussianBlur(noise, (0, 0), 2)).image)
    alone = np.zeros((height // 2, width // 2), np.float32)
    cv2.ellipse(alone, (x // 2 + 30, y // 2 + 30), (20, 26), 0, 0, 360, 1, -1)
    alone = cv2.GaussianBlur(alone, (0, 0), 2)
    both = alone.copy()
    both[-3 if y < 90 else 2, -3 if x < 120 else 2] = 1
    found, more = (outline.find(planes, alpha) for alpha in (alone, both))
    for plane in planes:
        ours, theirs = found.points(plane.shape), more.points(plane.shape)
        places = np.arange(plane.size, dtype=np.uint32).reshape(plane.shape)
        is_shared = np.isin(theirs.take(places), ours.take(places))
        assert is_shared.sum() == len(ours) > 100
        for side, other in zip(found.colours(plane.shape), more.colours(plane.shape), strict=True):
            for mean, same in zip(side, other, strict=True):
                assert np.abs(mean - same[is_shared]).max() < 1e-3


@pytest.mark.parametrize("level", [0.0, 0.5, 1.0])
def test_an_even_matte_has_no_outline(level: float) -> None:
    """No points, and colours that are numbers all the same."""
    planes = fr.planes(framed(np.full((48, 64, 3), 77, np.uint8)).image)
    found = outline.find(planes, np.full((24, 32), level, np.float32))
    assert not found.mask.any()
    assert len(found.points((48, 64))) == 0
    assert np.isfinite(found.person).all()
    assert np.isfinite(found.background).all()
    assert [c.size for side in found.colours((48, 64)) for c in side] == [0] * 6
