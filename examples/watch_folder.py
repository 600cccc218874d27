"""Give every video and image that comes into a folder another background.

    python examples/watch_folder.py INBOX OUT --bg beach.jpg

A file is taken once its size has stayed the same between two looks, and left alone if OUT has its
result already. One that fails is named and not tried again until it changes. Ctrl-C ends it.
"""

from __future__ import annotations

import argparse
import stat
import sys
import time
from contextlib import suppress
from pathlib import Path

import wsshm


def seen(inbox: Path) -> dict[Path, tuple[int, int]]:
    """Size in bytes and time of change of every file that is not hidden."""
    found = {}
    for path in sorted(inbox.iterdir()):
        with suppress(FileNotFoundError):  # a browser renames a file when it is complete
            state = path.stat()
            if stat.S_ISREG(state.st_mode) and not path.name.startswith("."):
                found[path] = state.st_size, state.st_mtime_ns
    return found


def composite(path: Path, out: Path, background: str, model: str | None) -> wsshm.Report:
    """Write the composite of one file into a folder.

    It has the file's name, behind which comes .mp4 or .png if the file's own format is only read.
    """
    for ending in ("", ".mp4", ".png"):
        try:
            return wsshm.run(path, f"{out}/{path.name}{ending}", background=background, model=model)
        except wsshm.UsageError as e:  # among others, that it cannot be written so
            error = e
    raise error


def take(path: Path, out: Path, background: str, model: str | None) -> None:
    """Write the composite of one file into a folder, and say so."""
    try:
        report = composite(path, out, background, model)
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
