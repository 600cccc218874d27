"""500 clips in one call, ten of them damaged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.helpers import Ended, command, decode, moving_clip, parts
from tests.faults.test_batch import descendants

CLIPS, FRAMES = 500, 30


def damaged(folder: Path, whole: bytes) -> set[str]:
    """Ten files that are no videos, or were, in place of whole clips."""
    middle = len(whole) // 2
    contents = {
        "empty": b"",
        "one byte": b"\0",
        "zeros": bytes(len(whole)),
        "junk": b"junk" * 1000,
        "text": b"#!/bin/sh\necho no video\n" * 20,
        "begins too late": whole[100:],
        "cut": whole[:middle],
        "cut early": whole[:64],
        "no index": whole.replace(b"moov", b"xxxx"),
        "png": b"\x89PNG\r\n\x1a\n" + whole,
    }
    for i, data in enumerate(contents.values()):
        (folder / f"{50 * i + 25:03d}.mp4").write_bytes(data)
    return {f"{50 * i + 25:03d}.mp4" for i in range(len(contents))}


def resident(pid: int) -> int:
    """Memory of a process, in bytes; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (FileNotFoundError, ProcessLookupError):
        return 0


def run_to_end(args: list[object], folder: Path, sample: Callable[[int], None]) -> Ended:
    """Run wsshm, whose lines are more than a pipe holds; `sample` gets its pid meanwhile."""
    began = time.perf_counter()
    with open(folder / "stdout", "w") as out, open(folder / "stderr", "w") as err:
        process = subprocess.Popen(command(*args), cwd=folder, stdout=out, stderr=err)
        while process.poll() is None:
            sample(process.pid)
            time.sleep(0.2)
    stdout, stderr = ((folder / name).read_text() for name in ("stdout", "stderr"))
    return Ended(process.returncode, stdout, stderr, time.perf_counter() - began)


@pytest.mark.long
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("jobs", [1, 2])
def test_500_clips(jobs: int, ones: Path, tmp_path: Path) -> None:
    """490 are right and ten named, memory stays what it is, and a second call does nothing."""
    takes = tmp_path / "takes"
    takes.mkdir()
    first = moving_clip(takes / "000.mp4", FRAMES, 64, 48)
    for i in range(1, CLIPS):
        shutil.copy(first, takes / f"{i:03d}.mp4")
    bad = damaged(takes, first.read_bytes())
    args = ["run", "takes", "-o", "out", "--bg", "#204060", "--model", ones, "--jobs", jobs]
    memory: list[tuple[int, int]] = []  # clips that were done, and bytes of all processes

    def sample(pid: int) -> None:
        done = len(list((tmp_path / "out").glob("???.mp4")))
        memory.append((done, sum(map(resident, [pid, *descendants(pid)]))))

    ended = run_to_end([*args, "--json"], tmp_path, sample)
    print(f"first call {ended.seconds:.1f} s")
    assert ended.returncode == 65, ended.stderr
    assert not parts(tmp_path)
    rows = json.loads(ended.stdout)["inputs"]
    assert {Path(r["input"]).name for r in rows if r["state"] == "failed"} == bad
    assert {Path(r["input"]).name for r in rows if r["state"] == "done"} == {
        p.name for p in takes.iterdir()
    } - bad
    errors = [x for x in ended.stderr.splitlines() if x.startswith("wsshm: error: takes/")]
    assert {x.split("takes/")[1][:7] for x in errors} == bad
    assert all(r["summary"]["frames"] == FRAMES for r in rows if r["state"] == "done")
    for row in rows:
        if row["state"] == "done":
            assert decode(tmp_path / row["outputs"][0]).frames == FRAMES
    early = max(size for done, size in memory if 40 < done <= 150)
    late = max(size for done, size in memory if done > 350)
    print(f"memory {early / 1e6:.0f} MB by clip 150, {late / 1e6:.0f} MB after clip 350")
    assert late < 1.1 * early

    ended = run_to_end([*args, "--json"], tmp_path, lambda _: None)
    print(f"second call {ended.seconds:.1f} s")
    states = [row["state"] for row in json.loads(ended.stdout)["inputs"]]
    assert (states.count("finished"), states.count("failed")) == (CLIPS - len(bad), len(bad))
    assert ended.returncode == 65
