"""How well a model finds people: ``python -m engines.measure.evaluate MODEL --data DIR``.

Intersection over union of alpha ≥ 0.5 and the mask, at the picture's own size, on the ``val``
masks of `engines.measure.layout`: the mean of each source's pictures, and the mean of the sources.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from engines import models
from engines.engine import MattingEngine, open_engine
from engines.errors import guarded
from engines.measure.layout import list_pairs, read_image, read_label
from engines.preprocess import fit


def matte(engine: MattingEngine, rgb: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    """Alpha of one picture at its own size.

    Args:
        rgb: (H, W, 3) uint8.
        size: shorter edge the network sees.

    Returns:
        (H, W) float32 in [0, 1].
    """
    height, width = rgb.shape[:2]
    f = fit(width, height, size, engine.spec.stride)
    alpha = f.unpad(engine(f.shrink(rgb)[np.newaxis])[0])
    return cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR)


def iou(alpha: NDArray[np.float32], mask: NDArray[np.uint8]) -> float:
    """Intersection over union of ``alpha ≥ 0.5`` and ``mask > 127``; 1 where both are empty."""
    person, truth = alpha >= 0.5, mask > 127
    union = np.count_nonzero(person | truth)
    return np.count_nonzero(person & truth) / union if union else 1.0


def mask_iou(engine: MattingEngine, data: Path, size: int | None = None) -> dict[str, float]:
    """Mean IoU of each source's ``val`` pictures, by the name of the source."""
    scores: dict[str, list[float]] = {}
    for pair in tqdm(list_pairs(data, "seg", "val"), unit=" pictures", mininterval=5):
        alpha = matte(engine, read_image(pair.image)[..., :3], size or engine.spec.size)
        scores.setdefault(pair.source, []).append(iou(alpha, read_label(pair.label)))
    return {source: float(np.mean(values)) for source, values in sorted(scores.items())}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", help="a shipped model's name, or an ONNX file")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", type=int, help="shorter edge; the model's own unless given")
    args = parser.parse_args()
    engine = open_engine(models.find(args.model))
    scores = mask_iou(engine, args.data, args.size)
    for source, score in scores.items():
        print(f"{source:12} {score:.3f}")
    mean = np.mean(list(scores.values()))
    print(
        f"{'mean':12} {mean:.3f}  at {args.size or engine.spec.size} lines, {len(scores)} sources"
    )
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
