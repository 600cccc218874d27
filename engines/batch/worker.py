"""Do works one after the other in a process of its own; what stays open between them is the model.

A process that belongs to nobody any more ends at once; what it was writing stays as its part.
"""

from __future__ import annotations

import errno
import os
import queue
import signal
import threading
import time
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from engines.batch.work import Ended, Event, Opened, Progress, Result, Said, Work
from engines.engine import MattingEngine, open_engine
from engines.errors import ENDING_SIGNALS, Say, WriteFailed, WsshmError, memory_error, silent
from engines.video.config import RunConfig
from engines.video.frame import FrameFormat
from engines.video.matte.network import open_network
from engines.video.pipeline import Stop
from engines.video.run import run

PROGRESS_SECONDS = 0.2  # between two reports of the frames so far, on one machine
MAX_ENGINES = 4  # that stay open: two precisions are compared, rarely of more than one model
READY, STOP = "ready", "stop"  # messages that are no events or works


class Engines:
    """The networks of one clip after the other: a file that is open is not opened again."""

    def __init__(self) -> None:
        self._open: dict[tuple[Any, ...], MattingEngine] = {}
        self.failed = False

    def network(
        self, config: RunConfig, fmt: FrameFormat, say: Say = silent
    ) -> tuple[MattingEngine, str]:
        """Open the network of a clip; see `open_network`.

        `failed` is then set if that fails, other than for the memory that this clip needs.
        """
        try:
            return open_network(config, fmt, say, self._engine)
        except Exception as e:
            self.failed = memory_error(e) is None
            raise

    def _engine(self, file: Path, *how: Any) -> MattingEngine:
        key = file, *how[:-1]  # the last is only told things
        if (engine := self._open.pop(key, None)) is None:
            engine = open_engine(file, *how)
        self._open[key] = engine  # the newest is the last
        if len(self._open) > MAX_ENGINES:
            del self._open[next(iter(self._open))]
        return engine


def do(
    work: Work,
    stop: Stop,
    tell: Callable[[Event], None],
    engines: Engines,
    pause: float = PROGRESS_SECONDS,
) -> Result:
    """Do one work; every error is in the result.

    Args:
        stop: set to finish early and keep the frames so far.
        tell: told what happens.
        pause: seconds between two reports of the frames so far.
    """
    told = 0.0

    def on_frame(frames: int) -> None:
        nonlocal told
        if (now := time.monotonic()) - told >= pause:
            told = now
            tell(Progress(work, frames))

    error: BaseException | None
    summary, signum = None, 0
    try:
        ended = run(
            work.config,
            stop,
            lambda started: tell(Opened(work, started)),
            on_frame,
            lambda text: tell(Said(work, text)),
            network=engines.network,
        )
        error, summary, signum = ended.error, ended.to_dict(), ended.signum
    except Exception as e:
        error = memory_error(e) or e
    if error is None:
        return Result(128 + signum if signum else 0, stopped=stop.requested, summary=summary)
    ends_batch = engines.failed or _is_full_disk(error)
    if isinstance(error, WsshmError):
        return Result(error.exit_code, str(error), stop.requested, ends_batch, summary)
    text = f"{work.name}: this is a fault of wsshm itself ({type(error).__name__})"
    told_in_full = "".join(traceback.format_exception(error))
    return Result(WsshmError.exit_code, text, stop.requested, ends_batch, summary, told_in_full)


def _is_full_disk(error: BaseException | None) -> bool:
    """Return whether an error means that nothing more can be written to a disk."""
    if not isinstance(error, WriteFailed):
        return False
    while error is not None:
        if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def serve(pipe: Connection) -> None:
    """Do the works that come through a pipe, until its other end is closed.

    `STOP` with the number of a signal lets the work that is being done finish early, and is the
    last that comes.
    """
    for signum in ENDING_SIGNALS:  # the parent process ends this one
        signal.signal(signum, signal.SIG_IGN)
    stop, works = Stop(), queue.SimpleQueue[Work]()

    def listen() -> None:
        try:
            while True:
                message = pipe.recv()
                if isinstance(message, Work):
                    works.put(message)
                else:
                    _, stop.signum = message
                    stop.requested = True
        except (EOFError, OSError):
            os._exit(1)

    threading.Thread(target=listen, name="wsshm listen", daemon=True).start()
    engines = Engines()
    try:
        pipe.send(READY)
        while True:
            work = works.get()
            pipe.send(Ended(work, do(work, stop, pipe.send, engines)))
    except OSError:  # nobody waits for the answer
        os._exit(1)
