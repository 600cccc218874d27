"""What hides that an image is a composite: how much, how often, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage import data

from tests.train.data.recipes import recipe
from train.data import augment
from train.data.samples import Samples
from train.data.traces import TraceRule, blurred, jpeg

IMAGE = data.astronaut()[::4, ::4].copy()


def far(image: np.ndarray, other: np.ndarray = IMAGE) -> float:
    """Mean |difference| in levels of 255."""
    return float(np.abs(image.astype(int) - other).mean())


def test_jpeg_keeps_colours_and_loses_more_at_a_lower_quality() -> None:
    assert 0 < far(jpeg(IMAGE, 100)) < 3
    losses = [far(jpeg(IMAGE, quality)) for quality in (95, 75, 50)]
    assert losses == sorted(losses)
    red = np.zeros((32, 32, 3), np.uint8)
    red[..., 0] = 255
    assert far(jpeg(red, 90), red) < 2


def test_blur_is_of_its_deviation_and_within_its_kernel() -> None:
    assert blurred(IMAGE, 0.0) is IMAGE
    step = np.zeros((1, 101, 3), np.uint8)
    step[:, 51:] = 255
    for sigma in (1.0, 2.0, 3.0):
        soft = blurred(step, sigma)[0, :, 0].astype(float)
        assert not soft[: 51 - 8].any()
        slopes = np.diff(soft)
        spread = np.sqrt((slopes * (np.arange(100) - 50) ** 2).sum() / 255)
        assert spread == pytest.approx(sigma, rel=0.1)


def test_probabilities_are_of_each_part_and_of_the_whole() -> None:
    def share(rule: TraceRule, step: str) -> float:
        rng = np.random.default_rng(0)
        return float(np.mean([far(getattr(rule, step)(rng, IMAGE)) > 0 for _ in range(400)]))

    assert share(TraceRule(0.0, 50, 0.0, 3.0), "whole") == 0
    assert share(TraceRule(0.5, 50, 0.0, 3.0), "part") == pytest.approx(0.5, abs=0.08)
    assert share(TraceRule(0.0, 50, 0.5, 3.0), "whole") == pytest.approx(0.5, abs=0.08)
    assert share(TraceRule(0.5, 50, 0.5, 3.0), "whole") == pytest.approx(0.75, abs=0.08)


def test_quality_is_drawn_from_the_least_up() -> None:
    def losses(least: int) -> list[float]:
        rule = TraceRule(1.0, least, 0.0, 3.0)
        return [far(rule.part(np.random.default_rng(seed), IMAGE)) for seed in range(40)]

    found, at_least = losses(50), far(jpeg(IMAGE, 50))
    assert all(loss <= at_least * 1.01 for loss in found)
    assert max(found) > 0.8 * at_least
    assert max(losses(100)) == far(jpeg(IMAGE, 100))


def test_person_and_background_are_encoded_apart_and_alpha_is_left(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(augment, "photometric", lambda _, image: image)
    seen: list[np.ndarray] = []

    class Seen(TraceRule):
        def part(self, rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
            seen.append(image)
            return super().part(rng, image)

    rgba = np.dstack([IMAGE, np.zeros(IMAGE.shape[:2], np.uint8)])
    rgba[20:-20, 20:-20, 3] = 255
    background = np.full((80, 80, 3), 30, np.uint8)
    rule = Seen(1.0, 10, 1.0, 3.0)
    image, alpha, _ = augment.composite(np.random.default_rng(1), [rgba], background, 64, rule)
    behind, person, whole = seen
    assert (behind == 30).all()
    assert person.std() > 20
    assert far(whole, image) > 0
    assert 0 < ((alpha > 0) & (alpha < 255)).mean() < 0.1, "blur is of the image alone"


def test_a_run_of_the_method_alone_hides_them(dataset: Path) -> None:
    rival = recipe("context-aware", blur=1.0, blur_sigma=9.0, seed=3)
    teacher = recipe("teacher", blur=1.0, blur_sigma=9.0, seed=3)

    def edges(samples: Samples) -> float:
        images = [samples[(i, 96)]["image"].float() for i in range(16)]
        return float(np.mean([image.diff(dim=-1).abs().mean().item() for image in images]))

    assert edges(Samples(dataset, rival)) < 0.7 * edges(Samples(dataset, teacher))
