"""Tables of a model card from the JSON of ``wsshm eval``: ``python -m benchmarks.quality FILE…``.

Means over the sources with the interval of the difference from the first model, then a row for each
source. Several files are of several parts of the data, such as ``val`` and a hold-out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from benchmarks.papers.report import markdown

Columns = tuple[tuple[str, str], ...]  # of a table: the set and the metric
MEANS: Columns = (
    ("masks", "iou"),
    ("masks", "iou_outside"),
    ("composites", "mad"),
    ("composites", "mse"),
    ("composites", "grad"),
    ("composites", "mse_boundary"),
)
BY_SOURCE: Columns = (("masks", "iou"), ("composites", "mse"), ("composites", "mse_boundary"))
DIGITS = {"iou": 3, "iou_outside": 3}  # of a metric in a table, else 1


def main() -> None:
    """Print the tables of each file."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="wsshm eval --json")
    for path in parser.parse_args().files:
        print(f"\n{path.stem}\n")
        print("\n".join(tables(json.loads(path.read_text()))))


def tables(found: dict[str, Any]) -> Iterator[str]:
    """Return the lines of all tables of an evaluation."""
    names = [model["name"] for model in found["models"]]
    columns = [c for c in MEANS if c[0] in found["sets"]]
    heads = [f"{kind}: {_shown(found, metric)}" for kind, metric in columns]
    yield from markdown(["", *heads], [[n, *_means(found, n, columns)] for n in names])
    for kind, metric in BY_SOURCE:
        if kind not in found["sets"]:
            continue
        part = found["sets"][kind]
        counts = {s: _count(part, names[0], s) for s in part["sources"][names[0]]}
        yield ""
        yield from markdown(
            [f"{kind}: {_shown(found, metric)}", "images", *names],
            [
                [s, str(n), *(_value(found, metric, part["sources"][m][s][metric]) for m in names)]
                for s, n in counts.items()
            ],
        )


def _means(found: dict[str, Any], name: str, columns: Iterable[tuple[str, str]]) -> Iterator[str]:
    for kind, metric in columns:
        part = found["sets"][kind]
        cell = _value(found, metric, part["mean_over_sources"][name][metric])
        if (other := part["differences_from_first"].get(name)) and other[metric]["low"] is not None:
            low, high = (_value(found, metric, other[metric][end], "+") for end in ("low", "high"))
            cell += f" [{low}, {high}]"
        yield cell


def _shown(found: dict[str, Any], metric: str) -> str:
    """Return the metric's name and where it is measured, in words."""
    entry = found["metrics"][metric]
    where = "" if entry["where"] == "the whole image" else f" {entry['where']}"
    return f"{entry['shown_as']}{where}"


def _value(found: dict[str, Any], metric: str, value: float | None, sign: str = "") -> str:
    if value is None:  # not a number
        return "–"
    return f"{value * found['metrics'][metric]['factor']:{sign}.{DIGITS.get(metric, 1)}f}"


def _count(part: dict[str, Any], name: str, source: str) -> int:
    return sum(c["model"] == name and c["source"] == source for c in part["cases"])


if __name__ == "__main__":
    main()
