"""Entry point: signals first, then the commands."""

from __future__ import annotations

import io
import os
import signal
import sys
from typing import Any


def _leave(signum: int, _: Any) -> None:
    # Nothing is written before a command installs its own handlers, so there is nothing to finish.
    os._exit(128 + signum)


def main() -> None:
    """Run the command line, and exit with one of `engines.errors.exit_codes`."""
    for signum in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(signum) is not signal.SIG_IGN:  # as under nohup
            signal.signal(signum, _leave)
    from engines.files import MAX_PIXELS

    # OpenCV reads this when it is imported: a small file must not claim any amount of memory.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our one error line says what is wrong
    # ONNX Runtime reads this when it is imported: its official builds send usage data otherwise.
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its settings otherwise
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # "?" for what a terminal cannot show
            stream.reconfigure(errors="replace")
    from wsshm_cli.app import app

    app(prog_name="wsshm")


if __name__ == "__main__":
    main()
