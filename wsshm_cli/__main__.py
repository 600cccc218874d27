"""Entry point: signals first, then the commands."""

from __future__ import annotations

import os
import sys
from typing import Any


def _leave(signum: int, _: Any) -> None:
    # Nothing is written before a command installs its own handlers, so there is nothing to finish.
    os._exit(128 + signum)


def main() -> None:
    """Run the command line, and exit with one of `engines.errors.exit_codes`."""
    from wsshm_cli import signals, streams

    signals.handle(_leave)
    streams.secure()

    from engines.errors import WsshmError, writing
    from engines.files import MAX_PIXELS

    # OpenCV reads this when it is imported: a small file must not claim any amount of memory.
    os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MAX_PIXELS))
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # our one error line says what is wrong
    from wsshm_cli import report
    from wsshm_cli.app import app

    try:
        with writing("stdout", begun=True):  # for help pages; commands handle their own errors
            app(prog_name="wsshm")
    except WsshmError as e:
        streams.discard_stdout()
        report.error(str(e))
        sys.exit(e.exit_code)


if __name__ == "__main__":
    main()
