"""Plots of the tables."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("agg")
import numpy as np
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from benchmarks.papers.report import Column, Scores, interval

DOTS_PER_INCH = 110


def bars(path: Path, title: str, rows: dict[str, Scores], columns: list[Column]) -> None:
    """Draw one panel of horizontal bars a column, with the seeds' intervals."""
    figure, panels = plt.subplots(
        1, len(columns), figsize=(1.5 + 3.2 * len(columns), 1.2 + 0.3 * len(rows)), sharey=True
    )
    for panel, column in zip(np.atleast_1d(panels), columns, strict=True):
        values = [scores.values(column) for scores in rows.values()]
        error = np.nan_to_num([interval(v) for v in values])
        panel.barh(list(rows), [np.mean(v) for v in values], xerr=error, color="tab:blue")
        panel.set_title(column.head, fontsize=9)
    np.atleast_1d(panels)[0].invert_yaxis()
    _save(figure, path, title)


def lines(
    path: Path, title: str, cells: dict[tuple[str, str], Scores], columns: list[Column]
) -> None:
    """Draw one panel a column: a line for each second key, over the first ones.

    Args:
        cells: by (masks, mattes).
    """
    figure, panels = plt.subplots(1, len(columns), figsize=(4 * len(columns), 3.4))
    ticks = list(dict.fromkeys(mattes for _, mattes in cells))
    for panel, column in zip(np.atleast_1d(panels), columns, strict=True):
        for masks in dict.fromkeys(masks for masks, _ in cells):
            known = [t for t in ticks if (masks, t) in cells]
            values = [np.mean(cells[masks, t].values(column)) for t in known]
            panel.plot([ticks.index(t) for t in known], values, marker="o", label=f"{masks} masks")
        panel.set_xticks(range(len(ticks)), ticks)
        panel.set_xlabel("mattes")
        panel.set_title(column.head, fontsize=9)
    np.atleast_1d(panels)[0].legend(fontsize=8)
    _save(figure, path, title)


def pairs(path: Path, title: str, rows: dict[str, list[float]], names: list[str]) -> None:
    """Draw a group of horizontal bars a row, one for each of `names`."""
    figure, panel = plt.subplots(figsize=(7, 1.2 + 0.4 * len(rows)))
    places, height = np.arange(len(rows)), 0.8 / len(names)
    for i, name in enumerate(names):
        panel.barh(places + i * height, [v[i] for v in rows.values()], height, label=name)
    panel.set_yticks(places + 0.4 - height / 2, list(rows))
    panel.invert_yaxis()
    panel.legend(fontsize=8)
    _save(figure, path, title)


def _save(figure: Figure, path: Path, title: str) -> None:
    figure.suptitle(title, fontsize=10)
    figure.tight_layout()
    figure.savefig(path, dpi=DOTS_PER_INCH)
    plt.close(figure)
