"""Tables as Markdown: scores of all seeds, the published figures beside, and changes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t as student_t

from engines.measure.quality.evaluate import COVERAGE, Row, compare
from engines.measure.quality.metrics import METRICS

SHOWN = {
    "mattes": ("mse", "sad", "mse_boundary", "sad_boundary"),
    "composites": ("mse", "sad", "mse_boundary", "sad_boundary"),
    "masks": ("iou", "mad_outside"),
}
METRIC = {m.key: m for m in METRICS}
REGION = {"boundary": ", boundary", "outside": " off the edge", "whole": ""}


@dataclass(frozen=True)
class Column:
    """A metric of a set of images."""

    set: str
    key: str

    @property
    def factor(self) -> float:
        """By which values are multiplied."""
        return METRIC[self.key].factor

    @property
    def head(self) -> str:
        """The column's name."""
        m = METRIC[self.key]
        return f"{self.set}{REGION[m.region]}: {m.head}"


@dataclass(frozen=True)
class Scores:
    """What `wsshm eval --json` measured of one training, one entry a seed."""

    seeds: list[dict[str, Any]]

    @classmethod
    def read(cls, files: list[Path]) -> Scores | None:
        """Read the files that exist; None if there is none."""
        found = [json.loads(f.read_text())["sets"] for f in files if f.exists()]
        return cls(found) if found else None

    def columns(self) -> list[Column]:
        """Return the columns that a table of these has."""
        return [Column(s, key) for s, keys in SHOWN.items() if s in self.seeds[0] for key in keys]

    def values(self, column: Column) -> list[float]:
        """Return the mean over the sources of each seed, multiplied by the factor."""
        means = [next(iter(s[column.set]["mean_over_sources"].values())) for s in self.seeds]
        return [m[column.key] * column.factor for m in means if m.get(column.key) is not None]

    def rows(self, kind: str) -> list[Row]:
        """Return the cases of a set, each averaged over the seeds."""
        averaged = []
        for of_seeds in zip(*(s[kind]["cases"] for s in self.seeds), strict=True):
            source, name, group = (of_seeds[0][k] for k in ("source", "name", "group"))
            keys = [k for k, v in of_seeds[0].items() if not isinstance(v, str)]
            values = {
                k: float(np.mean([np.nan if c[k] is None else c[k] for c in of_seeds]))
                for k in keys
            }
            averaged.append(Row("", kind, source, name, group, values))
        return averaged


def interval(values: list[float]) -> float:
    """Return half the width of the mean's t interval over seeds; NaN for fewer than two."""
    n = len(values)
    if n < 2:
        return float("nan")
    return float(student_t.ppf((1 + COVERAGE) / 2, n - 1) * np.std(values, ddof=1) / np.sqrt(n))


def figure(values: list[float], digits: int = 2) -> str:
    """Return a mean, and its interval where there are several seeds."""
    if not values:
        return "–"
    half, mean = interval(values), f"{np.mean(values):.{digits}f}"
    return mean if half != half else f"{mean} ± {half:.{digits}f}"


def digits(column: Column) -> int:
    """Return how many decimals a column has."""
    return 3 if column.key == "iou" else 2


def markdown(heads: list[str], rows: list[list[str]]) -> Iterator[str]:
    """Yield the lines of a Markdown table; the first column is text."""
    yield f"| {' | '.join(heads)} |"
    yield f"|{'|'.join(['---', *['---:'] * (len(heads) - 1)])}|"
    for row in rows:
        yield f"| {' | '.join(row)} |"


def change(scores: Scores, against: Scores, column: Column) -> str:
    """Return a mean difference, its interval over images, and each seed's difference."""
    number = min(len(scores.seeds), len(against.seeds))
    own, other = (Scores(s.seeds[:number]) for s in (scores, against))
    d = compare(other.rows(column.set), own.rows(column.set))[column.key]
    places = digits(column)
    value, low, high = (f"{x * column.factor:+.{places}f}" for x in (d.value, d.low, d.high))
    each = [
        f"{a - b:+.{places}f}"
        for a, b in zip(own.values(column), other.values(column), strict=True)
    ]
    return f"{value} [{low}, {high}]" + (f" ({', '.join(each)})" if number > 1 else "")
