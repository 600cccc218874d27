"""Compare models that were trained with several seeds, on the same cases.

``python benchmarks/pool.py seed0.json seed1.json …`` reads what ``wsshm eval --json`` wrote. Every
case is averaged over the seeds, then models are compared as in `wsshm eval`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from engines.measure.quality.evaluate import Row, compare, means
from engines.measure.quality.metrics import METRICS, REGIONS


def main() -> None:
    seeds = [json.loads(Path(p).read_text())["sets"] for p in sys.argv[1:]]
    for kind in seeds[0]:
        values: dict[tuple[str, ...], list[dict[str, float]]] = {}
        for seed in seeds:
            for case in seed[kind]["cases"]:
                key = tuple(case.pop(k) for k in ("model", "source", "name", "group"))
                values.setdefault(key, []).append(case)
        rows: dict[str, list[Row]] = {}
        for (model, source, name, group), found in values.items():
            mean = {
                k: float(np.mean([np.nan if f[k] is None else f[k] for f in found]))
                for k in found[0]
            }
            rows.setdefault(model, []).append(Row(model, kind, source, name, group, mean))
        models = list(rows)
        for m in METRICS:
            if m.key not in means(rows[models[0]])[""]:
                continue
            print(f"{kind}, {REGIONS[m.region]}: {m.head}")
            for model in models:
                of_seeds = [s[kind]["mean_over_sources"][model][m.key] * m.factor for s in seeds]
                line = f"  {model:16} {means(rows[model])[''][m.key] * m.factor:8.3f}"
                line += f"  seeds {', '.join(f'{v:.3f}' for v in of_seeds)}"
                for other in models[: models.index(model)]:
                    d = compare(rows[other], rows[model])[m.key]
                    value, low, high = (x * m.factor for x in (d.value, d.low, d.high))
                    line += f"  - {other}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"
                print(line)


if __name__ == "__main__":
    main()
