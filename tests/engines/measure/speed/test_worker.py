"""A process that measures answers, fails and ends as its caller expects."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from engines.errors import BadData, CannotOpen, Unavailable
from engines.measure.speed.worker import Worker
from tests.conftest import REPOSITORY
from tests.engines.measure.speed.processes import is_alive, until


def adding(a: int) -> Callable[[int], int]:
    return lambda b: a + b


def faulty(kind: str) -> Callable[[], None]:
    def work() -> None:
        if kind == "ours":
            raise CannotOpen("n.onnx: no such file")
        if kind == "end of file":
            raise EOFError("as PyAV's, which is no end of the pipe")
        if kind == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        raise KeyError("deep inside")

    if kind == "at once":
        raise BadData("junk")
    if kind == "killed at once":
        os.kill(os.getpid(), signal.SIGKILL)
    return work


def test_worker_answers_until_it_is_closed() -> None:
    with Worker(adding, 40) as worker:
        assert [worker(2), worker(3)] == [42, 43]
        pid = worker.pid
        assert is_alive(pid)
    assert not is_alive(pid)
    worker.close()


def test_errors_of_a_worker_reach_the_caller() -> None:
    with pytest.raises(BadData, match=r"^junk$"):
        Worker(faulty, "at once")
    with pytest.raises(Unavailable, match="ended with code -9"):
        Worker(faulty, "killed at once")
    for kind, error, says in (
        ("ours", CannotOpen, r"^n\.onnx: no such file$"),
        ("theirs", RuntimeError, r"in work\n(.|\n)*KeyError: 'deep inside'"),
        ("end of file", RuntimeError, "EOFError: as PyAV's"),
        ("killed", Unavailable, "ended with code -9"),
    ):
        with Worker(faulty, kind) as worker, pytest.raises(error, match=says):
            worker()


ORPHAN = """
import os
from engines.measure.speed.worker import Worker
from tests.engines.measure.speed.test_worker import adding
if __name__ == "__main__":
    worker = Worker(adding, 1)
    print(worker.pid, flush=True)
    os._exit(0)
"""


def test_worker_ends_with_whoever_started_it(tmp_path: Path) -> None:
    script = tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    root = str(REPOSITORY)
    result = subprocess.run(
        [sys.executable, script],
        capture_output=True,
        text=True,
        timeout=50,
        env=os.environ | {"PYTHONPATH": root},
    )
    assert result.returncode == 0, result.stderr
    until(lambda: not is_alive(int(result.stdout)))
