"""The interfaces of estimators."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from engines.arrays import F32, U8


class Estimator(Protocol):
    """Something that estimates the alpha of an image.

    Images between two calls of `reset` are the frames of one sequence, in order.
    """

    name: str  # in results

    def __call__(self, rgb: U8) -> F32:
        """Return the alpha (H, W), float32 in [0, 1], of an image (H, W, 3), uint8 RGB."""

    def reset(self) -> None:
        """Forget the earlier images: the next one begins a new sequence."""


@runtime_checkable
class GuidedEstimator(Estimator, Protocol):
    """An estimator that is shown the truth where there is one, such as an upper bound.

    Raises:
        UsageError: it is called without.
    """

    needs_alpha: bool  # a coarse mask is no truth for it, nor an image with nobody in it

    def with_truth(self, rgb: U8, truth: U8) -> F32:
        """Return the alpha of an image as `__call__` does, given its truth (H, W), uint8."""
