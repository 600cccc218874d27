"""2,000 faults in the pipeline: no hang, no thread left, always exactly the injected error."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from engines.video.pipeline import Pipeline, Step, Stop
from tests.engines.video.test_pipeline import LIMIT, Counted, Injected


class Fault:
    """One random run with one fault in it; what went wrong, if anything, is in `wrong`."""

    def __init__(self, seed: int):
        rng = random.Random(seed)
        self.seed, self.wrong = seed, ["it hangs"]
        self._stop, self._error = Stop(), Injected(seed)
        self._items = rng.randint(1, 25)
        self._depth, stages = rng.randint(1, 4), rng.randint(0, 3)
        self._names = ["source", *(f"stage {k}" for k in range(stages)), "sink"]
        self._workers = {f"stage {k} of {seed}": rng.randint(1, 3) for k in range(stages)}
        self._where = rng.choice(self._names)
        self._when = rng.randrange(self._items)
        self._stops = rng.random() < 0.25
        self._pause = {name: rng.choice([0, 0, 0.0005]) for name in self._names}
        self._source = Counted(self._items)
        self._got: list[int] = []

    def _act(self, name: str, item: int) -> int:
        if self._pause[name]:
            time.sleep(self._pause[name])
        if name == self._where and item == self._when:
            if not self._stops:
                raise self._error
            self._stop.requested = True
        return item

    def _items_with_fault(self) -> Iterator[int]:
        for item in self._source:
            yield self._act("source", item)

    def _sink(self, item: int) -> None:
        self._got.append(self._act("sink", item))

    def run(self) -> None:
        stages: list[list[Step]] = [
            [(f"{name} of {self.seed}", partial(self._act, name))] for name in self._names[1:-1]
        ]
        source = (f"source of {self.seed}", self._items_with_fault())
        sink = "sink", self._sink
        pipeline = Pipeline(source, stages, sink, self._depth, self._stop, self._workers)
        raised: BaseException | None = None
        try:
            pipeline.run()
        except BaseException as e:
            raised = e
        wrong = []
        if raised is not (None if self._stops else self._error):
            wrong.append(f"raised {raised!r}")
        if self._got != list(range(len(self._got))):
            wrong.append(f"out of order: {self._got}")
        if self._source.closed_in is None and self._source.made:
            wrong.append("the source was not closed")
        ending = f" of {self.seed}"
        left = [t.name for t in threading.enumerate() if t.name.endswith(ending)]
        if left:
            wrong.append(f"threads left: {left}")
        self.wrong = wrong


def _faults(seeds: range) -> None:
    """Run every seed, sixteen at a time, so that they get in each other's way."""
    before = threading.active_count()
    for first in range(seeds.start, seeds.stop, 16):
        faults = [Fault(seed) for seed in range(first, min(first + 16, seeds.stop))]
        threads = [threading.Thread(target=fault.run, daemon=True) for fault in faults]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + LIMIT
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        assert not [(f.seed, f.wrong) for f in faults if f.wrong]
    assert threading.active_count() == before


def test_random_faults() -> None:
    """No hang, no thread left, always exactly the injected error."""
    _faults(range(400))


@pytest.mark.long
def test_2000_random_faults() -> None:
    _faults(range(2000))
