"""Compare a long clip in one run with the same by segments: ``python benchmarks/segments.py``.

Each way runs on so many cores of the machine, round by round; printed are medians of the time on
the wall and of the work of all cores. Other arguments go to ``wsshm run``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from benchmarks.many_clips import WSSHM, timed  # noqa: E402
from examples.portrait_clip import write_clip  # noqa: E402


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the clip")
    parser.add_argument("--size", nargs=2, type=int, default=[640, 360])
    parser.add_argument("--segments", type=float, default=15.0)
    parser.add_argument("--rounds", type=int, default=3)
    args, options = parser.parse_known_args()
    by_segments = [f"--segments={args.segments:g}"]
    ways: dict[str, tuple[int, list[str]]] = {
        "one run, 1 core": (1, []),
        "segments, 1 core": (1, by_segments),
        "one run, 2 cores": (2, []),
        "segments, 2 cores": (2, by_segments),
        "segments --jobs 2, 2 cores": (2, [*by_segments, "--jobs=2"]),
    }
    with tempfile.TemporaryDirectory(prefix="wsshm") as name:
        clip, out = Path(name) / "clip.mp4", Path(name) / "out.mp4"
        width, height = args.size
        frames = write_clip(clip, seconds=args.seconds, width=width, height=height)
        results: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, (cores, more) in ways.items():
                given = [*WSSHM, str(clip), *options, *more, "-o", str(out), "--overwrite"]
                results[way].append(timed(partial(on_cores, cores, given)))
                print(f"{way}: {results[way][-1][0]:.1f} s, {results[way][-1][1]:.1f} core-s")
    print(f"{frames} frames, {width}x{height}, segments of {args.segments:g} s, medians:")
    for way, rounds in results.items():
        wall, work = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way:28} {wall:7.1f} s {work:7.1f} core-s {frames / wall:7.1f} FPS")


def on_cores(cores: int, command: list[str]) -> None:
    """Run a command on the first cores of those that this process may use."""
    usable = sorted(os.sched_getaffinity(0))
    before = set(usable)
    os.sched_setaffinity(0, usable[:cores])
    try:
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603
    finally:
        os.sched_setaffinity(0, before)


if __name__ == "__main__":
    main()
