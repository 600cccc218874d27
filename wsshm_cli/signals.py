"""What signals that end a process do while a command works; ignored ones stay ignored."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from engines.errors import ENDING_SIGNALS

if TYPE_CHECKING:
    from engines.video.pipeline import Stop


def stop_on_signals() -> Stop:
    """Return a `Stop` that the first signal sets; the third ends the process at once."""
    from engines.video.pipeline import Stop

    stop, seen = Stop(), 0

    def count(signum: int, _: Any) -> None:
        nonlocal seen
        seen += 1
        if seen > 2:
            os._exit(128 + signum)
        stop.signum = stop.signum or signum
        stop.requested = True

    handle(count)
    return stop


def end_on_signals() -> Callable[[], None]:
    """Let signals end the process at once until the returned function is called.

    For the wait until a stream begins: nothing looks at a `Stop` there, and there is nothing to
    finish.
    """
    taken = {s: signal.getsignal(s) for s in ENDING_SIGNALS}
    for signum, handler in taken.items():
        if callable(handler):
            signal.signal(signum, signal.SIG_DFL)

    def take_over() -> None:
        for signum, handler in taken.items():
            signal.signal(signum, handler)

    return take_over


def unwind_on_signals() -> None:
    """Let signals raise SystemExit: processes are ended and temporary files removed on the way."""

    def leave(signum: int, _: Any) -> None:
        raise SystemExit(128 + signum)

    handle(leave)


def handle(handler: Callable[[int, Any], None]) -> None:
    """Call `handler` for each signal that ends a process, unless it is ignored, as under nohup."""
    for signum in ENDING_SIGNALS:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, handler)
