"""How good models are: figures of every case, their means over sources, and how sure they are.

The images of a source resemble each other, so the mean is taken of each source first and then
over the sources; an interval tells what another draw of the same sources' images might give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines.engine import MattingEngine
from engines.measure.estimators.peers import Estimator
from engines.measure.quality import metrics
from engines.measure.quality.cases import Case, choose, masks
from engines.measure.quality.metrics import METRICS, iou
from engines.preprocess import fit

DRAWS, SEED, COVERAGE = 10_000, 0, 0.95  # of the bootstrap
Watch = Callable[[Case, "NDArray[np.uint8]", "NDArray[np.uint8]", int, "NDArray[np.float32]"], None]


@dataclass(frozen=True)
class Row:
    """What one model reached in one case; `values` by `Metric.key`, plain and unscaled."""

    model: str
    set: str
    source: str
    name: str
    group: str
    values: dict[str, float]
    frame: int | None = None  # as in `Case`


@dataclass(frozen=True)
class Difference:
    """A model's mean over sources less the baseline's, and the interval it lies in.

    `low` and `high` are NaN where no source has two groups of cases to draw from; a source that has
    one adds nothing to the width.
    """

    value: float
    low: float
    high: float


def matte(engine: MattingEngine, rgb: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Alpha of one image at its own size.

    Args:
        rgb: (H, W, 3) uint8.
        size: shorter edge the network sees.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = rgb.shape[:2]
    _, alpha = small_matte(engine, rgb, size)
    return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


def small_matte(
    engine: MattingEngine, rgb: NDArray[np.uint8], size: int
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """One image as the network saw it, (h, w, 3) uint8, and its alpha, (h, w) float32 in [0, 1].

    Args:
        rgb: (H, W, 3) uint8.
        size: shorter edge the network sees.
    """
    f = fit(rgb.shape[1], rgb.shape[0], size, engine.spec.stride)
    small = f.shrink(rgb)
    return f.unpad(small), f.unpad(engine(small[np.newaxis])[0])


def mask_iou(
    engine: MattingEngine, data: Path, size: int | None = None, limit: int | None = None
) -> dict[str, float]:
    """Mean IoU of each source's ``val`` masks, by the name of the source; {} where there are none.

    Args:
        size: shorter edge the network sees; the model's own unless given.
        limit: at most so many images of each source.
    """
    scores: dict[str, list[float]] = {}
    cases = list(choose(masks(data, "val"), limit=limit))
    for case in tqdm(cases, unit=" images", mininterval=5):
        rgb, mask = case.read()
        alpha = matte(engine, rgb, size or engine.spec.size)
        scores.setdefault(case.source, []).append(iou(alpha, mask))
    return {source: float(np.mean(values)) for source, values in sorted(scores.items())}


def score(kind: str, alpha: NDArray[np.float32], truth: NDArray[np.uint8]) -> dict[str, float]:
    """The figures of one image, by `Metric.key`; in ``static`` one alone has none.

    Args:
        kind: the case's set; a coarse mask is not judged as an alpha.
        alpha: (H, W) float32 in [0, 1].
        truth: (H, W) uint8.
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


def score_change(
    kind: str, alphas: list[NDArray[np.float32]], truths: list[NDArray[np.uint8]]
) -> dict[str, float]:
    """The figures of two consecutive frames, by `Metric.key`; arguments as in `score`."""
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
    estimators: list[Estimator], cases: Iterable[Case], watch: Watch | None = None
) -> list[Row]:
    """Every model on every case; an image is read once and shown to all.

    What two consecutive frames of a sequence have, such as dtSSD, is under the later one.

    Args:
        watch: called with each case, its image and truth, the model's place in `estimators`, and
            its alpha.
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
            if watch:
                watch(case, rgb, truth, i, alpha)
        before = case, truth, alphas
    return rows


def _follows(case: Case, before: Case) -> bool:
    same = (case.set, case.source) == (before.set, before.source)
    return same and case.frame is not None and case.frame - 1 == before.frame


def keys(rows: list[Row]) -> list[str]:
    """The metrics that occur, in the order of `METRICS`."""
    found = {key for row in rows for key in row.values}
    return [m.key for m in METRICS if m.key in found]


def means(rows: list[Row]) -> dict[str, dict[str, float]]:
    """{source: {metric: mean}} of one model in one set; "" is the mean of the sources' means.

    Cases that have no such figure are left out, and sources without any; NaN where nothing is left.
    """
    names, table = keys(rows), {}
    for source in sorted({r.source for r in rows}):
        values = np.array([_vector(r, names) for r in rows if r.source == source])
        table[source] = dict(zip(names, _mean(values).tolist(), strict=True))
    every = np.array([list(t.values()) for t in table.values()])
    return {"": dict(zip(names, _mean(every).tolist(), strict=True)), **table}


def compare(baseline: list[Row], other: list[Row]) -> dict[str, Difference]:
    """Two models' means over sources on the same cases, with paired bootstrap intervals.

    Groups of cases are drawn with repetition within each source, for both models alike; 95 % of
    `DRAWS` differences lie in the interval.
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
        with np.errstate(invalid="ignore"):  # 0/0 is NaN: no such figure in this draw
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
    """Mean over the first axis of what is not NaN; NaN where all is."""
    count = (~np.isnan(values)).sum(0)
    total: NDArray[np.float64] = np.nan_to_num(values).sum(0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
