"""Time the start of `wsshm run`: ``python -m benchmarks.start CLIP [--runs 10] [-- OPTION…]``.

It is from the start of the process until the first frame has come out of a pipe, as uncompressed
video; the median and the slowest run are printed, in seconds. OPTIONs are those of `wsshm run`.
"""

from __future__ import annotations

import argparse
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
    times = [until_first_frame(args.clip, size, args.options) for _ in range(args.runs)]
    print(f"first frame of {args.clip} after {median(times):.2f} s, at most {max(times):.2f} s")


def until_first_frame(clip: Path, size: int, options: list[str]) -> float:
    """Return the seconds until a frame of `size` bytes has come; the run is then stopped."""
    command = [sys.executable, "-m", "wsshm_cli", "run", str(clip), "-o", "-", "--format", "y4m"]
    began = time.perf_counter()
    command += options
    with subprocess.Popen(  # noqa: S603
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as process:
        assert process.stdout is not None
        if len(process.stdout.read(size)) < size:
            raise SystemExit(f"{' '.join(command)}: ended before its first frame")
        seconds = time.perf_counter() - began
        process.terminate()
        process.stdout.read()
    return seconds


if __name__ == "__main__":
    main()
