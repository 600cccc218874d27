"""Evaluate estimators: the metrics of every case, their means, and confidence intervals.

The images of one source resemble each other, so means are taken over each source first and then
over the sources. An interval covers what other images of the same sources might have given.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, U8
from engines.engine import MattingEngine, estimate_alpha
from engines.measure.estimators.estimator import Estimator, GuidedEstimator
from engines.measure.quality import metrics
from engines.measure.quality.cases import Case, choose, masks
from engines.measure.quality.metrics import METRICS, iou

DRAWS, SEED, COVERAGE = 10_000, 0, 0.95  # of the bootstrap
OnAlpha = Callable[[Case, U8, U8, int, F32], None]  # see `evaluate`


@dataclass(frozen=True)
class Row:
    """The metrics of one model in one case: `values` by `Metric.key`, without a factor."""

    model: str
    set: str
    source: str
    name: str
    group: str
    values: dict[str, float]
    frame: int | None = None  # as in `Case`


@dataclass(frozen=True)
class Difference:
    """A model's mean over the sources minus the baseline's, and its confidence interval.

    `low` and `high` are NaN if no source has two groups of cases to draw from; a source with one
    group adds nothing to the width.
    """

    value: float
    low: float
    high: float


def mask_iou(
    engine: MattingEngine, data: Path, size: int | None = None, limit: int | None = None
) -> dict[str, float]:
    """Return the mean IoU on the ``val`` masks of each source, by its name; {} without masks.

    Args:
        size: shorter edge of what the network sees, in pixels; None for the model's own.
        limit: the most images of a source; None for all.
    """
    scores: dict[str, list[float]] = {}
    for case in choose(masks(data, "val"), limit=limit):
        rgb, mask = case.read()
        alpha = estimate_alpha(engine, rgb, size or engine.spec.size)
        scores.setdefault(case.source, []).append(iou(alpha, mask))
    return {source: float(np.mean(values)) for source, values in sorted(scores.items())}


def score(kind: str, alpha: F32, truth: U8) -> dict[str, float]:
    """Return the metrics of one image, by `Metric.key`; none for one image of ``static``.

    Args:
        kind: the case's set: a coarse mask is not compared as if it were an alpha.
        alpha: (H, W) float32 in [0, 1].
        truth: (H, W) uint8, as `Case.read` returns it.
    """
    if kind == "masks":
        region = metrics.outside_band(truth)
        return {
            "iou": iou(alpha, truth),
            "iou_outside": iou(alpha, truth, region),
            "mad_outside": metrics.mad(alpha, (truth > 127).astype(np.float64), region),
        }
    if kind == "static":
        return {}
    true = truth / 255
    if kind == "empty":
        return {"mass": metrics.mad(alpha, true), "person": float((alpha >= 0.5).mean())}
    values: dict[str, float] = {}
    for suffix, where in (("", None), ("_boundary", metrics.boundary_region(true))):
        values |= {
            f"mse{suffix}": metrics.mse(alpha, true, where),
            f"mad{suffix}": metrics.mad(alpha, true, where),
            f"sad{suffix}": metrics.sad(alpha, true, where),
            f"grad{suffix}": metrics.gradient_error(alpha, true, where),
            f"conn{suffix}": metrics.connectivity_error(alpha, true, where),
        }
    return values


def score_change(kind: str, alphas: list[F32], truths: list[U8]) -> dict[str, float]:
    """Return the metrics of two consecutive frames, by `Metric.key`; arguments as in `score`."""
    if kind == "empty":
        return {}
    if kind == "static":
        still = truths[1] == 255
        soft = metrics.boundary_region(alphas[0]) | metrics.boundary_region(alphas[1])
        return {
            "flicker": metrics.mad(alphas[1], alphas[0], still),
            "flicker_soft": metrics.mad(alphas[1], alphas[0], still & soft),
        }
    return {"dtssd": metrics.dtssd(np.stack(alphas), np.stack(truths) / 255)}


def evaluate(
    estimators: list[Estimator], cases: Iterable[Case], on_alpha: OnAlpha | None = None
) -> list[Row]:
    """Evaluate every estimator on every case; each image is read once.

    Metrics of two consecutive frames, such as dtSSD, are in the row of the later one.

    Args:
        on_alpha: called with each case, its image and truth, the index of the estimator, and its
            alpha.

    Raises:
        WsshmError: an image cannot be read, or an estimator fails on it.
    """
    rows = []
    before: tuple[Case, Any, list[Any]] | None = None  # the last case, its truth, the alphas
    for case in cases:
        rgb, truth = case.read()
        follows = before is not None and _follows(case, before[0])
        alphas = []
        for i, estimator in enumerate(estimators):
            if not follows:
                estimator.reset()
            if isinstance(estimator, GuidedEstimator) and case.set != "static":
                alpha = estimator.with_truth(rgb, truth)
            else:
                alpha = estimator(rgb)
            values = score(case.set, alpha, truth)
            if before is not None and follows:
                values |= score_change(case.set, [before[2][i], alpha], [before[1], truth])
            rows.append(
                Row(
                    estimator.name, case.set, case.source, case.name, case.group, values, case.frame
                )
            )
            alphas.append(alpha)
            if on_alpha:
                on_alpha(case, rgb, truth, i, alpha)
        before = case, truth, alphas
    return rows


def _follows(case: Case, before: Case) -> bool:
    same = (case.set, case.source) == (before.set, before.source)
    return same and case.frame is not None and case.frame - 1 == before.frame


def keys(rows: list[Row]) -> list[str]:
    """Return the keys of the metrics that occur, in the order of `METRICS`."""
    found = {key for row in rows for key in row.values}
    return [m.key for m in METRICS if m.key in found]


def means(rows: list[Row]) -> dict[str, dict[str, float]]:
    """Return {source: {metric: mean}} of one model in one set; "" is the mean over the sources.

    Cases without a metric are left out, and so are sources without any; NaN if nothing is left.
    """
    names, table = keys(rows), {}
    for source in sorted({r.source for r in rows}):
        values = np.array([_vector(r, names) for r in rows if r.source == source])
        table[source] = dict(zip(names, _mean(values).tolist(), strict=True))
    every = np.array([list(t.values()) for t in table.values()])
    return {"": dict(zip(names, _mean(every).tolist(), strict=True)), **table}


def compare(baseline: list[Row], other: list[Row]) -> dict[str, Difference]:
    """Return the differences of two models on the same cases, with paired bootstrap intervals.

    Groups of cases are drawn with replacement within each source, the same for both models;
    `COVERAGE` of the `DRAWS` differences lie in the interval.

    Returns:
        By `Metric.key`.

    Raises:
        ValueError: the rows are of different cases.
    """
    names, rng = keys(baseline), np.random.default_rng(SEED)
    if [(r.source, r.name) for r in baseline] != [(r.source, r.name) for r in other]:
        raise ValueError("rows of other cases")
    middle, draws = [], []
    is_sure = np.zeros(len(names), np.bool_)
    for source in sorted({r.source for r in baseline}):
        here = [i for i, r in enumerate(baseline) if r.source == source]
        groups = sorted({baseline[i].group for i in here})
        total, count = (np.zeros((len(groups), len(names))) for _ in range(2))
        for i in here:
            change = _vector(other[i], names) - _vector(baseline[i], names)
            g = groups.index(baseline[i].group)
            total[g] += np.nan_to_num(change)
            count[g] += ~np.isnan(change)
        times = rng.multinomial(len(groups), np.full(len(groups), 1 / len(groups)), DRAWS)
        with np.errstate(invalid="ignore"):  # 0/0 is NaN: no such metric in this draw
            middle.append(total.sum(0) / count.sum(0))
            draws.append((times @ total) / (times @ count))
        is_sure |= (count > 0).sum(0) > 1
    value, spread = _mean(np.array(middle)), _mean(np.array(draws))
    ends = [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2]
    found = {}
    for i, name in enumerate(names):
        known = spread[~np.isnan(spread[:, i]), i]
        low, high = np.quantile(known, ends) if is_sure[i] else (np.nan, np.nan)
        found[name] = Difference(float(value[i]), float(low), float(high))
    return found


def _vector(row: Row, names: list[str]) -> NDArray[np.float64]:
    return np.array([row.values.get(name, np.nan) for name in names])


def _mean(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean over the first axis, ignoring NaN; NaN where all values are NaN."""
    count = (~np.isnan(values)).sum(0)
    total: NDArray[np.float64] = np.nan_to_num(values).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
