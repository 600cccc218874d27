"""Stages in threads with bounded queues between them: the protocol, and nothing about video.

- Queues hold `depth` items; whoever is faster waits. Nothing is reordered, and nothing is dropped
  unless `may_drop` allows it: for a source that waits for nobody, such as a camera.
- Threads that share a stage take turns, item by item, so that the next one finds them in order.
- Every wait looks at one stop flag, at least every `TICK` seconds.
- The first error wins and is the one raised; what it makes others raise is not shown.
- Threads are joined before `run` returns or raises; none is a daemon.
- The sink runs in the caller's thread, which therefore goes on handling signals.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

TICK = 0.05
_END = object()
Step = tuple[str, Callable[[Any], Any]]  # its name, and what it makes of an item


class Stop:
    """A flag that ends a run early. Plain attributes: safe to set in a signal handler."""

    requested: bool = False
    signum: int = 0
    halted: bool = False  # set by the pipeline when it has to end

    @property
    def ended(self) -> bool:
        """Whether nothing more is wanted, for whatever reason."""
        return self.requested or self.halted


class LatestOnlyQueue(queue.Queue[Any]):
    """A queue in which, of the items that may be dropped, only the newest waits.

    Args:
        may_drop: whether an item makes room for a newer one; those that do not are all kept.
        maxsize: of all items together; then `put` waits.
    """

    def __init__(self, may_drop: Callable[[Any], bool], maxsize: int = 1000):
        super().__init__(maxsize)
        self.dropped = 0
        self._may_drop = may_drop

    def _put(self, item: Any) -> None:  # called by `put`, which holds the lock
        if self._may_drop(item):
            for i, waiting in enumerate(self.queue):
                if self._may_drop(waiting):
                    del self.queue[i]
                    self.dropped += 1
                    break
        super()._put(item)


class Pipeline:
    """source → stages → sink.

    Args:
        source: name and iterable; its iterator is closed in its own thread if it can be.
        stages: each the steps that a thread takes one after the other.
        sink: name and function of an item.
        depth: items that wait between two stages, rounded up to as many for each thread.
        stop: ends the run early when set from outside; `run` then returns normally.
        lanes: how many threads a stage has, by the name of its first step; 1 where it is not
            named. Its steps are then called by several at once.
        may_drop: items of the source of which only the newest waits for the first stage, which
            then has one thread; the source never waits. None keeps every item.

    After `run`, `busy` holds for each name the seconds a thread spent in it, waiting not counted.
    """

    def __init__(
        self,
        source: tuple[str, Iterable[Any]],
        stages: list[list[Step]],
        sink: tuple[str, Callable[[Any], None]],
        depth: int = 3,
        stop: Stop | None = None,
        workers: Mapping[str, int] | None = None,
        may_drop: Callable[[Any], bool] | None = None,
    ):
        self._source, self._stages, self._sink = source, stages, sink
        threads = [(workers or {}).get(steps[0][0], 1) for steps in stages]
        self._workers = [1, *threads, 1]
        # Item k waits in queue k mod n: whoever gives or takes it knows which one without asking.
        self._queues: list[list[queue.Queue[Any]]] = [
            [queue.Queue(-(-depth // n)) for _ in range(n)]
            for n in map(math.lcm, self._workers, self._workers[1:])
        ]
        if may_drop is not None:
            if self._workers[1] != 1:
                raise ValueError("items that may be dropped cannot take turns")
            self._queues[0] = [LatestOnlyQueue(lambda item: item is not _END and may_drop(item))]
        self._stop = stop or Stop()
        self._stop.halted = False
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        steps = [step for stage in stages for step in stage]
        self.busy = {name: 0.0 for name, _ in [source, *steps, sink]}

    @property
    def dropped(self) -> int:
        """Items of the source that made room for newer ones."""
        return sum(q.dropped for q in self._queues[0] if isinstance(q, LatestOnlyQueue))

    def run(self) -> None:
        """Run to the end of the source, a stop, or the first error, which is raised."""
        threads = [threading.Thread(target=self._run_source, name=f"wsshm {self._source[0]}")]
        for i, steps in enumerate(self._stages):
            for worker in range(self._workers[i + 1]):
                name, args = f"wsshm {steps[0][0]}", (i, worker)
                threads.append(threading.Thread(target=self._run_stage, args=args, name=name))
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
        return self._stop.ended

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._error is None:
                self._error = error
        self._stop.halted = True

    def _put(self, i: int, k: int, item: Any) -> bool:
        """Give item number k to stage i; the sink is the last."""
        waiting = self._queues[i][k % len(self._queues[i])]
        while not self._stopped():
            try:
                waiting.put(item, timeout=TICK)
                return True
            except queue.Full:
                continue
        return False

    def _get(self, i: int, k: int) -> Any:
        waiting = self._queues[i][k % len(self._queues[i])]
        while not self._stopped():
            try:
                return waiting.get(timeout=TICK)
            except queue.Empty:
                continue
        return _END

    def _end(self, i: int, k: int) -> None:
        """Say to stage i that there is no item k, nor any after it that this thread would give."""
        for later in range(k, k + len(self._queues[i]), self._workers[i]):
            self._put(i, later, _END)

    def _timed(self, workers: int, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            return function(*args)
        finally:
            with self._lock:
                self.busy[name] += (time.perf_counter() - start) / workers

    def _run_source(self) -> None:
        name, iterable = self._source
        k = 0
        try:
            items = iter(iterable)
            try:
                while (item := self._timed(1, name, next, items, _END)) is not _END:
                    if not self._put(0, k, item):
                        return
                    k += 1
            finally:
                if hasattr(items, "close"):
                    items.close()
            self._end(0, k)
        except BaseException as e:
            self._fail(e)

    def _run_stage(self, i: int, worker: int) -> None:
        k, workers = worker, self._workers[i + 1]
        try:
            while (item := self._get(i, k)) is not _END:
                for name, function in self._stages[i]:
                    item = self._timed(workers, name, function, item)
                if not self._put(i + 1, k, item):
                    return
                k += workers
            self._end(i + 1, k)
        except BaseException as e:
            self._fail(e)

    def _run_sink(self) -> None:
        name, function = self._sink
        k = 0
        while (item := self._get(len(self._stages), k)) is not _END:
            self._timed(1, name, function, item)
            k += 1
