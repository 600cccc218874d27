"""Time the start of `wsshm run`: ``python -m benchmarks.start CLIP [--runs 10] [-- OPTION…]``.

It is from the start of the process until the first frame has come out of a pipe, as uncompressed
video. Printed are the seconds of the median and of the slowest run, and the median work: that of
all threads, in seconds of one core (Linux). OPTIONs are those of `wsshm run`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

import av


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("clip", type=Path)
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("options", nargs="*")
    args = parser.parse_args()
    with av.open(str(args.clip)) as container:
        video = container.streams.video[0]
        size = video.width * video.height * 3 // 2
    runs = [until_first_frame(args.clip, size, args.options) for _ in range(args.runs)]
    times, works = zip(*runs, strict=True)
    print(f"first frame of {args.clip} after {median(times):.2f} s, at most {max(times):.2f} s")
    print(f"{median(works):.2f} s of work")


def until_first_frame(clip: Path, size: int, options: list[str]) -> tuple[float, float]:
    """Return the seconds and the work until `size` bytes have come; the run is then stopped."""
    command = [sys.executable, "-m", "wsshm_cli", "run", str(clip), "-o", "-", "--format", "y4m"]
    began = time.perf_counter()
    command += options
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        if len(process.stdout.read(size)) < size:
            raise SystemExit(f"{' '.join(command)}: ended before its first frame")
        result = time.perf_counter() - began, work(process.pid)
        process.terminate()
        process.stdout.read()
    return result


def work(pid: int) -> float:
    """Return the seconds of one core that a process has had so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
