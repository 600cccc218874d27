"""Give every video and image that comes into a folder another background.

    python examples/watch_folder.py INBOX OUT --bg beach.jpg

A file is taken once its size has stayed the same between two looks, and left alone if OUT has its
result already. One that fails is named and not tried again until it changes. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import wsshm


def seen(inbox: Path) -> dict[Path, tuple[int, int]]:
    """Size in bytes and time of change of every file that is not hidden."""
    files = [p for p in inbox.iterdir() if p.is_file() and not p.name.startswith(".")]
    return {p: (p.stat().st_size, p.stat().st_mtime_ns) for p in sorted(files)}


def take(path: Path, out: Path, background: str, model: str | None) -> None:
    """Write the composite of one file into a folder, and say so."""
    try:
        report = wsshm.run(path, f"{out}/{path.name}", background=background, model=model)
    except wsshm.CannotCreate as e:  # most of the time because it was done before
        print(e, flush=True)
    except wsshm.WsshmError as e:
        print(f"failed: {e}", file=sys.stderr, flush=True)
    else:
        print(f"{report.outputs[0]}: {report.frames} frames", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description="Change the background of what comes in.")
    parser.add_argument("inbox", type=Path)
    parser.add_argument("out", type=Path, help="made if it is not there")
    parser.add_argument("--bg", default="blur", help="as in wsshm run")
    parser.add_argument("--model", help="a shipped model or a file")
    parser.add_argument("--seconds", type=float, default=2.0, help="between two looks")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    before: dict[Path, tuple[int, int]] = {}
    done: dict[Path, tuple[int, int]] = {}
    try:
        while True:
            now = seen(given.inbox)
            for path, state in now.items():
                if before.get(path) == state != done.get(path):
                    take(path, given.out, given.bg, given.model)
                    done[path] = state
            before = now
            time.sleep(given.seconds)
    except KeyboardInterrupt:
        print("stopped")


if __name__ == "__main__":
    main()
