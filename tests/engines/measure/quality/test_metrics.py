"""Every metric against another computation of it, by SciPy and scikit-image, on random mattes."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from skimage.measure import label

from engines.measure.quality import metrics as m


def assert_same(got: float, expected: float) -> None:
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-6)


def random_matte(seed: int, shape: tuple[int, int] = (61, 83)) -> np.ndarray:
    """Soft blobs with flat 0 and 1 areas and some speckle, in float32."""
    rng = np.random.default_rng(seed)
    smooth = ndimage.gaussian_filter(rng.normal(size=shape), 5)
    matte = np.clip(0.5 + smooth / smooth.std(), 0, 1)
    matte[rng.random(shape) < 0.02] = rng.random()
    return matte.astype(np.float32)


@pytest.fixture(params=range(5))
def pair(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray]:
    """A truth, and an alpha that resembles it."""
    truth, other = random_matte(request.param), random_matte(request.param + 100)
    return (0.7 * truth + 0.3 * other).astype(np.float32), truth


def gradient_by_scipy(alpha: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Squared difference of magnitudes; two-dimensional filters as the benchmark builds them."""
    x = np.arange(-4, 5)
    gauss = np.exp(-(x**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
    kernel = np.outer(gauss, -x * gauss / 1.4**2)
    kernel /= np.sqrt((kernel**2).sum())

    def magnitude(image: np.ndarray) -> np.ndarray:
        dx, dy = (
            ndimage.convolve(image.astype(float), k, mode="nearest") for k in (kernel, kernel.T)
        )
        return np.sqrt(dx**2 + dy**2)

    return (magnitude(alpha) - magnitude(truth)) ** 2


def connectivity_by_skimage(alpha: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """As the benchmark's code goes: a level map, filled from low thresholds to high ones."""
    alpha, truth = alpha.astype(float), truth.astype(float)
    level = -np.ones(alpha.shape)
    for below, step in pairwise(np.arange(11) / 10):
        parts = label((alpha >= step) & (truth >= step), connectivity=1)
        sizes = np.bincount(parts.ravel())
        sizes[0] = 0
        source = (parts == sizes.argmax()) & (parts > 0)
        level[(level == -1) & ~source] = below
    level[level == -1] = 1
    phi = [1 - np.where(p - level >= 0.15, p - level, 0) for p in (alpha, truth)]
    return np.abs(phi[0] - phi[1])


@pytest.mark.parametrize("in_boundary", [False, True])
def test_pixel_errors_agree(pair: tuple[np.ndarray, np.ndarray], in_boundary: bool) -> None:
    alpha, truth = pair
    region = m.boundary_region(truth) if in_boundary else None
    a, t = (
        [
            float(v)
            for v, r in zip(p.ravel(), m.boundary_region(truth).ravel(), strict=True)
            if r or not in_boundary
        ]
        for p in pair
    )
    pairs = list(zip(a, t, strict=True))
    assert_same(m.mse(alpha, truth, region), sum((x - y) ** 2 for x, y in pairs) / len(a))
    assert_same(m.mad(alpha, truth, region), sum(abs(x - y) for x, y in pairs) / len(a))
    assert_same(m.sad(alpha, truth, region), sum(abs(x - y) for x, y in pairs))


@pytest.mark.parametrize("in_boundary", [False, True])
def test_gradient_error_agrees(pair: tuple[np.ndarray, np.ndarray], in_boundary: bool) -> None:
    region = m.boundary_region(pair[1]) if in_boundary else np.ones(pair[1].shape, bool)
    expected = gradient_by_scipy(*pair)[region].sum()
    assert expected > 1
    assert_same(m.gradient_error(*pair, region if in_boundary else None), expected)


@pytest.mark.parametrize("in_boundary", [False, True])
def test_connectivity_error_agrees(pair: tuple[np.ndarray, np.ndarray], in_boundary: bool) -> None:
    region = m.boundary_region(pair[1]) if in_boundary else np.ones(pair[1].shape, bool)
    expected = connectivity_by_skimage(*pair)[region].sum()
    assert expected > 1
    assert_same(m.connectivity_error(*pair, region if in_boundary else None), expected)


def test_connectivity_of_8_bit_mattes_agrees() -> None:
    """Values that lie exactly on a threshold: 51 of 255 is 0.2."""
    alpha, truth = (np.rint(random_matte(s) * 5) / 5 for s in (1, 2))
    expected = connectivity_by_skimage(alpha, truth).sum()
    assert_same(m.connectivity_error(alpha, truth), expected)


def test_dtssd_agrees() -> None:
    alphas, truths = (np.stack([random_matte(s + i) for i in range(4)]) for s in (0, 50))
    errors = []
    for t in (1, 2, 3):
        by, should_by = (p[t].astype(float) - p[t - 1] for p in (alphas, truths))
        errors.append(np.sqrt(((by - should_by) ** 2).sum() / by.size))
    assert_same(m.dtssd(alphas, truths), sum(errors) / 3)


def test_dtssd_counts_what_changes_and_not_what_is_wrong() -> None:
    truths = np.zeros((3, 8, 8), np.float32)
    assert m.dtssd(truths + 0.4, truths) == 0
    flicker = truths.copy()
    flicker[1] = 0.5
    assert m.dtssd(flicker, truths) == pytest.approx(0.5)
    assert np.isnan(m.dtssd(truths[:1], truths[:1]))


@pytest.mark.parametrize("px", [1, 2, 5])
def test_outside_band_agrees(px: int) -> None:
    mask = np.where(random_matte(7) > 0.5, 255, 0).astype(np.uint8)
    away = np.maximum(*(ndimage.distance_transform_edt(mask == v) for v in (0, 255)))
    assert 0 < (away > px).mean() < 1
    assert (m.outside_band(mask, px) == (away > px)).all()


def test_outside_band_by_hand() -> None:
    mask = np.zeros((3, 30), np.uint8)
    mask[:, 15:] = 255
    row = m.outside_band(mask, 5)[1]
    assert not row[10:20].any()  # five pixels on each side
    assert row[:10].all()
    assert row[20:].all()
    assert m.outside_band(np.zeros((4, 4), np.uint8)).all()
    assert m.outside_band(np.full((4, 4), 255, np.uint8)).all()


def test_iou_by_hand() -> None:
    mask = np.zeros((4, 4), np.uint8)
    mask[:2] = 255
    alpha = np.zeros((4, 4), np.float32)
    alpha[1:3] = 0.5
    assert m.iou(alpha, mask) == pytest.approx(4 / 12)
    assert m.iou(np.zeros((4, 4), np.float32), np.zeros((4, 4), np.uint8)) == 1.0
    assert m.iou(alpha, np.zeros((4, 4), np.uint8)) == 0.0
    assert m.iou(alpha, mask, mask > 127) == pytest.approx(4 / 8)


def test_iou_agrees(pair: tuple[np.ndarray, np.ndarray]) -> None:
    alpha, truth = pair
    mask = np.rint(truth * 255).astype(np.uint8)
    is_in, should = (
        set(zip(*np.where(alpha >= 0.5), strict=True)),
        set(zip(*np.where(mask >= 128), strict=True)),
    )
    assert_same(m.iou(alpha, mask), len(is_in & should) / len(is_in | should))


def test_the_truth_itself_has_no_error() -> None:
    truth = random_matte(3)
    region = m.boundary_region(truth)
    for error in (m.mse, m.mad, m.sad, m.gradient_error, m.connectivity_error):
        assert error(truth, truth) == 0
        assert error(truth, truth, region) == 0
        assert error(1 - truth, truth) > 0


def test_nothing_to_judge() -> None:
    truth, nowhere = np.zeros((5, 5), np.float32), np.zeros((5, 5), bool)
    assert not m.boundary_region(truth).any()
    assert np.isnan(m.mse(truth, truth, nowhere))
    assert m.sad(truth + 1, truth, nowhere) == 0
    assert m.connectivity_error(truth, truth) == 0


def test_boundary_region_is_between_the_ends() -> None:
    alpha = np.array([[0, 0.05, 0.051, 0.5, 0.949, 0.95, 1]])
    assert m.boundary_region(alpha)[0].tolist() == [False, False, True, True, True, False, False]


def test_unchanged_is_at_most_two_of_255_in_every_channel() -> None:
    before = np.full((1, 6, 3), 100, np.uint8)
    after = before.copy()
    after[0, 1:] = [(102, 98, 100), (103, 100, 100), (100, 97, 100), (100, 100, 103), (0, 255, 9)]
    assert m.unchanged(before, after).tolist() == [[True, True, False, False, False, False]]
    assert m.unchanged(after, before).tolist() == [[True, True, False, False, False, False]]


def test_no_two_metrics_have_one_key() -> None:
    assert len({x.key for x in m.METRICS}) == len(m.METRICS)
