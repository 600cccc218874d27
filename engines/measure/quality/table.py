"""Show the results of an evaluation as tables for people and as JSON for scripts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from engines.measure.estimators.estimator import Estimator
from engines.measure.quality.evaluate import Difference, Row, compare
from engines.measure.quality.evaluate import keys as keys_of
from engines.measure.quality.evaluate import means as means_of
from engines.measure.quality.metrics import METRICS, REGIONS


def _by_set(rows: list[Row], names: list[str]) -> Iterator[tuple[str, dict[str, list[Row]]]]:
    for kind in dict.fromkeys(row.set for row in rows):
        yield kind, {n: [r for r in rows if (r.set, r.model) == (kind, n)] for n in names}


def lines(rows: list[Row], estimators: list[Estimator], split: str) -> Iterator[str]:
    """Yield the lines of the results.

    For each set and region there is a table of means over the sources, differences from the first
    estimator, and the means of every source.

    Args:
        rows: of all estimators, from `evaluate`.
        split: of the data, as the user named it.
    """
    names = [m.name for m in estimators]
    seen = ", ".join(f"{m.name} sees {s} lines" for m in estimators if (s := getattr(m, "size", 0)))
    yield f"At the images' own size{'; ' + seen if seen else ''}."
    for kind, by_model in _by_set(rows, names):
        first = by_model[names[0]]
        means = {n: means_of(own) for n, own in by_model.items()}
        changes = {n: compare(first, by_model[n]) for n in names[1:]}
        sources = [s for s in means[names[0]] if s]
        present = keys_of(first)
        count = f"{len(first)} images of {len(sources)} source{'s' * (len(sources) > 1)}"
        yield ""
        yield f"{kind.upper()}, {_origin(first, split)}: {count}"
        for region, where in REGIONS.items():
            columns = [m for m in METRICS if m.region == region and m.key in present]
            if not columns:
                continue
            keys, factors = [m.key for m in columns], [m.factor for m in columns]
            yield f"{kind}, {where}"
            yield line("mean over sources", [m.head for m in columns])
            for n in names:
                yield line(
                    f"  {n}", [means[n][""][k] * f for k, f in zip(keys, factors, strict=True)]
                )
            for n in names[1:]:
                yield from _difference(f"{n} - {names[0]}", [changes[n][k] for k in keys], factors)
            for source in sources if len(sources) > 1 else ():
                number = sum(r.source == source for r in first)
                yield line(f"{source} ({number})", [""] * len(columns))
                for n in names:
                    values = means[n][source]
                    yield line(
                        f"  {n}", [values[k] * f for k, f in zip(keys, factors, strict=True)]
                    )


def _origin(rows: list[Row], split: str) -> str:
    """Return where the images of a set come from, as text."""
    clip = "keyed clip" if rows[0].set == "green" else "clip"
    return " and ".join(dict.fromkeys(split if r.frame is None else clip for r in rows))


def _difference(label: str, values: list[Difference], factors: list[float]) -> Iterator[str]:
    scaled = list(zip(values, factors, strict=True))
    yield line(f"  {label}", [d.value * f for d, f in scaled], "+")
    if all(d.low != d.low for d in values):
        yield "    (no interval: no source has two subjects to draw from)"
        return
    yield line("    95 % interval from", [d.low * f for d, f in scaled], "+")
    yield line("    to", [d.high * f for d, f in scaled], "+")


def line(label: str, cells: list[Any], sign: str = "") -> str:
    """Return a line of a label and columns of 12 characters; six columns fit into 100.

    A label that is too long gets its own line.

    Args:
        cells: text, or numbers to format; NaN is shown as -.
        sign: "+" to show the sign of positive numbers too.
    """
    texts = []
    for cell in cells:
        if isinstance(cell, str):
            texts.append(cell)
        elif cell != cell:
            texts.append("-")
        else:
            digits = 3 if abs(cell) < 100 else 1
            texts.append(f"{cell:{sign}.{digits}f}")
    head = f"{label:28}" if len(label) <= 28 else f"{label}\n{'':28}"
    return (head + "".join(f"{t:>12}" for t in texts)).rstrip()


def as_json(rows: list[Row], estimators: list[Estimator], split: str) -> dict[str, Any]:
    """Return the results for JSON: plain values without a factor, None if there is no value."""
    names = [m.name for m in estimators]
    out: dict[str, Any] = {
        "models": [{"name": m.name, "size": getattr(m, "size", None)} for m in estimators],
        "split": split,
        "metrics": {
            m.key: {"shown_as": m.head, "factor": m.factor, "where": REGIONS[m.region]}
            for m in METRICS
        },
        "sets": {},
    }
    for kind, by_model in _by_set(rows, names):
        means = {n: means_of(own) for n, own in by_model.items()}
        first = by_model[names[0]]
        out["sets"][kind] = {
            "images": len(first),
            "mean_over_sources": {n: m[""] for n, m in means.items()},
            "sources": {n: {s: v for s, v in m.items() if s} for n, m in means.items()},
            "differences_from_first": {
                n: {k: asdict(d) for k, d in compare(first, by_model[n]).items()} for n in names[1:]
            },
            "cases": [
                {"model": r.model, "source": r.source, "name": r.name, "group": r.group, **r.values}
                for own in by_model.values()
                for r in own
            ],
        }
    plain: dict[str, Any] = _without_nan(out)
    return plain


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and value != value else value
