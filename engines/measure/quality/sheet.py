"""Draw a contact sheet: the worst, median and best case of each model in every set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import U8
from engines.measure.drawing import fitted, panel, save, stacked, text
from engines.measure.quality.cases import Case
from engines.measure.quality.evaluate import Row
from engines.measure.quality.metrics import METRICS

PANEL_SIDE = 200  # pixels: a panel is square, its image lies in the middle
BACKGROUND_RGB = (150, 40, 150)  # of composites: a colour that is rare in photographs
# The metric by which cases are ranked in a set; MAD in the others.
RANKING_METRICS = {"masks": "iou", "empty": "mass", "static": "flicker"}


@dataclass
class Sheet:
    """Collects small copies of every case: pass it to `evaluate` as `on_alpha`, then call `write`.

    The copies are compressed, so thousands of cases need little memory.
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
        """Draw and save the sheet.

        Args:
            path: with one of `drawing.SUFFIXES`.
            rows: of all models, from `evaluate`.
            models: the names of the estimators, in the order in which `evaluate` had them.

        Raises:
            CannotCreate, WriteFailed: the file cannot be written.
        """
        strips: list[str | list[U8]] = []
        for kind in dict.fromkeys(row.set for row in rows):
            key = RANKING_METRICS.get(kind, "mad")
            metric = next(m for m in METRICS if m.key == key)
            second = "what stands still" if kind == "static" else "truth"
            strips.append(f"{kind}: image, {second}, alpha, composite; by {metric.head}")
            for i, name in enumerate(models):
                ranked = [row for row in rows if (row.set, row.model) == (kind, name)]
                ranked = [row for row in ranked if not np.isnan(row.values.get(key, np.nan))]
                ranked.sort(key=lambda r: r.values[key], reverse=not metric.is_better_high)
                chosen = zip(
                    ("worst", "median", "best"),
                    (ranked[0], ranked[len(ranked) // 2], ranked[-1]),
                    strict=True,
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
        save(path, stacked(strips))

    def _keep(self, key: tuple[str, ...], image: U8) -> None:
        _, data = cv2.imencode(".png", fitted(image, PANEL_SIDE))
        self._copies[key] = data

    def _block(self, label: str, row: Row, model: int) -> U8:
        where = (row.set, row.source, row.name)
        rgb: Any
        truth: Any
        alpha: Any
        rgb, truth, alpha = (
            cv2.imdecode(self._copies[(*where, part)], cv2.IMREAD_UNCHANGED)
            for part in ("rgb", "truth", str(model))
        )
        a = alpha[..., None] / 255
        composite = np.rint(a * rgb + (1 - a) * np.array(BACKGROUND_RGB)).astype(np.uint8)
        panels = [panel(p, PANEL_SIDE) for p in (rgb, truth, alpha, composite)]
        return np.vstack([text(label, PANEL_SIDE * len(panels)), np.hstack(panels)])
