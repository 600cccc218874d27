"""Draw the work of each step before and after: ``python -m benchmarks.budget OUT.png JSON JSON…``.

Each JSON is what ``wsshm bench --input CLIP --end-to-end --json`` printed, by an earlier version or
by this one; all of the same clip, background and processor. A result is a bar, named after its file
and made of the core-milliseconds of a frame that the steps took, each when no other ran.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from benchmarks.timeline import COLOURS

SAME = "clip", "background", "cpu", "cores"  # what results must have in common
RENAMED = {"finish": "postprocess"}  # steps of version 0.1

Steps = dict[str, float]  # core-milliseconds of a frame, by the name of the step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target", type=Path)
    parser.add_argument("results", type=Path, nargs="+", metavar="JSON")
    parser.add_argument("--model", help="its name in the results; the first when left out")
    args = parser.parse_args()
    try:
        budgets = read(args.results, args.model)
    except ValueError as e:
        raise SystemExit(str(e)) from None
    draw(budgets, args.target)
    for name, steps in budgets.items():
        figures = ", ".join(f"{step} {ms:.1f}" for step, ms in steps.items())
        print(f"{name}: {sum(steps.values()):.1f} core-ms of a frame: {figures}")


def read(files: list[Path], model: str | None = None) -> dict[str, Steps]:
    """Return the steps of one model in every result, by the stem of its file.

    Args:
        model: its name in the results; the first when None.

    Raises:
        ValueError: a file cannot be read, is no such result, is not of the same clip and machine as
            the first, or has the name of another.
    """
    budgets: dict[str, Steps] = {}
    first: dict[str, Any] | None = None
    for file in files:
        if file.stem in budgets:
            raise ValueError(f"{file}: another result is called {file.stem} too; rename one")
        try:
            found = json.loads(file.read_text())
            clip = found["end_to_end"]
            how = {"clip": Path(clip["clip"]).name, "background": clip.get("background")}
            how |= {"cpu": found["cpu"], "cores": found["cores"]}
            models = {m["name"]: m["steps"] for m in clip["models"]}
            steps = models[model or next(iter(models))]
            budgets[file.stem] = {RENAMED.get(s["name"], s["name"]): s["core_ms"] for s in steps}
        except OSError as e:
            raise ValueError(f"{file}: cannot be read ({e.strerror})") from e
        except (KeyError, TypeError, StopIteration, json.JSONDecodeError) as e:
            raise ValueError(
                f"{file}: has no steps of {model or 'a model'}; "
                "write it by wsshm bench --input CLIP --end-to-end --json"
            ) from e
        first = first or how
        if other := [key for key in SAME if how[key] != first[key]]:
            raise ValueError(
                f"{file}: {other[0]} is {how[other[0]]}, and {first[other[0]]} in {files[0]}; "
                "measure both alike"
            )
    return budgets


def draw(budgets: dict[str, Steps], target: Path) -> None:
    """Draw a bar for each result, the first on top, with the figures in it."""
    figure = Figure(figsize=(12, 0.7 * len(budgets) + 1.4), layout="constrained")
    axes = figure.subplots()
    steps = list(dict.fromkeys(step for budget in budgets.values() for step in budget))
    left = dict.fromkeys(budgets, 0.0)
    for step in steps:
        widths = [budget.get(step, 0.0) for budget in budgets.values()]
        colour = COLOURS.get(step, "black")
        bars = axes.barh(list(budgets), widths, left=list(left.values()), color=colour, label=step)
        axes.bar_label(bars, fmt="%.1f", label_type="center", color="white")
        left = {name: left[name] + width for name, width in zip(budgets, widths, strict=True)}
    for row, total in enumerate(left.values()):
        axes.text(total, row, f" {total:.1f}", va="center")
    axes.invert_yaxis()
    axes.set_xlabel("core-milliseconds of a frame")
    figure.legend(loc="outside upper center", ncols=len(steps), frameon=False)
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main()
