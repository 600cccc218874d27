from __future__ import annotations

import numpy as np
import pytest

from engines.datasets.trimap import (
    BACKGROUND,
    PERSON,
    SURE,
    UNKNOWN,
    comparison_radius,
    make_trimap,
)


def test_edge_is_unknown_on_both_sides_and_the_rest_is_known() -> None:
    alpha = np.zeros((40, 60), np.uint8)
    alpha[:, 30:] = 255
    row = make_trimap(alpha, 4)[20]
    assert (row[:26] == BACKGROUND).all()
    assert (row[26:34] == UNKNOWN).all()
    assert (row[34:] == PERSON).all()


def test_soft_pixels_are_unknown_and_as_far_as_the_radius_around() -> None:
    alpha = np.full((21, 21), 255, np.uint8)
    alpha[10, 10] = 128
    y, x = np.mgrid[:21, :21]
    unknown = make_trimap(alpha, 5) == UNKNOWN
    distance = np.hypot(y - 10, x - 10)
    assert unknown[distance <= 4.5].all()
    assert not unknown[distance >= 6].any()


def test_border_of_the_picture_is_no_edge() -> None:
    assert (make_trimap(np.full((9, 9), 255, np.uint8), 3) == PERSON).all()
    assert (make_trimap(np.zeros((9, 9), np.uint8), 3) == BACKGROUND).all()


def test_nearly_sure_is_sure() -> None:
    for value, expected in ((SURE, BACKGROUND), (SURE + 1, UNKNOWN), (255 - SURE, PERSON)):
        assert (make_trimap(np.full((9, 9), value, np.uint8), 1) == expected).all()


@pytest.mark.parametrize(("size", "radius"), [(28, 1), (320, 10), (16, 1), (512, 16)])
def test_radius_grows_with_the_picture(size: int, radius: int) -> None:
    assert comparison_radius(size) == radius
