"""A slow reader, a long clip, many runs in one process: what a run holds does not grow."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av
import pytest

from tests.conftest import REPOSITORY
from tests.faults.helpers import command, moving_clip
from tests.faults.senders import Sender

PACE = 100_000  # bytes a second of a slow reader
FRAMES = 120  # for it: 40 MB

# A process of its own that says, of itself, what it holds: bytes in memory, threads, open files.
HELD = """
import json, os, random, sys, threading, time
from pathlib import Path
from engines.video.config import RunConfig
from engines.video.run import run
from engines.video.pipeline import Stop


def held():
    status = dict(x.split(":", 1) for x in Path("/proc/self/status").read_text().splitlines())
    size, threads = (int(status[k].split()[0]) for k in ("VmRSS", "Threads"))
    return 1024 * size, threads, len(os.listdir("/proc/self/fd"))
"""

# One run, looked at every hundred frames.
LONG_RUN = """
source, model, output = map(Path, sys.argv[1:])
seen = {}


def on_frame(n):
    if n % 100 == 0:
        seen[n] = held()


run(RunConfig(source, output, "#00b140", model=str(model)), on_frame=on_frame)
print(json.dumps(seen))
"""

# Many runs, each stopped at a random moment from before its first frame to after its last.
CYCLES = """
from tests.faults.helpers import decode
source, model, folder = map(Path, sys.argv[1:4])
rng, seen, whole = random.Random(500), [], 0.0
for n in range(int(sys.argv[4])):
    stop, output, began = Stop(), folder / f"{n}.mp4", time.perf_counter()
    after = rng.uniform(0, whole) if n > 1 else 60
    timer = threading.Timer(after, setattr, (stop, "requested", True))
    timer.start()
    done = run(RunConfig(source, output, "#00b140", model=str(model)), stop)
    if n < 2:  # seconds that a whole run takes here; the first has more to load
        whole = time.perf_counter() - began
    timer.cancel()
    timer.join()
    assert done.error is None, done.error
    assert output.exists() == bool(done.frames)
    if done.frames:
        assert decode(output).frames == done.frames
        output.unlink()
    seen.append((done.frames, *held()[1:]))
print(json.dumps(seen))
"""


def said_by(script: str, *args: object, timeout: float) -> Any:
    """What a script prints as JSON that knows `HELD`; it must end well."""
    result = subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", HELD + script, *map(str, args)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


def check_long_run(clip: Path, model: Path, output: Path, timeout: float) -> None:
    """From frame 300 on memory grows by 5 % at most, threads and open files not at all."""
    seen = {int(n): x for n, x in said_by(LONG_RUN, clip, model, output, timeout=timeout).items()}
    memory, threads, files = seen[300]
    later = [x for n, x in seen.items() if n > 300]
    most = max(m for m, *_ in later)
    print(f"{memory / 1e6:.1f} MB at frame 300, {most / 1e6:.1f} MB at most in {max(seen)} frames")
    assert most <= 1.05 * memory
    assert max(t for _, t, _ in later) <= threads  # the stages' own end before the last frame
    assert max(f for *_, f in later) <= files


def test_a_run_holds_no_more_and_more(moving: Path, ones: Path, tmp_path: Path) -> None:
    """1500 small frames with sound."""
    check_long_run(moving, ones, tmp_path / "out.mp4", 50)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_10000_frames(ones: Path, tmp_path: Path) -> None:
    """720p; the same 300 frames again and again."""
    short = moving_clip(tmp_path / "short.mp4", 300, 1280, 720, audio=False)
    clip = tmp_path / "in.mp4"
    with av.open(str(clip), "w") as joined:
        stream, moved = None, 0
        while moved < 10_000:
            with av.open(str(short)) as part:
                video = part.streams.video[0]
                stream = stream or joined.add_stream_from_template(video)
                for packet in part.demux(video):
                    if packet.dts is None:
                        continue
                    frame = round(1 / (30 * packet.time_base))
                    packet.pts, packet.dts = (t + moved * frame for t in (packet.pts, packet.dts))
                    packet.stream = stream
                    joined.mux(packet)
            moved += 300
    check_long_run(clip, ones, tmp_path / "out.mp4", 3600)


def check_cycles(cycles: int, model: Path, folder: Path, timeout: float) -> None:
    clip = moving_clip(folder / "in.mp4", 60)
    seen = said_by(CYCLES, clip, model, folder, cycles, timeout=timeout)
    frames = [n for n, *_ in seen]
    stopped = [n for n in frames if n < 60]
    files = [f for *_, f in seen]
    print(f"{len(stopped)} of {cycles} stopped early; {files[0]} files open at first, {files[-1]}")
    assert len(stopped) >= cycles // 10
    assert max(files) <= files[0] + 2
    assert max(t for _, t, _ in seen) <= seen[0][1] + 2  # one that ends is listed a moment longer


def test_runs_in_one_process(ones: Path, tmp_path: Path) -> None:
    """Stopped at any moment, a run leaves no thread and no open file, and a file that plays."""
    check_cycles(10, ones, tmp_path, 50)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_500_runs_in_one_process(ones: Path, tmp_path: Path) -> None:
    check_cycles(500, ones, tmp_path, 3600)


class SlowReader(threading.Thread):
    """Reads a FIFO at `PACE` for some seconds, and then all that comes."""

    def __init__(self, path: Path, seconds: float):
        super().__init__(name="reader")
        os.mkfifo(path)
        self._path, self._seconds = path, seconds
        self.began, self.hurries = threading.Event(), threading.Event()
        self.data = bytearray()

    def run(self) -> None:
        with self._path.open("rb", buffering=0) as file:
            data = file.read(PACE // 10)
            until = time.monotonic() + self._seconds
            self.began.set()
            while data:
                self.data += data
                slow = time.monotonic() < until
                if slow:
                    time.sleep(0.1)
                else:
                    self.hurries.set()
                data = file.read(PACE // 10 if slow else 1 << 20)


def resident(pid: int) -> int:
    """Bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(status.split("VmRSS:")[1].split()[0])


@pytest.mark.parametrize("seconds", [2, pytest.param(60, marks=pytest.mark.long)])
@pytest.mark.timeout(300)
def test_a_slow_reader(seconds: float, ones: Path, tmp_path: Path) -> None:
    """A file waits for its reader: no frame is lost, and none piles up."""
    clip = moving_clip(tmp_path / "in.mp4", FRAMES, 640, 360)
    reader = SlowReader(tmp_path / "out", seconds)
    reader.start()
    with (
        (tmp_path / "out").open("wb") as out,
        subprocess.Popen(
            command("run", clip, "--model", ones, "-o", "-", "--format", "y4m"),
            stdout=out,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        out.close()  # the process's alone now
        assert reader.began.wait(30)
        time.sleep(0.5)
        before, most = resident(process.pid), 0
        while not reader.hurries.wait(0.1):
            most = max(most, resident(process.pid))
        assert process.stderr is not None
        errors = process.stderr.read().decode()
        assert process.wait(60) == 0, errors
    reader.join()
    frame = len(b"FRAME\n") + 640 * 360 * 3 // 2
    header = reader.data.index(b"\n") + 1
    assert len(reader.data) == header + FRAMES * frame
    assert all(reader.data[header + i * frame :][:6] == b"FRAME\n" for i in range(FRAMES))
    assert f"{FRAMES} frames in" in errors
    print(f"{before / 1e6:.1f} MB, then {most / 1e6:.1f} MB at most")
    assert most <= 1.05 * before


@pytest.mark.long
def test_a_slow_reader_of_a_live_source(ones: Path, tmp_path: Path) -> None:
    """It drops what is old and counts it; what is read is as late as the queues are long."""
    clip = moving_clip(tmp_path / "live.mp4", 300, gop=15)
    reader = SlowReader(tmp_path / "out", 30)
    reader.start()
    with Sender(clip, "close", seconds=9) as sender, (tmp_path / "out").open("wb") as out:
        args = command("run", sender.url, "--model", ones, "-o", "-", "--format", "y4m")
        result = subprocess.run(args, stdout=out, stderr=subprocess.PIPE, text=True, timeout=50)
    reader.join()
    assert result.returncode == 0, result.stderr
    last = result.stderr.splitlines()[-1]
    match = re.match(r"(\d+) frames in .* (\d+) dropped, latency p50 (\d+) ms", last)
    assert match, last
    frames, dropped, latency = map(int, match.groups())
    print(last)
    assert frames < dropped
    assert frames + dropped <= sender.sent
    size = 160 * 120 * 3 // 2
    assert len(reader.data) == reader.data.index(b"\n") + 1 + frames * (6 + size)
    # One frame waits before each of three stages, one is in the hands of each, and of the source.
    assert latency <= 1000 * (7 + 1) * size / PACE
