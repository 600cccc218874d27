"""Clusters of known colours, and which of them are the person's."""

from __future__ import annotations

import sys

import cv2
import numpy as np
import pytest
import sklearn.cluster  # noqa: F401 - sets environment variables, which no test may
from skimage import data

from engines.errors import Unavailable, UsageError
from engines.measure.estimators.estimator import GuidedEstimator
from engines.measure.estimators.open import describe_estimators, describe_files, open_estimator
from engines.measure.quality.cases import Case
from engines.measure.quality.evaluate import evaluate
from engines.measure.quality.metrics import iou
from tests.engines.measure.estimators.images import SIZES

METHODS = ("kmeans", "gmm")
SKIN, SHIRT, WALL, DOOR = (200, 150, 120), (40, 60, 150), (90, 140, 80), (235, 235, 225)


def portrait(*walls: tuple[int, int, int], side: int = 160) -> tuple[np.ndarray, np.ndarray]:
    """Return a head on shoulders before walls of equal width, with noise, and its mask."""
    rgb = np.zeros((side, side, 3), np.uint8)
    for part, wall in zip(np.array_split(np.arange(side), len(walls)), walls, strict=True):
        rgb[:, part] = wall
    truth = np.zeros((side, side), np.uint8)
    for image, head, body in ((rgb, SKIN, SHIRT), (truth, 255, 255)):
        cv2.rectangle(image, (side // 4, side * 5 // 8), (side * 3 // 4, side), body, -1)
        cv2.circle(image, (side // 2, side * 3 // 8), side // 5, head, -1)
    noise = np.random.default_rng(0).normal(0, 4, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8), truth


def flat_portrait() -> tuple[np.ndarray, np.ndarray]:
    """Return a person of one colour before another, without noise, and the mask."""
    _, truth = portrait(WALL)
    rgb = np.full((*truth.shape, 3), WALL, np.uint8)
    rgb[truth > 0] = SHIRT
    return rgb, truth


def found(name: str, rgb: np.ndarray, truth: np.ndarray) -> float:
    estimator = open_estimator(name)
    if isinstance(estimator, GuidedEstimator):
        return iou(estimator.with_truth(rgb, truth), truth)
    return iou(estimator(rgb), truth)


@pytest.mark.parametrize("options", ["", ":lab", ":xy", ":oracle"])
@pytest.mark.parametrize("method", METHODS)
def test_a_person_of_one_colour_is_found(method: str, options: str) -> None:
    assert found(method + options, *flat_portrait()) == 1


@pytest.mark.parametrize("options", ["k=3", "k=3,lab", "k=3,oracle", "k=5,xy,oracle"])
@pytest.mark.parametrize("method", METHODS)
def test_of_three_colours_two_are_the_persons(method: str, options: str) -> None:
    assert found(f"{method}:{options}", *portrait(WALL)) > 0.97


@pytest.mark.parametrize("method", METHODS)
def test_the_truth_knows_better_than_the_place(method: str) -> None:
    """A door behind the person lies in the middle, as the person does."""
    rgb, truth = portrait(WALL, DOOR, WALL)
    rgb[: len(rgb) // 8] = WALL
    blind, oracle = (found(f"{method}:k=4{o}", rgb, truth) for o in ("", ",oracle"))
    assert oracle > 0.95
    assert blind < 0.9


@pytest.mark.parametrize("method", METHODS)
def test_a_mixture_is_soft_where_colours_mix_and_means_are_hard(method: str) -> None:
    rgb, _ = portrait(WALL)
    alpha = open_estimator(f"{method}:k=3")(cv2.GaussianBlur(rgb, (0, 0), 3))
    soft = ((alpha > 0.05) & (alpha < 0.95)).mean()
    assert soft == 0 if method == "kmeans" else 0.002 < soft < 0.2
    assert alpha.dtype == np.float32


@pytest.mark.parametrize("options", ["", ":k=5,lab,xy"])
@pytest.mark.parametrize("method", METHODS)
def test_any_size_gives_the_same_again(method: str, options: str) -> None:
    estimator, photo = open_estimator(method + options), data.astronaut()
    for height, width in (*SIZES, (2, 3)):
        rgb = cv2.resize(photo, (width, height))
        alpha = estimator(rgb)
        assert alpha.shape == (height, width)
        assert 0 <= alpha.min() <= alpha.max() <= 1
        assert np.array_equal(open_estimator(method + options)(rgb), alpha)


@pytest.mark.parametrize("method", METHODS)
def test_large_images_are_clustered_at_a_small_size(method: str) -> None:
    rgb, truth = flat_portrait()
    rgb, truth = (
        cv2.resize(x, (1400, 1100), interpolation=cv2.INTER_NEAREST) for x in (rgb, truth)
    )
    assert found(method, rgb, truth) > 0.99


@pytest.mark.parametrize("method", METHODS)
def test_an_image_of_one_colour_has_nobody(method: str) -> None:
    grey = np.full((40, 30, 3), 128, np.uint8)
    assert open_estimator(method)(grey).max() == 0
    oracle = open_estimator(f"{method}:oracle")
    assert isinstance(oracle, GuidedEstimator)
    for rows, expected in ((0, 0), (18, 0), (22, 1), (40, 1)):
        truth = np.zeros((40, 30), np.uint8)
        truth[:rows] = 255
        alpha = oracle.with_truth(grey, truth)
        assert (alpha.min(), alpha.max()) == (expected, expected)


def test_an_evaluation_shows_the_truth_to_the_oracle_alone() -> None:
    cases = [Case("mattes", "a", str(i), str(i), flat_portrait) for i in range(2)]
    names = ["kmeans", "kmeans:oracle", "gmm:k=3"]
    rows = evaluate([open_estimator(name) for name in names], cases)
    assert [r.model for r in rows] == names * 2
    assert [r.values["mse"] for r in rows[:2]] == [0, 0]
    for kind in ("masks", "empty"):
        upside_down = Case(
            kind, "a", "1", "1", lambda: (flat_portrait()[0], 255 - portrait(WALL)[1])
        )
        blind, oracle = evaluate([open_estimator(n) for n in names[:2]], [upside_down])
        assert blind.values != oracle.values


def test_the_oracle_is_refused_without_truth() -> None:
    with pytest.raises(UsageError, match="gmm:oracle: there is no truth"):
        open_estimator("gmm:oracle")(flat_portrait()[0])


@pytest.mark.parametrize("options", ["k", "k=", "k=two", "k=-2", "lab=1", "hsv", "lab,,xy", " xy"])
def test_options_that_are_not_known_are_named(options: str) -> None:
    with pytest.raises(UsageError, match=f"kmeans:{options}: no option .*write kmeans:k=N,lab"):
        open_estimator(f"kmeans:{options}")


@pytest.mark.parametrize("k", [0, 1, 17, 10**30])
def test_too_few_and_too_many_clusters_are_refused(k: int) -> None:
    with pytest.raises(UsageError, match=f"gmm:k={k}: k must be from 2 to 16"):
        open_estimator(f"gmm:k={k}")


def test_without_the_package_its_name_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(Unavailable, match=r"kmeans: needs scikit-learn; run: pip install 'wsshm\["):
        open_estimator("kmeans")


def test_help_lists_them_where_they_are_opened() -> None:
    assert describe_estimators().endswith("kmeans[:k=N,lab,xy,oracle], gmm[:k=N,lab,xy,oracle]")
    assert "kmeans" not in describe_files()
