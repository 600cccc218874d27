"""Run measurements in a separate process that signals end cleanly."""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import threading
import traceback
from collections.abc import Callable, Iterator
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, Self

from engines.errors import ENDING_SIGNALS, Unavailable, WsshmError


class Worker:
    """A new process that runs a function whenever it is called. Use as a context manager.

    Args:
        make: a module-level function, called once with `args` in the new process. It returns the
            function that calls run there. Arguments, results and errors must be picklable.

    Raises:
        WsshmError: raised by `make`; a call raises what its function raised.
        Unavailable: the process was killed.
    """

    def __init__(self, make: Callable[..., Callable[..., Any]], *args: object):
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make, args), daemon=True)
        with _signals_held():
            self._process.start()
        theirs.close()
        try:
            self._answer()
        except BaseException:
            self.close()
            raise

    def __call__(self, *args: object) -> Any:
        self._pipe.send(args)
        return self._answer()

    def _answer(self) -> Any:
        try:
            answer = self._pipe.recv()
        except EOFError as e:
            self._process.join()
            raise Unavailable(
                f"the process that measured ended with code {self._process.exitcode}; "
                "is there enough memory?",
                "try a smaller --size or fewer models",
            ) from e
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def pid(self) -> int:
        """The number of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def close(self) -> None:
        """Kill the process; safe to call twice."""
        self._process.kill()
        self._process.join()
        self._pipe.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Hold signals that end a process back until the end of the block.

    A process that is interrupted while it starts would print a traceback. What starts inside the
    block keeps SIGINT blocked: a terminal sends Ctrl-C to every process, also to one that has not
    yet been told to ignore it.
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
        resource_tracker.ensure_running()  # starting it inside the block would unblock SIGINT
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if masks:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        for signum, handler in handlers.items():
            signal.signal(signum, handler)
        for number in arrived:
            signal.raise_signal(number)


def _serve(
    pipe: Connection, make: Callable[..., Callable[..., Any]], args: tuple[Any, ...]
) -> None:
    """Answer calls until the other end is closed or an error is sent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent process ends this one
    work, error = _tried(make, args)
    try:
        pipe.send(error)
        while error is None:
            answer, error = _tried(work, pipe.recv())
            pipe.send(answer if error is None else error)
    except (EOFError, ConnectionError):
        return  # nobody waits for the answer


def _tried(function: Callable[..., Any], args: tuple[Any, ...]) -> tuple[Any, Exception | None]:
    """Return the result of a call and None, or None and its error in a picklable form."""
    try:
        return function(*args), None
    except WsshmError as e:
        return None, e
    except Exception:
        return None, RuntimeError(traceback.format_exc())
