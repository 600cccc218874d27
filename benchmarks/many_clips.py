"""Compare one call on many clips with one call for each: ``python benchmarks/many_clips.py``.

With ``--cluster``, one call with one work at a time is compared with the same on Ray instead. The
ways take turns, round by round; printed are medians of the time on the wall and of the work of all
cores. Other arguments go to ``wsshm run``.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

import av
import cv2

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY))

from examples.portrait_clip import write_clip  # noqa: E402

PR_SET_CHILD_SUBREAPER = 36
SAMPLING_SECONDS = 0.05
WSSHM = [sys.executable, "-m", "wsshm_cli", "run"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each clip; 0: images")
    parser.add_argument("--size", nargs=2, type=int, default=[640, 360])
    parser.add_argument("--jobs", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-loop", action="store_true", help="leave the loop out")
    parser.add_argument("--cluster", action="store_true", help="--jobs 1 with and without Ray")
    args, options = parser.parse_known_args()
    if sys.platform == "linux":  # a process whose parent has ended becomes a child of this one
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    with tempfile.TemporaryDirectory(prefix="wsshm") as folder:
        clips = make(Path(folder), args.clips, args.seconds, *args.size)
        ways: dict[str, Callable[[Path], None]] = {}
        if args.cluster:
            options.append("--jobs=1")
            plain = (
                one_by_one if len(clips) == 1 else at_once
            )  # one clip in a folder would be images
            ways["one call"] = partial(plain, clips, options)
            ways["--cluster local"] = partial(at_once, clips, [*options, "--cluster=local"])
        elif not args.no_loop:
            ways["a call for each"] = partial(one_by_one, clips, options)
        for jobs in () if args.cluster else args.jobs:
            ways[f"one call, --jobs {jobs}"] = partial(at_once, clips, [*options, f"--jobs={jobs}"])
        results: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(args.rounds):
            for way, run in ways.items():
                out = Path(folder) / "out"
                out.mkdir()
                results[way].append(timed(partial(run, out)))
                shutil.rmtree(out)
                print(f"{way}: {results[way][-1][0]:.1f} s, {results[way][-1][1]:.1f} core-s")
    print(f"{args.clips} clips of {args.seconds:g} s, {args.size[0]}x{args.size[1]}, medians:")
    for way, rounds in results.items():
        wall, work = (statistics.median(column) for column in zip(*rounds, strict=True))
        print(f"{way:20} {wall:7.1f} s {work:7.1f} core-s")


def make(folder: Path, clips: int, seconds: float, width: int, height: int) -> list[Path]:
    """Write the clips, all alike, or images where `seconds` is 0."""
    first = folder / "first.mp4"
    write_clip(first, seconds=seconds or 0.1, width=width, height=height)
    if not seconds:
        with av.open(str(first)) as container:
            frame = next(container.decode(video=0))
        first = folder / "first.jpg"
        cv2.imwrite(str(first), frame.to_ndarray(format="bgr24"))
    paths = [folder / f"{i:03d}{first.suffix}" for i in range(clips)]
    for path in paths:
        shutil.copy(first, path)
    return paths


def one_by_one(clips: list[Path], options: list[str], out: Path) -> None:
    for clip in clips:
        name = f"{clip.stem}{'.png' if clip.suffix == '.jpg' else '.mp4'}"
        subprocess.run([*WSSHM, clip, *options, "-o", out / name], check=True, capture_output=True)  # noqa: S603


def at_once(clips: list[Path], options: list[str], out: Path) -> None:
    subprocess.run([*WSSHM, *clips, *options, "-o", out], check=True, capture_output=True)  # noqa: S603


def timed(run: Callable[[], None]) -> tuple[float, float]:
    """Return the seconds that it takes, and the core-seconds of all its processes."""
    spent: dict[str, float] = {}  # by process, as it was seen last
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLING_SECONDS):
            spent.update(started_by(str(os.getpid())))

    watching = threading.Thread(target=watch)
    watching.start()
    began = time.perf_counter()
    try:
        run()
        seconds = time.perf_counter() - began
    finally:
        over.set()
        watching.join()
    return seconds, sum(spent.values())


def started_by(pid: str) -> dict[str, float]:
    """Return the core-seconds so far of the processes that a process has started, and of theirs.

    Ray's worker processes end without telling anybody what they took.
    """
    found = {}
    with suppress(OSError):  # it has just ended
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text().split():
                with suppress(OSError):
                    stat = Path(f"/proc/{child}/stat").read_text().rsplit(")", 1)[1].split()
                    found[child] = (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
                found.update(started_by(child))
    return found


if __name__ == "__main__":
    main()
