"""Do works on this machine, several at once in processes that share its cores."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from multiprocessing.connection import Connection, wait

from engines.batch.work import Begins, Ended, Event, Result, Said, Work
from engines.batch.worker import READY, STOP, serve
from engines.errors import Unavailable
from engines.machine import cores
from engines.processes import signals_held
from engines.video.pipeline import TICK, Stop

MAX_ATTEMPTS = 2  # of a work whose process was killed
MAX_FAILED_STARTS = 3  # processes that ended before they could do anything
END_SECONDS = 5.0  # that a process without work has until it is killed


class _Process:
    """A process that does works, and the one it has at the moment."""

    def __init__(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=serve, args=(theirs,), daemon=True)
        with signals_held():
            self._process.start()
        theirs.close()
        self.is_ready = False
        self.work: Work | None = None
        self.attempt = 0

    def give(self, work: Work, attempt: int) -> None:
        self.work, self.attempt = work, attempt
        with suppress(OSError):  # it has just ended, which its pipe tells
            self.pipe.send(work)

    def stop(self, signum: int) -> None:
        with suppress(OSError):
            self.pipe.send((STOP, signum))

    def death(self) -> str:
        """Return how it ended, in words."""
        self._process.join()
        code = self._process.exitcode or 0
        self.pipe.close()
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"

    def end(self) -> None:
        """End it: at once if its pipe is closed, which it notices."""
        self.pipe.close()
        self._process.join(END_SECONDS)
        self._process.kill()
        self._process.join()
        self._process.close()


def with_cores(work: Work, share: int) -> Work:
    """Return a work that uses so many of the machine's cores."""
    if share >= cores():
        return work
    config = work.config
    encoding = replace(config.encoding, threads=share)
    return replace(
        work, config=replace(config, threads=share, network_threads=share, encoding=encoding)
    )


def run_local(works: Sequence[Work], stop: Stop, jobs: int = 1) -> Iterator[Event]:
    """Do works in their order, `jobs` at once, and yield what happens.

    A work begins when the iteration goes on after its `Begins`. One whose process is killed is done
    once more after all others. A result that ends the batch, and a stop, let the works that are
    being done finish early; the others are left out.

    Raises:
        Unavailable: no process can be started.
    """
    jobs = max(1, min(jobs, len(works)))
    share = max(1, cores() // jobs)
    waiting = deque((with_cores(work, share), 1) for work in works)
    processes: list[_Process] = []
    failed_starts, is_stopping = 0, False
    try:
        while (waiting and not is_stopping) or any(p.work for p in processes):
            if stop.requested and not is_stopping:
                is_stopping = True
                for process in processes:
                    process.stop(stop.signum)
            while not is_stopping and len(processes) < min(jobs, _left(waiting, processes)):
                processes.append(_Process())
            for process in processes:
                if waiting and not process.work and not stop.requested:
                    work, attempt = waiting.popleft()
                    yield Begins(work, attempt)
                    if not stop.requested:
                        process.give(work, attempt)
            by_pipe: dict[Connection, _Process] = {p.pipe: p for p in processes}
            for pipe in wait(list(by_pipe), TICK):
                process = by_pipe[pipe]  # type: ignore[index]
                try:
                    message = process.pipe.recv()
                except Exception:  # its end, or a message that it could not finish
                    processes.remove(process)
                    failed_starts += not process.is_ready
                    lost, process.work = process.work, None
                    how = process.death()
                    if failed_starts >= MAX_FAILED_STARTS:
                        raise Unavailable(
                            f"the processes that do the work end as they start ({how})",
                            "is there enough memory?",
                        ) from None
                    if lost is None:
                        continue
                    if is_stopping:
                        code = 128 + stop.signum if stop.signum else 0
                        yield Ended(lost, Result(code, stopped=True))
                    elif process.attempt < MAX_ATTEMPTS:
                        yield Said(lost, f"its process was ended by {how}; it is done once more")
                        waiting.append((once_more(lost), process.attempt + 1))
                    else:
                        yield Ended(lost, _killed(lost, how))
                    continue
                if message == READY:
                    process.is_ready, failed_starts = True, 0
                    continue
                if isinstance(message, Ended):
                    process.work = None
                    if message.result.ends_batch:
                        stop.requested = True
                yield message
    finally:
        for process in processes:
            process.end()


def _left(waiting: deque[tuple[Work, int]], processes: list[_Process]) -> int:
    return len(waiting) + sum(p.work is not None for p in processes)


def once_more(work: Work) -> Work:
    """Return a work whose outputs were begun, and perhaps finished, by a process that has ended."""
    return replace(work, config=replace(work.config, overwrite=True), again=True)


def _killed(work: Work, how: str) -> Result:
    return Result(
        Unavailable.exit_code,
        f"{work.name}: its process was ended twice, the second time by {how}; "
        "is there enough memory? try fewer --jobs or a smaller --size",
    )
