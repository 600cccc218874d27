"""A machine of a cluster looks at what it has, and does works; all without Ray."""

from __future__ import annotations

import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from engines.batch import node
from engines.batch.node import Asked, Node, ask
from engines.batch.work import Ended, Event, Opened, Work
from engines.machine import cores
from engines.video.config import RunConfig
from tests.faults.helpers import moving_clip, parts
from tests.media import probe


@pytest.fixture
def work(tmp_path: Path, ones: Path) -> Work:
    clip = moving_clip(tmp_path / "a.mp4", 6)
    (tmp_path / "manifest").touch()
    output = tmp_path / "out.mp4"
    return Work(RunConfig(clip, output, background="#204060", model=str(ones)), (output,))


@pytest.fixture
def asked(work: Work, tmp_path: Path) -> Asked:
    found, file = ask([work], tmp_path / "manifest", cores())
    assert file is not None
    assert file.name == "ones.onnx"
    return found


def open_node(asked: Asked, ones: Path, tmp_path: Path) -> Node:
    return Node("m", asked, ones.read_bytes(), tmp_path / "temporary")


def stored(tmp_path: Path) -> list[Path]:
    return [p for p in (tmp_path / "temporary").rglob("*") if p.is_file()]


def last(events: list[Event]) -> Ended:
    assert isinstance(events[-1], Ended)
    return events[-1]


def test_a_work(work: Work, asked: Asked, ones: Path, tmp_path: Path) -> None:
    """It is done with the model that was sent, which lies there once for all processes."""
    first = open_node(asked, ones, tmp_path)
    assert not first.refused
    (file,) = stored(tmp_path)
    before = file.stat()
    second = open_node(asked, ones, tmp_path)
    assert stored(tmp_path) == [file]
    assert file.stat().st_mtime_ns == before.st_mtime_ns
    moved = ones.rename(tmp_path / "moved.onnx")
    try:
        events = [*second.events(work)]
    finally:
        moved.rename(ones)
    assert last(events).result.is_done, last(events)
    assert probe(work.outputs[0]).frames == 6
    assert any(isinstance(e, Opened) for e in events)
    assert {e.work for e in events} == {work}


def test_works_report_less_often_where_they_are_many(work: Work, tmp_path: Path) -> None:
    """The command takes some hundreds of reports a second, from however many."""
    pauses = [ask([work], tmp_path / "manifest", 1, most)[0].pause for most in (1, 50, 10_000)]
    assert pauses == [0.2, 0.2, 40.0]


def test_a_damaged_copy_of_the_model_is_replaced(asked: Asked, ones: Path, tmp_path: Path) -> None:
    open_node(asked, ones, tmp_path)
    stored(tmp_path)[0].write_bytes(b"junk")
    open_node(asked, ones, tmp_path)
    assert stored(tmp_path)[0].read_bytes() == ones.read_bytes()


def test_what_a_machine_lacks(work: Work, asked: Asked, ones: Path, tmp_path: Path) -> None:
    """It says so in one line, and does nothing."""

    def refused(**changed: object) -> str:
        return open_node(replace(asked, **changed), ones, tmp_path).refused  # type: ignore[arg-type]

    assert "has other code; install the same one everywhere" in refused(code="0")
    missing = str(tmp_path / "missing")
    assert refused(paths=(missing,)).startswith(f"it does not see {missing}; put it in a folder")
    assert refused(folder=missing).startswith(f"it does not see {missing}; ")
    (tmp_path / "temporary").write_text("no folder")
    assert "cannot be created (Not a directory)" in refused()


def test_an_input_that_a_machine_does_not_see(
    work: Work, asked: Asked, ones: Path, tmp_path: Path
) -> None:
    Path(work.name).unlink()
    result = last([*open_node(asked, ones, tmp_path).events(work)]).result
    assert (result.exit_code, result.ends_batch) == (66, True)
    assert result.error.startswith(f"{work.name}: m does not see it; put it in a folder that")


def test_errors_of_a_machine_name_it(work: Work, asked: Asked, ones: Path, tmp_path: Path) -> None:
    """Those of the input itself do not."""
    here = open_node(asked, ones, tmp_path)
    there = tmp_path / "no folder" / "out.mp4"
    elsewhere = Work(replace(work.config, output=there), (there,))
    assert last([*here.events(elsewhere)]).result.error.endswith("(on m)")
    Path(work.name).write_bytes(b"junk" * 100)
    assert "(on m)" not in last([*here.events(work)]).result.error


def test_a_lost_process_that_still_writes(
    work: Work, asked: Asked, ones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its end is waited for, and what it left is removed; not for ever."""
    part = work.outputs[0].with_name("out.part.mp4")
    script = f"""
import fcntl, os, sys
file = open({str(part)!r}, "w")
fcntl.flock(file, fcntl.LOCK_EX)
file.write("frames")
file.flush()
print(flush=True)
sys.stdin.read()
"""
    here, again = open_node(asked, ones, tmp_path), replace(work, again=True)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        other.stdout.readline()
        monkeypatch.setattr(node, "LOCK_SECONDS", 0.1)
        error = last([*here.events(again)]).result.error
        assert "another run is writing it" in error
        monkeypatch.undo()
        threading.Timer(0.2, other.stdin.close).start()
        result = last([*here.events(again)]).result
    assert result.is_done, result
    assert probe(work.outputs[0]).frames == 6
    assert not parts(tmp_path)
