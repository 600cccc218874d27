"""Items that pass by the steps of a pipeline, and items that make room for newer ones."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from engines.video.pipeline import LatestOnlyQueue, Pipeline, Step
from tests.engines.video.test_pipeline import Counted, Injected, same

# Items that pass by


def mixed(numbers: int) -> list[int | str]:
    """Numbers, to be worked on, with none to two others between them."""
    rng = random.Random(0)
    items: list[int | str] = []
    for n in range(numbers):
        items += [f"packet {n}.{k}" for k in range(rng.randint(0, 2))] + [n]
    return [*items, "the last packet"]


def is_number(item: Any) -> bool:
    return isinstance(item, int)


@pytest.mark.parametrize("workers", [[1, 1], [2, 1], [2, 3]])
def test_items_that_pass_by_keep_their_place(workers: list[int]) -> None:
    """Whatever the steps make of their neighbours and however long that takes."""
    items, rng = mixed(60), random.Random(1)
    pauses = [rng.random() * 0.002 for _ in range(60)]

    def double(item: int) -> float:
        time.sleep(pauses[item])
        return 2.0 * item

    got: list[Any] = []
    Pipeline(
        ("source", items),
        [[("double", double), ("half", lambda item: item / 2)], [("text", lambda x: [x])]],
        ("sink", got.append),
        workers=dict(zip(("double", "text"), workers, strict=True)),
        works_on=is_number,
        pass_by=got.append,
    ).run()
    assert got == [[float(x)] if isinstance(x, int) else x for x in items]


def test_items_that_pass_by_have_a_taker_of_their_own() -> None:
    """In the sink's thread; where there is none, the sink takes them as well."""
    items = mixed(10)
    frames: list[int] = []
    packets: list[str] = []
    both: list[int | str] = []
    taken_in: set[int] = set()

    def take(item: Any) -> None:
        taken_in.add(threading.get_ident())
        packets.append(item)

    stages: list[list[Step]] = [[("step", same)]]
    Pipeline(
        ("source", items), stages, ("sink", frames.append), works_on=is_number, pass_by=take
    ).run()
    assert frames == [x for x in items if isinstance(x, int)]
    assert packets == [x for x in items if isinstance(x, str)]
    assert taken_in == {threading.get_ident()}
    Pipeline(("source", items), stages, ("sink", both.append), works_on=is_number).run()
    assert both == items


def test_what_passes_by_takes_the_sinks_time_and_no_steps() -> None:
    """A step is not busy with it, the sink is; seconds of single items are those of work alone."""
    items = mixed(10)
    times: dict[str, list[float]] = {}
    packets = sum(isinstance(x, str) for x in items)
    pipeline = Pipeline(
        ("source", items),
        [[("step", lambda item: time.sleep(0.001))]],
        ("sink", same),
        works_on=is_number,
        pass_by=lambda item: time.sleep(0.02),
        on_time=lambda name, seconds: times.setdefault(name, []).append(seconds),
    )
    pipeline.run()
    assert pipeline.busy["sink"] >= 0.02 * packets
    assert pipeline.busy["step"] < 0.02 * packets
    assert list(times) == ["source", "step", "sink"]
    assert {name: len(seconds) for name, seconds in times.items()} == dict.fromkeys(times, 10)
    assert max(times["sink"]) < 0.02


def test_items_that_pass_by_fill_the_queues_too() -> None:
    """A slow taker holds the source back."""
    source, ahead = Counted(40), []

    def slow(item: int) -> None:
        time.sleep(0.004)
        ahead.append(source.made - item)

    Pipeline(
        ("source", source),
        [[("step", same)]],
        ("sink", same),
        depth=2,
        works_on=lambda item: False,
        pass_by=slow,
    ).run()
    assert len(ahead) == 40
    assert 2 <= max(ahead) <= 2 * 2 + 1 + 2


@pytest.mark.parametrize("where", ["works_on", "pass_by"])
def test_errors_of_what_passes_by_are_raised(where: str) -> None:
    """The question as well as the taker."""

    def act(here: str) -> Any:
        if here == where:
            raise Injected(where)
        return False

    with pytest.raises(Injected, match=where):
        Pipeline(
            ("source", count()),
            [[("step", same)]],
            ("sink", same),
            works_on=lambda item: act("works_on"),
            pass_by=lambda item: act("pass_by"),
        ).run()


# A source that waits for nobody


def test_only_the_newest_waits() -> None:
    """What may be dropped makes room; the rest stays, and the order is kept."""
    waiting = LatestOnlyQueue(lambda item: isinstance(item, int))
    for item in (1, "a", 2, "b", 3):
        waiting.put(item)
    assert [waiting.get() for _ in range(3)] == ["a", "b", 3]
    assert waiting.dropped == 2
    waiting.put(4)
    assert waiting.get() == 4
    assert waiting.dropped == 2


def test_a_slow_sink_does_not_hold_up_the_source() -> None:
    """The source goes at its pace; what is dropped is counted, and the last of it always comes."""
    paused = threading.Event()
    got: list[int] = []

    def source() -> Iterator[int]:
        yield from range(200)
        paused.set()

    def sink(item: int) -> None:
        if not got:
            assert paused.wait(20)  # at the first item: the source ends meanwhile
        got.append(item)

    pipeline = Pipeline(
        ("source", source()),
        [[("a", same)], [("b", same)]],
        ("sink", sink),
        depth=1,
        newest_only=True,
    )
    pipeline.run()
    assert got == sorted(got)
    assert got[-1] == 199
    assert len(got) + pipeline.dropped == 200
    assert len(got) <= 6  # one in each queue and each thread


def test_what_may_not_be_dropped_is_kept() -> None:
    items = [i for n in range(300) for i in (n, f"packet {n}")]
    got: list[Any] = []
    pipeline = Pipeline(
        ("source", items),
        [[("a", same)]],
        ("sink", got.append),
        depth=1,
        works_on=lambda item: isinstance(item, int),
        newest_only=True,
    )
    pipeline.run()
    assert [x for x in got if isinstance(x, str)] == items[1::2]
    numbers = [x for x in got if isinstance(x, int)]
    assert numbers == sorted(numbers)
    assert len(numbers) + pipeline.dropped == 300


def test_items_that_may_be_dropped_do_not_take_turns() -> None:
    with pytest.raises(ValueError, match="take turns"):
        Pipeline(
            ("source", []),
            [[("a", same)]],
            ("sink", print),
            workers={"a": 2},
            newest_only=True,
        )
