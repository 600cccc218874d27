"""Measure how far an exported graph is from torch, and hold it to a tolerance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from engines.arrays import F32, U8
from engines.errors import BadData
from train.export.graph import feeds, session

SHAPES = (1, 1, 1), (1, 9, 16), (2, 12, 7), (3, 2, 5)  # N, and H and W in strides
# Greatest |difference| of alpha that is allowed: of a graph as it comes from torch, and as it is
# written, by `ModelSpec.precision`. Kernels stored in 16 bits, as in fp32 files too, and integers
# move the steep edges of alpha by a fraction of a pixel: a few pixels differ much more than others.
TRACE_TOLERANCE = {"max": 1e-4}
TOLERANCES = {
    "fp32": {"max": 0.05, "p99": 1e-3},
    "fp16": {"max": 5e-3},
    "int8": {"mean": 5e-3},
}


@dataclass(frozen=True)
class Parity:
    """The |difference| of alpha from torch's over all pixels of some images.

    Attributes:
        max, p99, mean: its greatest value, 99th percentile and mean.
        images: number of real images; 0: the frames were synthetic.
    """

    max: float
    p99: float
    mean: float
    images: int

    def __str__(self) -> str:
        seen = f"{self.images} images" if self.images else "synthetic frames only"
        return (
            f"mean {self.mean:.2g}, 99 % of pixels below {self.p99:.2g}, at most {self.max:.2g} "
            f"({seen})"
        )

    def check(self, allowed: dict[str, float], out: Path) -> None:
        """Compare ``max``, ``p99`` and ``mean`` with the greatest value `allowed` for them.

        Raises:
            BadData: one is greater.
        """
        for name, most in allowed.items():
            if not getattr(self, name) <= most:
                raise BadData(
                    f"{out}: alpha differs from torch by {getattr(self, name):.2g} ({name}), "
                    f"allowed {most:g}; nothing is written"
                )


def tolerated(allowed: dict[str, float], chooses: bool) -> dict[str, float]:
    """Return what is allowed: where a network chooses, ``max`` holds for 99 % of the pixels.

    Args:
        allowed: as of `Parity.check`.
        chooses: of `Network.chooses`.
    """
    if not chooses:
        return allowed
    return {"p99" if name == "max" else name: most for name, most in allowed.items()}


def synthetic(stride: int) -> list[U8]:
    """Return frames (N, H, W, 3) uint8 of random blocks, in all `SHAPES`."""
    rng, made = np.random.default_rng(0), []
    for n, h, w in SHAPES:
        h, w = h * stride, w * stride
        blocks = rng.integers(0, 256, (n, max(2, h // 16), max(2, w // 16), 3), np.uint8)
        tall = blocks.repeat(-(-h // blocks.shape[1]), 1).repeat(-(-w // blocks.shape[2]), 2)
        made.append(np.ascontiguousarray(tall[:, :h, :w]))
    return made


def each_difference(
    model: onnx.ModelProto, frames: Sequence[U8], expected: Sequence[F32]
) -> Iterator[F32]:
    """Yield the |difference| of alpha from `expected` (N, H, W) for each of frames (N, H, W, 3)."""
    run = session(model)
    for frame, alpha in zip(frames, expected, strict=True):
        yield np.abs(run.run(None, feeds(run, frame))[0] - alpha)


def differences(model: onnx.ModelProto, frames: Sequence[U8], expected: Sequence[F32]) -> F32:
    """Return all values of `each_difference` in one vector."""
    return np.concatenate([d.ravel() for d in each_difference(model, frames, expected)])


def compare(
    model: onnx.ModelProto, frames: Sequence[U8], expected: Sequence[F32], real: bool
) -> Parity:
    """Compare the alpha of a graph with that of torch, `expected`, on frames (N, H, W, 3)."""
    values = differences(model, frames, expected)
    return Parity(
        float(values.max()),
        float(np.percentile(values, 99)),
        float(values.mean(dtype=np.float64)),
        len(frames) if real else 0,
    )
