"""A person cut out: what is left of the room, and what colours are around them."""

from __future__ import annotations

from itertools import product

import av
import cv2
import numpy as np
import pytest

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.compose.composite import HAZE_ALPHA, SOLID_ALPHA, without_room
from engines.video.compose.extend import NEUTRAL
from engines.video.frame import FrameFormat


def blob(width: int, height: int, blur: float) -> Plane:
    """(H, W) alpha of a disc with an edge that soft, in a haze of `HAZE_ALPHA` levels."""
    y, x = np.mgrid[:height, :width]
    inside = np.hypot(x - width * 0.4, y - height * 0.6) < 0.3 * min(width, height)
    disc = cv2.GaussianBlur(np.where(inside, 255, 0).astype(np.uint8), (0, 0), blur)
    haze = np.random.default_rng(1).integers(0, HAZE_ALPHA + 1, (height, width), np.uint8)
    return np.maximum(disc, haze)


def noise(fmt: FrameFormat, seed: int) -> av.VideoFrame:
    """An image of nothing but noise."""
    image, rng = fmt.new_image(), np.random.default_rng(seed)
    for plane in fr.planes(image):
        plane[:] = rng.integers(0, fmt.peak + 1, plane.shape)
    return image


def pixels_of(mask: np.ndarray, plane: Plane) -> np.ndarray:
    """Where all pixels of a (H, W) mask that a sample of a smaller plane colours are in it."""
    steps = [-(-m // p) for m, p in zip(mask.shape, plane.shape, strict=True)]
    whole = np.ones(np.multiply(plane.shape, steps), np.bool_)
    whole[: mask.shape[0], : mask.shape[1]] = mask
    parts = [whole[i :: steps[0], j :: steps[1]] for i, j in product(*map(range, steps))]
    return np.logical_and.reduce(parts)


@pytest.mark.parametrize("size", [(320, 240), (67, 49), (2, 2), (1, 1), (900, 300)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv444p", "gbrp", "yuv420p10le"])
def test_person_is_kept_and_the_room_is_not(pixels: str, size: tuple[int, int]) -> None:
    """To the last level: another room under a haze of alpha leaves the same file."""
    fmt, alpha = FrameFormat(*size, pixels), blob(*size, blur=1.5)
    here, there = noise(fmt, 2), noise(fmt, 3)
    for a, b in zip(fr.planes(here), fr.planes(there), strict=True):
        person = ~pixels_of(alpha <= HAZE_ALPHA, a)
        b[person] = a[person]
    results = without_room(here, alpha, fmt), without_room(there, alpha, fmt)
    for before, one, other in zip(fr.planes(here), *map(fr.planes, results), strict=True):
        if any(n % 2 for n in alpha.shape) and before.shape != alpha.shape:
            continue  # samples at odd edges are shared out by area
        np.testing.assert_array_equal(one, other)
        person = pixels_of(alpha >= SOLID_ALPHA, before)
        np.testing.assert_array_equal(one[person], before[person])


@pytest.mark.parametrize("size", [(320, 240), (1280, 720)])
def test_no_fringe_where_colour_and_alpha_are_scaled_separately(size: tuple[int, int]) -> None:
    """A light person before black, over white: as light as if both had been scaled together."""
    fmt, alpha = FrameFormat(*size, "yuv444p"), blob(*size, blur=0.5)
    image = fmt.new_image()
    for plane in fr.planes(image):
        plane[:] = np.where(alpha >= SOLID_ALPHA, 200, 0)

    def shown(colour: Plane) -> np.ndarray:
        third = size[0] // 3, size[1] // 3
        c, a = (cv2.resize(p, third, interpolation=cv2.INTER_AREA) for p in (colour, alpha))
        return (c * (a / 255) + 255 * (1 - a / 255))[:, third[0] // 8 :]

    person = np.full_like(alpha, 200)
    assert (shown(person) - shown(fr.planes(image)[0])).max() > 20, "there is no fringe to remove"
    assert np.abs(shown(person) - shown(fr.planes(without_room(image, alpha, fmt))[0])).max() < 6


def test_where_nobody_is_there_is_nothing() -> None:
    """Far from a person, and without one, a plain colour."""
    fmt, alpha = FrameFormat(640, 480), blob(640, 480, blur=2)
    for plane in fr.planes(without_room(noise(fmt, 4), alpha, fmt)):
        assert (plane[:20, -20:] == NEUTRAL[0]).all()
    for plane in fr.planes(without_room(noise(fmt, 4), np.full_like(alpha, HAZE_ALPHA), fmt)):
        assert (plane == NEUTRAL[0]).all()
