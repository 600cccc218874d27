"""Run measurements in a separate process that signals end cleanly."""

from __future__ import annotations

import multiprocessing
import signal
import traceback
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any, Self

from engines.errors import Unavailable, WsshmError
from engines.processes import signals_held


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
        with signals_held():
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
