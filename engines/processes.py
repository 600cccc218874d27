"""Start processes of our own so that signals meet them at no wrong moment."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from typing import Any

from engines.errors import ENDING_SIGNALS


@contextmanager
def signals_held() -> Iterator[None]:
    """Hold signals that end a process back until the end of the block.

    A process that is interrupted while it starts would print a traceback. What starts inside the
    block keeps those signals blocked: a terminal that sends Ctrl-C or is closed, and a service that
    is stopped, signal every process, also one that its parent ends in a better way.
    """
    arrived: list[int] = []
    handlers: dict[signal.Signals, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for signum in ENDING_SIGNALS:
            if callable(handler := signal.getsignal(signum)):
                handlers[signum] = handler
                signal.signal(signum, lambda signum, _: arrived.append(signum))
    masks = hasattr(signal, "pthread_sigmask")
    if masks:
        resource_tracker.ensure_running()  # starting it inside the block would unblock them
        before = signal.pthread_sigmask(signal.SIG_BLOCK, ENDING_SIGNALS)
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for number in arrived:
            signal.raise_signal(number)
