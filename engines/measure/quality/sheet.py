"""The contact sheet: what each model's worst, median and best case of every set look like."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import U8
from engines.measure.drawing import PAPER, save, text
from engines.measure.quality.cases import Case
from engines.measure.quality.evaluate import Row
from engines.measure.quality.metrics import METRICS

PANEL = 200  # pixels: a panel is square, its image lies in the middle
GAP = 12  # pixels: distance between blocks
BACKGROUND = (150, 40, 150)  # RGB that people are put on: nothing in an image looks like it
# The metric that says which case is worst; MAD where not named.
JUDGED_BY = {"masks": "iou", "empty": "mass", "static": "flicker"}


@dataclass
class Sheet:
    """Collects small copies while `evaluate` runs: give it as `watch`, then `write`.

    Copies are kept compressed, so that thousands of cases take no room.
    """

    _copies: dict[tuple[str, ...], U8] = field(default_factory=dict)

    def __call__(
        self, case: Case, rgb: U8, truth: U8, model: int, alpha: NDArray[np.float32]
    ) -> None:
        where = (case.set, case.source, case.name)
        if model == 0:
            self._keep((*where, "rgb"), rgb)
            self._keep((*where, "truth"), truth)
        self._keep((*where, str(model)), np.rint(np.clip(alpha, 0, 1) * 255).astype(np.uint8))

    def write(self, path: Path, rows: list[Row], models: list[str]) -> None:
        """Lay out and save the sheet.

        Args:
            path: as in `drawing.save`.
            models: names in the order of `evaluate`'s matters.

        Raises:
            CannotCreate, WriteFailed: it cannot be written.
        """
        strips: list[str | list[U8]] = []
        for kind in dict.fromkeys(row.set for row in rows):
            key = JUDGED_BY.get(kind, "mad")
            metric = next(m for m in METRICS if m.key == key)
            second = "what stands still" if kind == "static" else "truth"
            strips.append(f"{kind}: image, {second}, alpha, composite; by {metric.head}")
            for i, name in enumerate(models):
                own = [row for row in rows if (row.set, row.model) == (kind, name)]
                own = [row for row in own if not np.isnan(row.values.get(key, np.nan))]
                own.sort(key=lambda r: r.values[key], reverse=not metric.is_better_high)
                chosen = zip(
                    ("worst", "median", "best"), (own[0], own[len(own) // 2], own[-1]), strict=True
                )
                strips.append(
                    [
                        self._block(
                            f"{name}, {what}: {row.values[key] * metric.factor:.3g}  "
                            f"{row.source}/{row.name}",
                            row,
                            i,
                        )
                        for what, row in chosen
                    ]
                )
        save(path, _stack(strips))

    def _keep(self, key: tuple[str, ...], image: U8) -> None:
        height, width = image.shape[:2]
        scale = min(PANEL / width, PANEL / height)
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        _, data = cv2.imencode(".png", cv2.resize(image, size, interpolation=how))
        self._copies[key] = data

    def _block(self, label: str, row: Row, model: int) -> U8:
        where = (row.set, row.source, row.name)
        rgb: Any
        alpha: Any
        rgb, truth, alpha = (
            cv2.imdecode(self._copies[(*where, part)], cv2.IMREAD_UNCHANGED)
            for part in ("rgb", "truth", str(model))
        )
        a = alpha[..., None] / 255
        composite = np.rint(a * rgb + (1 - a) * np.array(BACKGROUND)).astype(np.uint8)
        panels = [_centred(p) for p in (rgb, truth, alpha, composite)]
        return np.vstack([text(label, PANEL * len(panels)), np.hstack(panels)])


def _centred(image: Any) -> U8:
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    panel = np.full((PANEL, PANEL, 3), PAPER, np.uint8)
    height, width = image.shape[:2]
    y, x = (PANEL - height) // 2, (PANEL - width) // 2
    panel[y : y + height, x : x + width] = image
    return panel


def _stack(strips: list[str | list[U8]]) -> U8:
    """Headings and rows of blocks, one below the other."""
    wide = next(s for s in strips if not isinstance(s, str))
    width = sum(block.shape[1] + GAP for block in wide) - GAP
    gap = np.full((wide[0].shape[0], GAP, 3), PAPER, np.uint8)
    lines = [
        text(s, width) if isinstance(s, str) else np.hstack([s[0], gap, s[1], gap, s[2]])
        for s in strips
    ]
    return np.vstack(lines)
