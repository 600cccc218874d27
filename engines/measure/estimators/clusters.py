"""K-means and Gaussian mixtures of an image's colours: matting without learning.

An image's pixels fall into k clusters, and alpha is the share of those that are the person's. Place
tells which these are: a person is more often in the middle of an image than along its left, upper
and right edges. With `oracle` the truth tells it, so that the faults of this rule are seen apart
from those of clustering. With K-means no other choice has a lower MAD, though another may have a
greater IoU.

Pixels are R, G and B in [0, 1], or L, a and b divided by 100; with `xy`, x and y in [0, 0.5] too.
Clusters are found in an image of at most 256 pixels a side, and told in all of it.

*Image Matting* (Lang et al., 2021) clusters pixel values and says no more: k, the colours, the
person's clusters and what the mixtures are (of any covariance, begun with K-means) are this
project's. Differs from it: K-means begins with centres far from each other (k-means++), the best of
ten times, and not at random.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import F32, U8
from engines.errors import Unavailable, UsageError
from engines.measure.estimators.estimator import Estimator

MAX_FIT_SIDE = 256  # pixels of the longer side of what clusters are found in
CHUNK = 1 << 20  # pixels whose clusters are told at once, to bound the memory
MIN_K, MAX_K = 2, 16
XY_SCALE = 0.5  # of x and y beside colours in [0, 1]
BORDER_SHARE = 1 / 16  # of the sides: width of the band that is mostly background
SEED = 0

Samples = NDArray[np.float64]  # (N, channels)
Membership = Callable[[Samples], Any]  # (N, k), the share of each cluster in each pixel
Fit = Callable[[Samples, int], Membership]


@dataclass(frozen=True)
class Options:
    """What follows the colon in ``kmeans:k=4,lab``."""

    k: int = 2
    lab: bool = False
    xy: bool = False
    oracle: bool = False

    @classmethod
    def parse(cls, text: str, method: str) -> Options:
        """Parse the options of a method, separated by commas.

        Raises:
            UsageError: an option is not known, or k is out of range.
        """
        given: dict[str, Any] = {}
        for word in text.split(",") if text else ():
            key, equals, value = word.partition("=")
            if key == "k" and value.isascii() and value.isdigit():
                given["k"] = int(value)
            elif key in ("lab", "xy", "oracle") and not equals:
                given[key] = True
            else:
                raise UsageError(
                    f"{method}:{text}: no option {word!r}",
                    f"write {method}:k=N,lab,xy,oracle, or leave out what you do not want",
                )
        options = cls(**given)
        if not MIN_K <= options.k <= MAX_K:
            raise UsageError(f"{method}:{text}: k must be from {MIN_K} to {MAX_K}")
        return options


class Clusters:
    """Alpha is the share of the clusters that are more frequent in the middle than at the border.

    Args:
        fit: finds clusters.
    """

    def __init__(self, name: str, options: Options, fit: Fit):
        self.name = name
        self._options, self._fit = options, fit

    def __call__(self, rgb: U8) -> F32:
        shares = self._shares(rgb)
        return _alpha(shares, _are_in_the_middle(shares))

    def reset(self) -> None:
        """Do nothing: each image is seen by itself."""

    def _shares(self, rgb: U8) -> F32:
        """Return the shares (H, W, k) of the clusters; fewer than k where colours are fewer."""
        from threadpoolctl import threadpool_limits

        height, width = rgb.shape[:2]
        scale = min(1.0, MAX_FIT_SIDE / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        small = _samples(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), self._options)
        k = min(self._options.k, len(np.unique(small, axis=0)))
        if k < 2:
            return np.ones((height, width, 1), np.float32)
        samples = _samples(rgb, self._options)
        shares = np.empty((len(samples), k), np.float32)
        # These steps are too short for several threads, which wait for each other most of the time.
        with threadpool_limits(1):
            membership = self._fit(small.astype(np.float64), k)
            for i in range(0, len(samples), CHUNK):
                part = slice(i, i + CHUNK)
                shares[part] = membership(samples[part].astype(np.float64))
        return shares.reshape(height, width, k)


class OracleClusters(Clusters):
    """Alpha is the share of the clusters of which more is person than background in the truth."""

    needs_alpha = False

    def __call__(self, rgb: U8) -> F32:
        raise UsageError(f"{self.name}: there is no truth to choose clusters by")

    def with_truth(self, rgb: U8, truth: U8) -> F32:
        shares = self._shares(rgb)
        person = shares.mean((0, 1)) / 2
        return _alpha(shares, (shares * (truth / np.float32(255))[..., None]).mean((0, 1)) > person)


def kmeans(text: str) -> Estimator:
    """Return K-means: each pixel is in one cluster, so that alpha is 0 or 1.

    Raises:
        UsageError: an option in `text` is not known.
        Unavailable: scikit-learn is missing.
    """
    return _estimator("kmeans", text, _fit_kmeans)


def gmm(text: str) -> Estimator:
    """Return a mixture of Gaussians: pixels that may be of several clusters get a soft alpha.

    Raises:
        UsageError: an option in `text` is not known.
        Unavailable: scikit-learn is missing.
    """
    return _estimator("gmm", text, _fit_gmm)


def _estimator(method: str, text: str, fit: Fit) -> Estimator:
    options = Options.parse(text, method)
    try:
        import sklearn  # noqa: F401
    except ModuleNotFoundError as e:
        raise Unavailable(f"{method}: needs scikit-learn", "run: pip install 'wsshm[train]'") from e
    name = f"{method}:{text}" if text else method
    return (OracleClusters if options.oracle else Clusters)(name, options, fit)


def _fit_kmeans(samples: Samples, k: int) -> Membership:
    from sklearn.cluster import KMeans

    found = KMeans(k, n_init=10, random_state=SEED).fit(samples)
    return lambda new: np.eye(k, dtype=np.float32)[found.predict(new)]


def _fit_gmm(samples: Samples, k: int) -> Membership:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    with warnings.catch_warnings():
        # A mixture that still moves a little after a hundred steps serves as well.
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = GaussianMixture(k, random_state=SEED).fit(samples)
    return found.predict_proba  # type: ignore[no-any-return]


def _samples(rgb: U8, options: Options) -> F32:
    """Return what clusters are found in (H·W, channels), row by row."""
    values = np.divide(rgb, np.float32(255))
    if options.lab:
        values = cv2.cvtColor(values, cv2.COLOR_RGB2LAB) / 100
    if options.xy:
        height, width = rgb.shape[:2]
        x, y = ((np.arange(n, dtype=np.float32) + 0.5) * (XY_SCALE / n) for n in (width, height))
        places = (np.broadcast_to(v, (height, width)) for v in (x, y[:, None]))
        values = np.dstack([values, *places])
    return values.reshape(-1, values.shape[2])


def _are_in_the_middle(shares: F32) -> Any:
    """Return for each cluster (k,) whether it is a person's by its place.

    Its mean share in a central box, the middle half of the width and the lower three quarters of
    the height, is compared with that in a band along the left, upper and right edges.
    """
    height, width = shares.shape[:2]
    band = np.ones((height, width), np.bool_)
    y, x = max(1, round(height * BORDER_SHARE)), max(1, round(width * BORDER_SHARE))
    band[y:, x : width - x] = False
    box = shares[height // 4 :, width // 4 : max(1, width - width // 4)]
    return box.mean((0, 1)) > shares[band].mean(0)


def _alpha(shares: F32, is_person: Any) -> F32:
    return np.clip(shares[..., is_person].sum(2), 0, 1)
