"""Several inputs through signals, kills and a full disk: what is finished stays."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.faults.helpers import Ended, Running, command, decode, disk, moving_clip, parts

FRAMES = {"short": 6, "long": 240}


@pytest.fixture(scope="session")
def takes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short clips and two that are long enough to be met half-way."""
    folder = tmp_path_factory.mktemp("takes")
    for length, names in (("short", "ace"), ("long", "bd")):
        first, *others = (folder / f"{name}.mp4" for name in names)
        moving_clip(first, FRAMES[length])
        for other in others:
            shutil.copy(first, other)
    return folder


def asked(takes: Path, model: Path, jobs: int = 2) -> list[object]:
    files = sorted(takes.glob("*.mp4"))
    given = ["--bg", "#204060", "--model", model, "--jobs", jobs, "--json"]
    return ["run", *files, "-o", "out", *given]


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have."""
    tasks = Path(f"/proc/{pid}/task")
    try:
        started = [
            int(child)
            for task in tasks.iterdir()
            for child in (task / "children").read_text().split()
        ]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [d for child in started for d in (child, *descendants(child))]


def workers(pid: int) -> list[int]:
    """The processes that have a part of an output open."""
    return [p for p in descendants(pid) if any(".part" in name for name in open_files(p))]


def open_files(pid: int) -> list[str]:
    names = []
    try:
        for link in Path(f"/proc/{pid}/fd").iterdir():
            names.append(os.readlink(link))
    except OSError:
        pass
    return names


def gone(pids: list[int], seconds: float = 5.0) -> bool:
    """Whether processes end; a zombie whose parent is gone is not ours to wait for."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        alive = [p for p in pids if state_of(p) not in ("", "Z")]
        if not alive:
            return True
        time.sleep(0.01)
    return False


def state_of(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


def shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm"))


def wait_for(run: Running, is_so: Callable[[], object]) -> None:
    while not is_so():
        assert run.process.poll() is None, run.finish()
        time.sleep(0.002)


def whole(takes: Path, folder: Path) -> None:
    """Every output has every frame, and nothing is beside them."""
    for path in takes.glob("*.mp4"):
        held = decode(folder / "out" / path.name)
        assert held.frames == FRAMES["long" if path.stem in "bd" else "short"], path
    assert not parts(folder)
    assert len(list((folder / "out").iterdir())) == 6


def states(data: dict[str, Any]) -> dict[str, str]:
    return {Path(row["input"]).stem: row["state"] for row in data["inputs"]}


def goes_on(args: list[object], takes: Path, folder: Path, done: set[str]) -> None:
    """The same command again finishes the rest, and does nothing again that was done."""
    times = {name: (folder / "out" / f"{name}.mp4").stat().st_mtime_ns for name in done}
    result = subprocess.run(command(*args), cwd=folder, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0, result.stderr
    found = states(json.loads(result.stdout))
    assert {name for name, state in found.items() if state == "finished"} == done
    whole(takes, folder)
    assert times == {n: (folder / "out" / f"{n}.mp4").stat().st_mtime_ns for n in done}


def interrupt(signum: int, takes: Path, model: Path, folder: Path) -> Ended:
    """Signal all processes of a batch of two at once, as a terminal does, in the long clips."""
    args = asked(takes, model)
    process = subprocess.Popen(
        command(*args),
        cwd=folder,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    part = folder / "out" / "b.part.mp4"
    while not part.exists() or part.stat().st_size < 5_000:
        assert process.poll() is None
        time.sleep(0.002)
    started = descendants(process.pid)
    began = time.perf_counter()
    os.killpg(process.pid, signum)
    stdout, stderr = process.communicate(timeout=30)
    ended = Ended(process.returncode, stdout, stderr, time.perf_counter() - began)
    assert gone(started), stderr
    return ended


@pytest.mark.parametrize(
    "signum",
    [
        signal.SIGINT,
        pytest.param(signal.SIGTERM, marks=pytest.mark.long),
        pytest.param(signal.SIGHUP, marks=pytest.mark.long),
    ],
)
def test_signal(signum: int, takes: Path, ones: Path, tmp_path: Path) -> None:
    """What is being done is finished as it is, no process is left, and the next call goes on."""
    before = shared_memory()
    ended = interrupt(signum, takes, ones, tmp_path)
    assert ended.returncode == 128 + signum, ended
    assert "Traceback" not in ended.stderr
    assert shared_memory() == before
    assert ended.seconds < 5
    assert ended.summary is not None
    assert ended.summary["exit_code"] == 128 + signum
    found = states(ended.summary)
    assert set(found) == set("abcde")
    assert found["b"] == "stopped"
    for row in ended.summary["inputs"]:
        output = tmp_path / "out" / Path(row["input"]).name
        frames = row["summary"]["frames"] if row["summary"] else 0
        assert output.exists() == (frames > 0)
        if frames:
            assert decode(output).frames == frames
    assert not parts(tmp_path)
    assert re.search(rf"stopped by {signal.Signals(signum).name}", ended.stderr)
    last = ended.stderr.splitlines()[-1]
    assert last.endswith("; the same command goes on from here")
    if signum != signal.SIGINT:
        goes_on(asked(takes, ones), takes, tmp_path, {n for n, s in found.items() if s == "done"})


def test_a_worker_is_killed(takes: Path, ones: Path, tmp_path: Path) -> None:
    """That is said, its clip is done once more, and the others never notice."""
    with Running(asked(takes, ones), tmp_path) as run:
        wait_for(run, lambda: (tmp_path / "out" / "b.part.mp4").exists())
        wait_for(run, lambda: workers(run.process.pid))
        os.kill(workers(run.process.pid)[0], signal.SIGKILL)
        ended = run.finish()
    assert ended.returncode == 0, ended.stderr
    said = [x for x in ended.stderr.splitlines() if "ended by SIGKILL; it is done once more" in x]
    assert len(said) == 1
    whole(takes, tmp_path)


@pytest.mark.long
def test_a_clip_whose_worker_is_killed_twice_is_named(
    takes: Path, ones: Path, tmp_path: Path
) -> None:
    """And the others are done."""
    killed: set[int] = set()
    part = tmp_path / "out" / "b.part.mp4"
    with Running(asked(takes, ones, 1), tmp_path) as run:
        for _ in range(2):
            found: list[int] = []
            while not found:
                wait_for(run, part.exists)
                found = [
                    p
                    for p in descendants(run.process.pid)
                    if p not in killed and str(part) in open_files(p)
                ]
            os.kill(found[0], signal.SIGKILL)
            killed.add(found[0])
        ended = run.finish()
    assert ended.returncode == 69, ended.stderr
    assert "b.mp4: its process was ended twice" in ended.stderr
    assert states(ended.summary or {})["b"] == "failed"
    assert decode(tmp_path / "out" / "d.mp4").frames == FRAMES["long"]


def finished(folder: Path) -> set[str]:
    """What the manifest says is done."""
    manifest = folder / "out" / "wsshm_manifest.jsonl"
    if not manifest.exists():
        return set()
    newest: dict[str, str] = {}
    for line in manifest.read_text().splitlines()[1:]:
        newest |= {name: record["state"] for name, record in json.loads(line).items()}
    return {Path(name).stem for name, state in newest.items() if state == "done"}


def kill(run: Running) -> None:
    """SIGKILL the command itself, and see that its processes end with it."""
    started = descendants(run.process.pid)
    os.kill(run.process.pid, signal.SIGKILL)
    run.process.wait()
    assert gone(started), "a process outlives the command"


def test_the_command_is_killed(takes: Path, ones: Path, tmp_path: Path) -> None:
    """Its processes end at once, whatever they are doing, and the next call goes on."""
    part = tmp_path / "out" / "b.part.mp4"
    with Running(asked(takes, ones), tmp_path) as run:
        wait_for(run, lambda: part.exists() and part.stat().st_size)
        kill(run)
    assert part.exists()
    assert not (tmp_path / "out" / "b.mp4").exists()
    goes_on(asked(takes, ones), takes, tmp_path, finished(tmp_path))


@pytest.mark.long
@pytest.mark.timeout(900)
def test_kills_at_random_moments(takes: Path, ones: Path, tmp_path: Path) -> None:
    """Of the command and of its workers in turn, 20 times: every output is whole in the end."""
    moments, before = random.Random(18), shared_memory()
    began = time.perf_counter()
    (tmp_path / "whole").mkdir()
    subprocess.run(
        command(*asked(takes, ones)), cwd=tmp_path / "whole", check=True, capture_output=True
    )
    length = time.perf_counter() - began
    for i in range(20):
        folder = tmp_path / f"{i}"
        folder.mkdir()
        moment = moments.uniform(0, length)
        if i % 2:
            with Running(asked(takes, ones), folder) as run:
                time.sleep(moment)
                kill(run)
            goes_on(asked(takes, ones), takes, folder, finished(folder))
        else:
            with Running(asked(takes, ones), folder) as run:
                time.sleep(moment)
                victims = descendants(run.process.pid)
                if victims:
                    os.kill(moments.choice(victims), signal.SIGKILL)
                ended = run.finish(50)
            assert ended.returncode == 0, ended
            whole(takes, folder)
        shutil.rmtree(folder)
    assert shared_memory() == before


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.long)])
def test_full_disk(jobs: int, takes: Path, ones: Path, tmp_path: Path) -> None:
    """It ends the batch: one error, not one for each clip; what was finished is, and stays."""
    with disk(tmp_path / "out", 110) as folder:
        result = subprocess.run(
            command(*asked(takes, ones, jobs)),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=50,
        )
        assert result.returncode == 74, result.stderr
        errors = [x for x in result.stderr.splitlines() if x.startswith("wsshm: error: ")]
        assert 2 <= len(errors) <= 1 + 2 * jobs, result.stderr
        assert "No space left" in errors[0]
        found = states(json.loads(result.stdout))
        done = {name for name, state in found.items() if state == "done"}
        assert "a" in done
        assert found["e"] == "left"
        for name in done:
            assert (
                decode(folder / f"{name}.mp4").frames == FRAMES["long" if name in "bd" else "short"]
            )
        shutil.copytree(folder, tmp_path / "kept")
    shutil.copytree(tmp_path / "kept", tmp_path / "out", dirs_exist_ok=True)
    if jobs == 2:
        goes_on(asked(takes, ones), takes, tmp_path, done)
