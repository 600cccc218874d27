"""Stages in threads with bounded queues between them: the protocol, and nothing about video.

- Queues hold `depth` items; the faster side waits. Nothing is reordered, and nothing is dropped
  unless `newest_only` is set, for a source that does not wait, such as a camera.
- Items that no step works on pass by: they skip the steps, and stay in order among the others.
- Threads that share a stage take turns, item by item, so that the next one finds them in order.
- Every wait checks one stop flag, at least every `TICK` seconds.
- The first error wins and is the one raised; errors that it causes elsewhere are not shown.
- Threads are joined before `run` returns or raises; none is a daemon.
- The sink runs in the caller's thread, which therefore goes on handling signals.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

TICK = 0.05  # seconds
_END = object()
Step = tuple[str, Callable[[Any], Any]]  # its name, and its function of an item


class Stop:
    """A flag that ends a run early. Plain attributes: safe to set in a signal handler."""

    requested: bool = False
    signum: int = 0
    halted: bool = False  # set by the pipeline when it has to end

    @property
    def ended(self) -> bool:
        """Whether the run is to end, for any reason."""
        return self.requested or self.halted


class RunThread(threading.Thread):
    """A thread of a run, told from the threads of the program that the run is a part of."""


class PassBy(NamedTuple):
    """An item of the source that no step works on."""

    item: Any


class LatestOnlyQueue(queue.Queue[Any]):
    """A queue that holds only the newest of the items that may be dropped, and all others.

    Args:
        may_drop: whether an item makes room for a newer one.
        maxsize: items of both kinds at which `put` waits.
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
        stages: the steps that the threads of each stage take one after the other.
        sink: name and function of an item.
        depth: items that wait between two stages, rounded up to a multiple of the threads there.
        stop: ends the run early when set from outside; `run` then returns normally.
        workers: number of threads of a stage, by the name of its first step; 1 if not named. Its
            steps are then called by several threads at once.
        works_on: tells the items of the source that the steps work on; the others keep their place
            in the order, but pass every step by. None means all items.
        pass_by: takes those others in the sink's thread and in the sink's time; the sink when None.
        newest_only: let only the newest item that is worked on wait for the first stage, which then
            has one thread; the source never waits.
        on_time: called under a lock with a step's name and the seconds that it took for an item;
            not for those that pass by.
        on_wait: called in a thread that has waited with "item" or "room", what it waited for, and
            the seconds.

    `busy` holds for each name the seconds a thread spent in it, waiting not counted. `source`,
    `stages` and `sink` are for subclasses that run them in another way: an item of the source goes
    through `admit` first.
    """

    def __init__(
        self,
        source: tuple[str, Iterable[Any]],
        stages: list[list[Step]],
        sink: tuple[str, Callable[[Any], None]],
        depth: int = 3,
        stop: Stop | None = None,
        workers: Mapping[str, int] | None = None,
        works_on: Callable[[Any], bool] | None = None,
        pass_by: Callable[[Any], None] | None = None,
        newest_only: bool = False,
        on_time: Callable[[str, float], None] | None = None,
        on_wait: Callable[[str, float], None] | None = None,
    ):
        take, pass_by = sink[1], pass_by or sink[1]
        self.source = source
        self.stages = [[(name, _passed_by(function)) for name, function in s] for s in stages]
        self.sink: tuple[str, Callable[[Any], None]] = (
            sink[0],
            lambda item: pass_by(item.item) if isinstance(item, PassBy) else take(item),
        )
        self._works_on, self._on_time, self._on_wait = works_on, on_time, on_wait
        threads = [(workers or {}).get(steps[0][0], 1) for steps in stages]
        self._workers = [1, *threads, 1]
        # Item k waits in queue k mod n: giver and taker both know which one that is.
        self._queues: list[list[queue.Queue[Any]]] = [
            [queue.Queue(-(-depth // n)) for _ in range(n)]
            for n in map(math.lcm, self._workers, self._workers[1:])
        ]
        if newest_only:
            if self._workers[1] != 1:
                raise ValueError("items that may be dropped cannot take turns")
            self._queues[0] = [LatestOnlyQueue(lambda item: not _is_no_work(item))]
        self._stop = stop or Stop()
        self._stop.halted = False
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        steps = [step for stage in stages for step in stage]
        self.busy = {name: 0.0 for name, _ in [source, *steps, sink]}

    @property
    def dropped(self) -> int:
        """Number of items of the source that made room for newer ones."""
        return sum(q.dropped for q in self._queues[0] if isinstance(q, LatestOnlyQueue))

    def admit(self, item: Any) -> Any:
        """Return an item of the source as the stages and the sink take it."""
        return item if self._works_on is None or self._works_on(item) else PassBy(item)

    def run(self) -> None:
        """Run to the end of the source, a stop, or the first error, which is raised."""
        threads = [RunThread(target=self._run_source, name=f"wsshm {self.source[0]}")]
        for i, steps in enumerate(self.stages):
            for worker in range(self._workers[i + 1]):
                name, args = f"wsshm {steps[0][0]}", (i, worker)
                threads.append(RunThread(target=self._run_stage, args=args, name=name))
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
        """Give item number k to stage i; the sink is the last. Return False after a stop."""
        waiting = self._queues[i][k % len(self._queues[i])]
        with self._waiting("room"):
            while not self._stopped():
                try:
                    waiting.put(item, timeout=TICK)
                    return True
                except queue.Full:
                    continue
        return False

    def _get(self, i: int, k: int) -> Any:
        waiting = self._queues[i][k % len(self._queues[i])]
        with self._waiting("item"):
            while not self._stopped():
                try:
                    return waiting.get(timeout=TICK)
                except queue.Empty:
                    continue
        return _END

    @contextmanager
    def _waiting(self, what: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        if self._on_wait is not None:
            self._on_wait(what, time.perf_counter() - start)

    def _end(self, i: int, k: int) -> None:
        """Send the end marker to stage i in place of item k and all later items of this thread."""
        for later in range(k, k + len(self._queues[i]), self._workers[i]):
            self._put(i, later, _END)

    def _timed(self, workers: int, name: str, function: Callable[..., Any], *args: Any) -> Any:
        start = time.perf_counter()
        try:
            result = function(*args)
        finally:
            seconds = time.perf_counter() - start
            with self._lock:
                self.busy[name] += seconds / workers
        if self._on_time is not None and not any(map(_is_no_work, (*args, result))):
            with self._lock:
                self._on_time(name, seconds)
        return result

    def _run_source(self) -> None:
        name, iterable = self.source
        k = 0
        try:
            items = iter(iterable)

            def admitted() -> Any:
                item = next(items, _END)
                return item if item is _END else self.admit(item)

            try:
                while (item := self._timed(1, name, admitted)) is not _END:
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
                for name, function in self.stages[i]:
                    item = self._timed(workers, name, function, item)
                if not self._put(i + 1, k, item):
                    return
                k += workers
            self._end(i + 1, k)
        except BaseException as e:
            self._fail(e)

    def _run_sink(self) -> None:
        name, function = self.sink
        k = 0
        while (item := self._get(len(self.stages), k)) is not _END:
            self._timed(1, name, function, item)
            k += 1


def _passed_by(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Return a step that leaves a `PassBy` unchanged."""
    return lambda item: item if isinstance(item, PassBy) else function(item)


def _is_no_work(item: Any) -> bool:
    return item is _END or isinstance(item, PassBy)
