"""Draw a contact sheet: the worst, median and best case of each model in every set."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.arrays import U8
from engines.measure.drawing import PAPER_GREY, save, text
from engines.measure.quality.cases import Case
from engines.measure.quality.evaluate import Row
from engines.measure.quality.metrics import METRICS

PANEL_SIDE = 200  # pixels: a panel is square, its image lies in the middle
GAP_WIDTH = 12  # pixels between blocks
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
        save(path, _stack(strips))

    def _keep(self, key: tuple[str, ...], image: U8) -> None:
        height, width = image.shape[:2]
        scale = min(PANEL_SIDE / width, PANEL_SIDE / height)
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
        composite = np.rint(a * rgb + (1 - a) * np.array(BACKGROUND_RGB)).astype(np.uint8)
        panels = [_centred(p) for p in (rgb, truth, alpha, composite)]
        return np.vstack([text(label, PANEL_SIDE * len(panels)), np.hstack(panels)])


def _centred(image: Any) -> U8:
    if image.ndim == 2:
        image = cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    panel = np.full((PANEL_SIDE, PANEL_SIDE, 3), PAPER_GREY, np.uint8)
    height, width = image.shape[:2]
    y, x = (PANEL_SIDE - height) // 2, (PANEL_SIDE - width) // 2
    panel[y : y + height, x : x + width] = image
    return panel


def _stack(strips: list[str | list[U8]]) -> U8:
    """Stack headings and rows of blocks, one below the other."""
    wide = next(s for s in strips if not isinstance(s, str))
    width = sum(block.shape[1] + GAP_WIDTH for block in wide) - GAP_WIDTH
    gap = np.full((wide[0].shape[0], GAP_WIDTH, 3), PAPER_GREY, np.uint8)
    lines = [
        text(s, width) if isinstance(s, str) else np.hstack([s[0], gap, s[1], gap, s[2]])
        for s in strips
    ]
    return np.vstack(lines)
