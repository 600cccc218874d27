"""Draw one second of a run: ``python -m benchmarks.timeline CLIP OUT.png [--at 2]``.

Each thread of the pipeline is a row: a bar for every frame that it works on, and between them what
it waits for, an item from the thread before or room in the queue to the next. The table gives the
shares of the second, and of the work how much of it the thread was on a core. In the rest it waits
for a core, for Python's lock, or for the threads of x264, FFmpeg or ONNX Runtime.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from engines.video.config import Clip, RunConfig
from engines.video.pipeline import Pipeline
from engines.video.run import run

WAITS = {"item": ("waits for an item", "#e4e4e4"), "room": ("waits for room", "#f2c14e")}
COLOURS = {
    "decode": "#4c9f70",
    "scale": "#86bbd8",
    "network": "#2f6690",
    "postprocess": "#9a348e",
    "composite": "#da627d",
    "encode": "#c1440e",
}


@dataclass(frozen=True)
class Span:
    """What a thread did from `start` on for `seconds`, of which it was on a core for `cpu`."""

    name: str
    start: float
    seconds: float
    cpu: float


class Recorder:
    """Spans by thread; its methods are the callbacks of a `Pipeline`."""

    def __init__(self) -> None:
        self.spans: dict[str, list[Span]] = defaultdict(list)
        self._threads = threading.local()

    def add(self, name: str, seconds: float) -> None:
        """Note that this thread has just spent so many seconds on a step or a wait."""
        cpu, thread = time.thread_time(), threading.current_thread()
        spent = cpu - getattr(self._threads, "cpu", cpu)
        self._threads.cpu = cpu
        # Two threads of one stage have the same name.
        key = f"{thread.name} {thread.ident}"
        self.spans[key].append(Span(name, time.perf_counter() - seconds, seconds, spent))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--at", type=float, default=2, help="seconds of the run before the picture")
    parser.add_argument("--length", type=float, default=1, help="seconds of the run in it")
    parser.add_argument("--model")
    parser.add_argument("--bg", default="blur")
    args = parser.parse_args()
    recorder, began = Recorder(), [0.0]

    def start(_: Any) -> None:
        began[0] = time.perf_counter()

    kind = partial(Pipeline, on_time=recorder.add, on_wait=recorder.add)
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        out = Path(folder) / "out.mp4"
        config = RunConfig(args.clip, out, args.bg, model=args.model, clip=Clip(0, 30))
        summary = run(config, on_start=start, pipeline=kind)
    if summary.error:
        raise summary.error
    begin = began[0] + min(args.at, max(0, summary.seconds - args.length) / 2)
    rows = {
        thread: cut(spans, begin, begin + args.length)
        for thread, spans in sorted(recorder.spans.items(), key=lambda row: row[1][0].start)
    }
    draw(rows, begin, args.length, args.target)
    print(f"{summary.fps:.1f} FPS; shares of {args.length:g} s")
    print(f"{'thread':>24}  work  on a core  waits: item  room")
    for spans in rows.values():
        share = {kind: sum(s.seconds for s in spans if s.name == kind) for kind in WAITS}
        work = [s for s in spans if s.name not in WAITS]
        busy, cpu = sum(s.seconds for s in work), sum(s.cpu for s in work)
        parts = busy, cpu, share["item"], share["room"]
        figures = "  ".join(f"{100 * part / args.length:8.0f} %" for part in parts)
        print(f"{label(spans):>24}  {figures}")


def cut(spans: list[Span], begin: float, end: float) -> list[Span]:
    """Return the parts of spans between two times."""
    parts = []
    for span in spans:
        start, stop = max(begin, span.start), min(end, span.start + span.seconds)
        if stop > start:
            share = (stop - start) / span.seconds
            parts.append(Span(span.name, start, stop - start, span.cpu * share))
    return parts


def label(spans: list[Span]) -> str:
    """Return the names of a thread's steps."""
    return ", ".join(dict.fromkeys(s.name for s in spans if s.name not in WAITS)) or "idle"


def draw(rows: dict[str, list[Span]], begin: float, length: float, target: Path) -> None:
    """Draw a row for each thread."""
    figure = Figure(figsize=(12, 0.7 * len(rows) + 1.4), layout="constrained")
    axes = figure.subplots()
    for row, spans in enumerate(rows.values()):
        for name in dict.fromkeys(s.name for s in spans):
            places = [(1000 * (s.start - begin), 1000 * s.seconds) for s in spans if s.name == name]
            colour = WAITS[name][1] if name in WAITS else COLOURS.get(name, "black")
            axes.broken_barh(places, (row - 0.4, 0.8), facecolors=colour, edgecolor="white", lw=0.2)
    axes.set_yticks(range(len(rows)), [label(spans) for spans in rows.values()])
    axes.invert_yaxis()
    axes.set_xlim(0, 1000 * length)
    axes.set_xlabel("ms")
    known = {name: colour for name, colour in COLOURS.items()} | dict(WAITS.values())
    marks = [axes.barh(0, 0, color=colour) for colour in known.values()]
    figure.legend(
        handles=marks,
        labels=list(known),
        loc="outside upper center",
        ncols=len(known),
        frameon=False,
    )
    figure.savefig(target, dpi=100)


if __name__ == "__main__":
    main()
