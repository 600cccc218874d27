"""The pipeline's protocol, on the real class: order, bounds, stop, errors."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from itertools import count
from typing import Any

import pytest

from engines.video.pipeline import Pipeline, Step, Stop

LIMIT = 5.0  # seconds; a run that takes longer hangs


class Injected(Exception):
    """A fault with a number, so that two are never taken for each other."""


class Counted:
    """A generator of 0, 1, … that knows how far it got and whether, and where, it was closed."""

    def __init__(self, items: int | None = None):
        self._items, self.made = items, 0
        self.ran_in: set[int] = set()
        self.closed_in: int | None = None

    def __iter__(self) -> Iterator[int]:
        try:
            for i in count() if self._items is None else range(self._items):
                self.ran_in.add(threading.get_ident())
                self.made = i + 1
                yield i
        finally:
            self.closed_in = threading.get_ident()


def same(item: Any) -> Any:
    return item


def test_order_is_kept_and_nothing_dropped() -> None:
    """Stages of uneven speed change neither the order nor the number of the items."""
    rng = random.Random(0)
    pauses = [[rng.random() * 0.002 for _ in range(200)] for _ in range(3)]

    def stage(k: int) -> Callable[[list[int]], list[int]]:
        def work(item: list[int]) -> list[int]:
            time.sleep(pauses[k][item[0]])
            return [*item, k]

        return work

    got: list[list[int]] = []
    stages = [[(f"stage {k}", stage(k))] for k in range(3)]
    Pipeline(("source", ([i] for i in range(200))), stages, ("sink", got.append)).run()
    assert got == [[i, 0, 1, 2] for i in range(200)]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("stages", [0, 1, 3])
def test_queues_hold_no_more_than_their_depth(depth: int, stages: int, workers: int) -> None:
    """A slow sink holds the source back: `depth` items a queue, one in each pair of hands."""
    source, ahead = Counted(40), []

    def slow(item: int) -> None:
        time.sleep(0.004)
        ahead.append(source.made - item)

    work: list[list[Step]] = [[(f"stage {k}", same)] for k in range(stages)]
    threads = {f"stage {k}": workers for k in range(stages)}
    Pipeline(("source", source), work, ("sink", slow), depth=depth, workers=threads).run()
    assert len(ahead) == 40
    depth = -(-depth // workers) * workers
    assert max(ahead) <= depth * (stages + 1) + stages * workers + 2
    assert max(ahead) >= depth  # and the queues are used


@pytest.mark.parametrize("workers", [[2, 1, 1], [1, 3, 1], [2, 2, 2], [1, 2, 3], [3, 2, 1]])
@pytest.mark.parametrize("items", [0, 1, 2, 5, 100])
def test_threads_of_a_stage_take_turns(workers: list[int], items: int) -> None:
    """However many threads a stage has and however unevenly they work, the order is kept."""
    rng = random.Random(0)
    pauses = [[rng.random() * 0.002 for _ in range(items)] for _ in workers]
    ran_in: list[list[Any]] = [[None] * items for _ in workers]

    def stage(k: int) -> Callable[[int], int]:
        def work(item: int) -> int:
            time.sleep(pauses[k][item])
            ran_in[k][item] = threading.current_thread()  # numbers are used again
            return item

        return work

    got: list[int] = []
    Pipeline(
        ("source", range(items)),
        [[(f"stage {k}", stage(k))] for k in range(len(workers))],
        ("sink", got.append),
        workers={f"stage {k}": n for k, n in enumerate(workers)},
    ).run()
    assert got == list(range(items))
    for n, threads in zip(workers, ran_in, strict=True):
        assert len(set(threads)) == min(n, items)
        assert all(threads[i] == threads[i % n] for i in range(items))


def test_threads_of_a_stage_work_at_once() -> None:
    """Two items are in the hands of two threads: each waits until the other is there."""
    both = threading.Barrier(2, timeout=LIMIT)
    got: list[int] = []
    stages = [[("pair", lambda item: (both.wait(), item)[1])]]
    Pipeline(("source", range(10)), stages, ("sink", got.append), workers={"pair": 2}).run()
    assert got == list(range(10))


def test_empty_source_ends_at_once() -> None:
    """No item: every stage ends, the sink sees nothing."""
    got: list[int] = []
    Pipeline(("source", []), [[("stage", same)]], ("sink", got.append)).run()
    assert got == []


@pytest.mark.parametrize("stages", [0, 2])
def test_stop_from_another_thread_ends_an_endless_run(stages: int) -> None:
    """A set flag ends the run normally; what came out is a beginning without gaps."""
    stop, got, source = Stop(), [], Counted()

    def sink(item: int) -> None:
        got.append(item)
        time.sleep(0.001)

    work: list[list[Step]] = [[(f"stage {k}", same)] for k in range(stages)]
    timer = threading.Timer(0.1, lambda: setattr(stop, "requested", True))
    timer.start()
    began = time.monotonic()
    Pipeline(("source", source), work, ("sink", sink), stop=stop).run()
    assert time.monotonic() - began < LIMIT
    timer.join()
    assert got == list(range(len(got)))
    assert got
    assert source.closed_in is not None


def test_stop_before_the_run_lets_nothing_through() -> None:
    """A flag that is set already means no work, and no error."""
    stop = Stop()
    got: list[int] = []
    stop.requested = True
    source = Counted(100)
    Pipeline(("source", source), [[("stage", same)]], ("sink", got.append), stop=stop).run()
    assert got == []


def test_signal_handler_runs_while_the_sink_waits() -> None:
    """The sink is in the calling thread and waits in ticks, so a real signal gets through."""
    stop, release = Stop(), threading.Event()

    def stuck() -> Iterator[int]:
        yield 0
        release.wait(LIMIT)

    def handle(signum: int, _: Any) -> None:
        stop.signum, stop.requested = signum, True
        release.set()

    before = signal.signal(signal.SIGUSR1, handle)
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    timer.start()
    began = time.monotonic()
    try:
        Pipeline(("source", stuck()), [], ("sink", same), stop=stop).run()
    finally:
        timer.join()
        signal.signal(signal.SIGUSR1, before)
    assert stop.signum == signal.SIGUSR1
    assert time.monotonic() - began < LIMIT


def test_busy_times_leave_waiting_out() -> None:
    """`busy` holds seconds of work by name; a stage that only waits was not busy."""
    pipeline = Pipeline(
        ("source", range(20)),
        [[("quick", same)], [("slow", lambda item: time.sleep(0.01))]],
        ("sink", same),
    )
    pipeline.run()
    assert list(pipeline.busy) == ["source", "quick", "slow", "sink"]
    assert pipeline.busy["slow"] >= 0.2
    for name in ("source", "quick", "sink"):
        assert pipeline.busy[name] < pipeline.busy["slow"] / 2


def test_busy_times_are_those_of_one_thread() -> None:
    """Two threads that share 8 naps of 50 ms were busy for half of that each."""
    stages = [[("nap", lambda item: time.sleep(0.05))]]
    one = Pipeline(("source", range(8)), stages, ("sink", same))
    two = Pipeline(("source", range(8)), stages, ("sink", same), workers={"nap": 2})
    one.run()
    two.run()
    assert 0.2 <= two.busy["nap"] < 0.4 <= one.busy["nap"]


def test_steps_of_a_stage_share_a_thread() -> None:
    """One after the other on each item, each with a time of its own."""
    ran_in: dict[str, set[int]] = {"first": set(), "second": set(), "other": set()}

    def step(name: str) -> Callable[[list[str]], list[str]]:
        def work(item: list[str]) -> list[str]:
            ran_in[name].add(threading.get_ident())
            if name == "second":
                time.sleep(0.005)
            return [*item, name]

        return work

    got: list[list[str]] = []
    stages = [[("first", step("first")), ("second", step("second"))], [("other", step("other"))]]
    pipeline = Pipeline(("source", ([] for _ in range(20))), stages, ("sink", got.append))
    pipeline.run()
    assert got == [["first", "second", "other"]] * 20
    assert ran_in["first"] == ran_in["second"]
    assert len(ran_in["first"] | ran_in["other"]) == 2
    assert list(pipeline.busy) == ["source", "first", "second", "other", "sink"]
    assert pipeline.busy["first"] < 0.1 <= pipeline.busy["second"]


@pytest.mark.parametrize("ends", ["whole", "stage fails", "sink fails", "stop"])
def test_source_is_closed_in_its_own_thread(ends: str) -> None:
    """Whatever ends the run, its thread closes the iterator, before `run` ends."""
    source, stop = Counted(30 if ends == "whole" else None), Stop()

    def act(where: str, item: int) -> Any:
        if item == 5 and ends == f"{where} fails":
            raise Injected(where)
        if item == 5 and ends == "stop":
            stop.requested = True
        return item

    pipeline = Pipeline(
        ("source", source),
        [[("stage", lambda item: act("stage", item))]],
        ("sink", lambda item: act("sink", item)),
        stop=stop,
    )
    if "fails" in ends:
        with pytest.raises(Injected):
            pipeline.run()
    else:
        pipeline.run()
    assert source.ran_in == {source.closed_in}
    assert source.closed_in != threading.get_ident()


def test_first_error_wins_over_those_it_causes() -> None:
    """A source that fails while it is closed does not hide why it was closed."""

    def source() -> Iterator[int]:
        try:
            yield from count()
        finally:
            raise Injected("second")

    def stage(item: int) -> int:
        if item == 3:
            raise Injected("first")
        return item

    with pytest.raises(Injected, match="first"):
        Pipeline(("source", source()), [[("stage", stage)]], ("sink", same)).run()


def test_error_keeps_the_traceback_of_its_thread() -> None:
    """The raised error still says where it happened."""

    def guilty(_: int) -> None:
        raise Injected("here")

    with pytest.raises(Injected) as caught:
        Pipeline(("source", range(3)), [[("stage", guilty)]], ("sink", same)).run()
    assert caught.traceback[-1].name == "guilty"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError])
@pytest.mark.parametrize("where", ["stage", "sink"])
def test_errors_of_every_kind_are_raised(error: type[BaseException], where: str) -> None:
    """What is not an `Exception` ends the run as well, from a thread as from the sink."""

    def act(here: str, item: int) -> Any:
        if here == where and item == 2:
            raise error
        return item

    with pytest.raises(error):
        Pipeline(
            ("source", count()),
            [[("stage", lambda item: act("stage", item))]],
            ("sink", lambda item: act("sink", item)),
        ).run()


def test_waits_are_told() -> None:
    """Before a slow stage the source waits for room, after it the sink for an item."""
    waited: dict[tuple[str, str], float] = {}

    def note(what: str, seconds: float) -> None:
        key = threading.current_thread().name, what
        waited[key] = waited.get(key, 0) + seconds

    def slow(item: int) -> int:
        time.sleep(0.02)
        return item

    Pipeline(("source", range(20)), [[("slow", slow)]], ("sink", same), on_wait=note).run()
    assert waited["wsshm source", "room"] > 0.2
    assert waited["MainThread", "item"] > 0.2
    assert sum(s for (thread, _), s in waited.items() if thread == "wsshm slow") < 0.2
