"""Stages in threads with bounded queues between them: the protocol, and nothing about video.

- Queues hold `depth` items; whoever is faster waits. Nothing is dropped or reordered.
- Every wait looks at one stop flag, at least every `TICK` seconds.
- The first error wins and is the one raised; what it makes others raise is not shown.
- Threads are joined before `run` returns or raises; none is a daemon.
- The sink runs in the caller's thread, which therefore goes on handling signals.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

TICK = 0.05
_END = object()
Step = tuple[str, Callable[[Any], Any]]  # its name, and what it makes of an item


class Stop:
    """A flag that ends a run early. Plain attributes: safe to set in a signal handler."""

    requested: bool = False
    signum: int = 0


class Pipeline:
    """source → stages → sink.

    Args:
        source: name and iterable; its iterator is closed in its own thread if it can be.
        stages: each the steps that one thread takes one after the other.
        sink: name and function of an item.
        depth: items a queue between two stages holds.
        stop: ends the run early when set from outside; `run` then returns normally.

    After `run`, `busy` holds for each name the seconds spent in it, waiting not counted.
    """

    def __init__(
        self,
        source: tuple[str, Iterable[Any]],
        stages: list[list[Step]],
        sink: tuple[str, Callable[[Any], None]],
        depth: int = 3,
        stop: Stop | None = None,
    ):
        self._source, self._stages, self._sink = source, stages, sink
        self._queues: list[queue.Queue[Any]] = [queue.Queue(depth) for _ in range(len(stages) + 1)]
        self._stop = stop or Stop()
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._halted = False
        steps = [step for stage in stages for step in stage]
        self.busy = {name: 0.0 for name, _ in [source, *steps, sink]}

    def run(self) -> None:
        """Run to the end of the source, a stop, or the first error, which is raised."""
        threads = [threading.Thread(target=self._run_source, name=f"wsshm {self._source[0]}")]
        for i, steps in enumerate(self._stages):
            name = f"wsshm {steps[0][0]}"
            threads.append(threading.Thread(target=self._run_stage, args=(i, steps), name=name))
        started = []
        try:
            for thread in threads:
                thread.start()
                started.append(thread)
            self._run_sink()
        except BaseException as e:
            self._fail(e)
        finally:
            for thread in started:
                while thread.is_alive():  # in ticks, so that signals are handled meanwhile
                    thread.join(TICK)
        if self._error is not None:
            raise self._error

    def _stopped(self) -> bool:
        return self._halted or self._stop.requested

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
        self._halted = True

    def _put(self, i: int, item: Any) -> bool:
        while not self._stopped():
            try:
                self._queues[i].put(item, timeout=TICK)
                return True
            except queue.Full:
                continue
        return False

    def _get(self, i: int) -> Any:
        while not self._stopped():
            try:
                return self._queues[i].get(timeout=TICK)
            except queue.Empty:
                continue
        return _END

    def _timed(self, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args)
        finally:
            self.busy[name] += time.perf_counter() - start

    def _run_source(self) -> None:
        name, iterable = self._source
        try:
            items = iter(iterable)
            try:
                while (item := self._timed(name, next, items, _END)) is not _END:
                    if not self._put(0, item):
                        return
            finally:
                if hasattr(items, "close"):
                    items.close()
            self._put(0, _END)
        except BaseException as e:
            self._fail(e)

    def _run_stage(self, i: int, steps: list[Step]) -> None:
        try:
            while (item := self._get(i)) is not _END:
                for name, function in steps:
                    item = self._timed(name, function, item)
                if not self._put(i + 1, item):
                    return
            self._put(i + 1, _END)
        except BaseException as e:
            self._fail(e)

    def _run_sink(self) -> None:
        name, function = self._sink
        while (item := self._get(len(self._stages))) is not _END:
            self._timed(name, function, item)
