"""Entry point: signals first, then the commands."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any


def _leave(signum: int, _: Any) -> None:
    # Nothing has been written before a command takes signals over, so there is nothing to finish.
    os._exit(128 + signum)


def main() -> None:
    """Run the command line; exits with a code of `engines.errors.exit_codes`."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _leave)
    # Read by OpenCV when it is first imported: an image may not ask for any amount of memory.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(8192 * 8192))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our one line says what is wrong
    # Read by ONNX Runtime when it is first imported: its official builds would report home.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints all its settings otherwise
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a character gets a "?"
            stream.reconfigure(errors="replace")
    from wsshm_cli.app import app

    app(prog_name="wsshm")


if __name__ == "__main__":
    main()
