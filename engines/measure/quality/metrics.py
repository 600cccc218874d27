"""Measure the difference of an alpha from the truth with the metrics of the matting papers.

Alpha and truth are (H, W) floats in [0, 1] of the image's own size; `region` is (H, W) bool, the
whole image if None. Means and sums are over the region only; filters and connected components use
the whole image. The mean over an empty region is NaN, the sum is 0.

Functions return plain values; `METRICS` has the factors with which they are shown.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Alpha = NDArray[np.floating[Any]]
Region = NDArray[np.bool_]

GRADIENT_SIGMA = 1.4  # pixels
CONNECTIVITY_STEPS = 10  # thresholds in [0, 1]
CONNECTIVITY_THETA = 0.15
BAND_PIXELS = 5  # on each side of a coarse mask's edge that are not judged
MAX_STILL_CHANGE = 2  # of 255, in every channel: the most by which a still pixel changes


@dataclass(frozen=True)
class Metric:
    """A metric: the key of its value, and how it is shown.

    Attributes:
        head: of its column: the name and the factor.
        factor: by which values are multiplied when they are shown.
        region: a key of `REGIONS`.
    """

    key: str
    head: str
    factor: float
    region: str
    is_better_high: bool = False


def _five(region: str, suffix: str) -> tuple[Metric, ...]:
    return (
        Metric(f"mse{suffix}", "MSE×10³", 1e3, region),
        Metric(f"mad{suffix}", "MAD×10³", 1e3, region),
        Metric(f"sad{suffix}", "SAD÷10³", 1e-3, region),
        Metric(f"grad{suffix}", "Grad÷10³", 1e-3, region),
        Metric(f"conn{suffix}", "Conn÷10³", 1e-3, region),
    )


METRICS: tuple[Metric, ...] = (
    Metric("iou", "IoU", 1, "whole", is_better_high=True),
    Metric("iou_outside", "IoU", 1, "outside", is_better_high=True),
    Metric("mad_outside", "MAD×10³", 1e3, "outside"),
    *_five("whole", ""),
    Metric("dtssd", "dtSSD×10²", 1e2, "whole"),
    *_five("boundary", "_boundary"),
    Metric("mass", "mass×10³", 1e3, "nobody"),
    Metric("person", "person×10³", 1e3, "nobody"),
    Metric("flicker", "flicker×10³", 1e3, "still"),
    Metric("flicker_soft", "soft×10³", 1e3, "still"),
)
REGIONS = {
    "whole": "the whole image",
    "boundary": "where 0.05 < true alpha < 0.95",
    "outside": f"further than {BAND_PIXELS} px from the mask's edge",
    "nobody": "the whole image: mean alpha, and the share where alpha ≥ 0.5",
    "still": f"pixels that change by at most {MAX_STILL_CHANGE} of 255: MAD from the frame before; "
    "soft: 0.05 < alpha < 0.95",
}


def boundary_region(truth: Alpha) -> Region:
    """Return where the true alpha is neither person nor background: 0.05 < alpha < 0.95."""
    return (truth > 0.05) & (truth < 0.95)


def outside_band(mask: NDArray[np.uint8], px: float = BAND_PIXELS) -> Region:
    """Return the pixels further than `px` from the other side of a coarse mask's edge.

    Args:
        mask: (H, W) uint8, person where over 127.
        px: Euclidean distance between pixel centres.
    """
    person = (mask > 127).astype(np.uint8)
    if person.all() or not person.any():
        return np.ones(mask.shape, np.bool_)
    # In one of the two maps the distance is 0: the pixel itself is on that side.
    distance = [
        cv2.distanceTransform(p, cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for p in (person, 1 - person)
    ]
    far: Region = np.maximum(*distance) > px
    return far


def unchanged(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> Region:
    """Return where no channel of two images (H, W, 3), uint8, changes by > `MAX_STILL_CHANGE`."""
    change = np.maximum(before, after) - np.minimum(before, after)
    still: Region = change.max(axis=2) <= MAX_STILL_CHANGE
    return still


def mse(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Return the mean squared difference."""
    return _mean(np.square(_difference(alpha, truth)), region)


def mad(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Return the mean absolute difference."""
    return _mean(np.abs(_difference(alpha, truth)), region)


def sad(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Return the sum of absolute differences, in pixels."""
    return _sum(np.abs(_difference(alpha, truth)), region)


def gradient_error(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Return the sum of squared differences of gradient magnitudes (Rhemann et al. 2009).

    Gradients are convolutions with first-order Gaussian derivatives, sigma 1.4 pixels, 9 × 9 taps,
    each filter of unit L2 norm, edges repeated: as in the benchmark's and Deep Image Matting's
    code. Alpha stays in [0, 1]; it is not stretched to its own range first.
    """
    return _sum(np.square(_gradient(alpha) - _gradient(truth)), region)


def connectivity_error(alpha: Alpha, truth: Alpha, region: Region | None = None) -> float:
    """Return the connectivity error of Rhemann et al. 2009, with theta 0.15 and p 1.

    It is the sum of absolute differences of connectivity. The source is the largest 4-connected
    component in which both exceed a threshold; a pixel's level is
    the highest threshold, in steps of 0.1, up to which it belongs to the source. Its connectivity
    is 1 less what it is above its level, where that is at least theta.
    """
    alpha, truth = alpha.astype(np.float64), truth.astype(np.float64)
    level = np.full(alpha.shape, -1.0)
    for i in range(1, CONNECTIVITY_STEPS + 1):
        both = np.minimum(alpha, truth) >= i / CONNECTIVITY_STEPS
        source = _largest_part(both)
        level[(level < 0) & ~source] = (i - 1) / CONNECTIVITY_STEPS
    level[level < 0] = 1

    def connectivity(x: Any) -> Any:
        above = x - level
        return 1 - above * (above >= CONNECTIVITY_THETA)

    return _sum(np.abs(connectivity(alpha) - connectivity(truth)), region)


def iou(alpha: Alpha, mask: NDArray[np.uint8], region: Region | None = None) -> float:
    """Return the IoU of ``alpha ≥ 0.5`` and ``mask > 127``; 1 if both are empty."""
    person, truth = alpha >= 0.5, mask > 127
    if region is not None:
        person, truth = person & region, truth & region
    union = np.count_nonzero(person | truth)
    return np.count_nonzero(person & truth) / union if union else 1.0


def dtssd(alphas: Alpha, truths: Alpha) -> float:
    """Return how much the change of alpha over a sequence differs from the change of the truth.

    It is the mean of ``sqrt(mean(((α_t - α_t-1) - (α*_t - α*_t-1))²))`` over pairs of neighbouring
    frames: the dtSSD of Erofeev et al. 2015 per pixel, as Robust Video Matting reports it (there
    ×10²).

    Args:
        alphas, truths: (T, H, W).

    Returns:
        0 for no change against the truth; NaN for fewer than two frames.
    """
    error = [_difference(alpha, truth) for alpha, truth in zip(alphas, truths, strict=True)]
    pairs = [np.sqrt(mse(error[t], error[t - 1])) for t in range(1, len(error))]
    return float(np.mean(pairs)) if pairs else float("nan")


def _difference(alpha: Alpha, truth: Alpha) -> NDArray[np.float64]:
    return alpha.astype(np.float64) - truth


def _mean(values: NDArray[np.float64], region: Region | None) -> float:
    if region is not None:
        values = values[region]
    return float(values.mean()) if values.size else float("nan")


def _sum(values: NDArray[np.float64], region: Region | None) -> float:
    return float(values.sum() if region is None else values[region].sum())


def _gradient(alpha: Alpha) -> NDArray[np.float64]:
    x = np.arange(-4, 5) / GRADIENT_SIGMA  # beyond, the Gaussian is under a hundredth of its top
    gauss = np.exp(-(x**2) / 2)
    slope = x * gauss
    gauss, slope = gauss / np.linalg.norm(gauss), slope / np.linalg.norm(slope)
    values = alpha.astype(np.float64)
    dx, dy = (
        cv2.sepFilter2D(values, cv2.CV_64F, kx, ky, borderType=cv2.BORDER_REPLICATE)
        for kx, ky in ((slope, gauss), (gauss, slope))
    )
    return np.hypot(dx, dy)


def _largest_part(pixels: Region) -> Region:
    """Return the largest 4-connected component; of several, the first from the top."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        pixels.astype(np.uint8), connectivity=4
    )
    if count < 2:
        return pixels
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    part: Region = labels == largest
    return part
