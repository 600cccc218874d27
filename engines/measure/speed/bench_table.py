"""Show the results of `wsshm bench` as JSON, as tables, and as a bar chart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np

from engines.arrays import U8
from engines.measure.drawing import LINE_HEIGHT, PAPER_GREY, text
from engines.measure.quality.table import line
from engines.measure.speed.bench import PAPER_FPS, Network, Speed
from engines.measure.speed.bench_clip import ClipSpeed

Result = dict[str, Any]  # for JSON

LABEL_WIDTH, BAR_WIDTH, VALUE_WIDTH = 260, 420, 100  # pixels: columns of a chart
BAR_RGB = (90, 170, 250)
CONVENTIONS = (
    "core-ms: work of all threads in ms of one core; a step's, while no other runs.",
    "wall/work: a frame's time, as a multiple of what that work takes on all cores; 1 is the best.",
)


def models(networks: list[Network]) -> list[Result]:
    """Describe the models; costs are per frame, None if they were not counted."""
    return [
        {
            "name": n.name,
            "file": str(n.file),
            "precision": n.precision,
            "size": n.size,
            "input": list(next(iter(n.shapes.values()))),
            "macs": n.cost and n.cost.macs // n.batch,
            "parameters": n.cost and n.cost.parameters,
        }
        for n in networks
    ]


def speeds(of: Sequence[Speed | ClipSpeed], **how: Any) -> Result:
    """Return the measured speeds of the models, together with how they were measured."""
    return how | {"models": [asdict(s) for s in of]}


def lines(found: Result) -> Iterator[str]:
    """Yield the lines of the tables; before each, a line says how it was measured."""
    versions = ", ".join(f"{k} {v}" for k, v in found["versions"].items())
    yield f"{found['cpu']}, {found['cores']} cores, {found['threads']} threads for a network"
    yield versions
    for m in found["models"]:
        size = "a fixed size" if m["size"] is None else f"{m['size']} lines"
        shape = "x".join(map(str, m["input"]))
        precision = m["precision"] or "precision unstated"
        yield f"  {m['name']}: {m['file'] or 'random weights'}, {precision}, {size} ({shape})"
    if found["model_only"]:
        yield from _alone(found["model_only"], found["models"])
    if found["end_to_end"]:
        yield from _clip(found["end_to_end"])
    yield ""
    yield from CONVENTIONS


def _alone(alone: Result, known: list[Result]) -> Iterator[str]:
    yield ""
    yield (
        f"MODEL ALONE, batch {alone['batch']}: {_many(alone['rounds'], 'round')} of "
        f"{alone['seconds']:g} s each, in turn"
    )
    heads = ["p50", "p95", "p99", "core-ms", "FPS", "× first"]
    yield line("ms of a frame", heads)
    keys = ["p50_ms", "p95_ms", "p99_ms", "core_ms", "fps", "ratio"]
    for m in alone["models"]:
        yield line(f"  {m['name']}", [m[k] for k in keys])
    yield line("what it takes", ["GMACs", "M params", "RSS MB", "frames"])
    for m, k in zip(alone["models"], known, strict=True):
        cells = [_scaled(k["macs"], 1e9), _scaled(k["parameters"], 1e6), _scaled(m["peak_rss_mb"])]
        yield line(f"  {m['name']}", [*cells, str(m["frames"])])
    if alone["paper"]:
        yield line("FPS, 512x512, batch 1", ["here", "paper: V100", "Xeon 5120"])
        for m in alone["models"]:
            paper = alone["paper"].get(m["name"], {})
            there = [paper.get("v100_fps", "-"), paper.get("xeon_gold_5120_fps", "-")]
            yield line(f"  {m['name']}", [m["fps"], *there])
        yield "The paper's: on a Tesla V100 and a Xeon Gold 5120."


def _clip(clip: Result) -> Iterator[str]:
    yield ""
    frames = f"{clip['models'][0]['frames']} frames of {clip['width']}x{clip['height']}"
    yield f"END TO END, {clip['clip']}: {frames}, {_many(clip['runs'], 'run')}, in turn"
    yield f"--bg {clip['background']}, {clip['encoder']}"
    yield line("file to file", ["FPS", "× first", "core-ms", "wall/work", "start s", "RSS MB"])
    for m in clip["models"]:
        cells = [m["fps"], m["ratio"], m["core_ms"], m["wall_to_work"], m["start_s"]]
        yield line(f"  {m['name']}", [*cells, _scaled(m["peak_rss_mb"])])
    for m in clip["models"]:
        yield line(f"{m['name']}, ms of a frame", ["p50", "p95", "p99", "core-ms"])
        for s in m["steps"]:
            cells = [s["p50_ms"], s["p95_ms"], s["p99_ms"], s["core_ms"]]
            slowest = s["name"] == m["slowest"]
            yield line(f"  {s['name']}", [*cells, "slowest"] if slowest else cells)
        yield line("  all", ["", "", "", m["work_ms"]])


def _many(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number > 1)}"


def _scaled(value: float | None, unit: float = 1) -> float | str:
    return "-" if value is None else value / unit


def chart(found: Result) -> U8:
    """Draw bars of frames a second and of each step's work, as (H, W, 3) uint8 RGB."""
    rows = []
    for title, bars in _charts(found):
        rows.append(text(title, LABEL_WIDTH + BAR_WIDTH + VALUE_WIDTH))
        longest = max(value for _, value in bars)
        for label, value in bars:
            bar = np.full((LINE_HEIGHT, BAR_WIDTH, 3), PAPER_GREY, np.uint8)
            end = round((BAR_WIDTH - 1) * value / longest) if longest else 0
            cv2.rectangle(bar, (0, 4), (end, LINE_HEIGHT - 5), BAR_RGB, cv2.FILLED)
            name, figure = text(f"  {label}", LABEL_WIDTH), text(f"{value:.3g}", VALUE_WIDTH)
            rows.append(np.hstack([name, bar, figure]))
    return np.vstack(rows)


def _charts(found: Result) -> Iterator[tuple[str, list[tuple[str, float]]]]:
    """Yield the title of each chart, and the labels and values of its bars."""
    if alone := found["model_only"]:
        bars = [(m["name"], m["fps"]) for m in alone["models"]]
        for name, paper in (alone["paper"] or {}).items():
            bars += [(f"{name}, paper on V100", paper["v100_fps"])]
            bars += [(f"{name}, paper on Xeon 5120", paper["xeon_gold_5120_fps"])]
        yield f"model alone: FPS, {found['cpu']}, {found['threads']} threads", bars
    if clip := found["end_to_end"]:
        yield "file to file: FPS", [(m["name"], m["fps"]) for m in clip["models"]]
        for m in clip["models"]:
            steps = [(s["name"], s["core_ms"]) for s in m["steps"]]
            yield f"{m['name']}: core-ms of a frame", steps


def paper() -> Result:
    """Return the paper's frames a second, by architecture."""
    return {k: {"v100_fps": v, "xeon_gold_5120_fps": x} for k, (v, x) in PAPER_FPS.items()}
