"""Live sources that end, fall silent, send junk or are too fast: what came is kept and plays."""

from __future__ import annotations

import functools
import http.server
import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from engines.video.config import SILENCE_SECONDS, Clip, Stream
from engines.video.frame import Frame
from engines.video.read.open import open_source
from engines.video.read.stream import parse_input
from tests import graphs
from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import Running, command, decode, disk, moving_clip, parts
from tests.faults.senders import FAULTS, Sender
from tests.media import probe

SILENT = f"no image came for {SILENCE_SECONDS:g} s"
SAYS = {"reset": "Connection reset", "stall": SILENT, "garbage": SILENT, "sparse": SILENT}


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten seconds with a key frame in each half second, to be joined anywhere."""
    return moving_clip(tmp_path_factory.mktemp("live") / "live.mp4", 300, gop=15)


def wait_for(path: Path, run: Running) -> None:
    """Until there is something in a file."""
    while not path.exists() or not path.stat().st_size:
        assert run.process.poll() is None, run.process.communicate()
        time.sleep(0.01)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_source_that_fails(
    fault: str, clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """The file is finished and holds what came; the line says what happened and what to do."""
    with Sender(clip, fault, seconds=2.5) as sender:
        result = wsshm("run", sender.url, "--model", ones, "-o", "out.mp4", "--json")
        seconds = time.perf_counter() - sender.failed_at
    print(f"{seconds:.2f} s from the fault to the end")
    assert seconds <= 2 + 2  # to notice it, and to finish the file
    assert result.returncode == (0 if fault == "close" else 69), result.stderr
    if fault != "close":
        one_error_line(result, sender.url, SAYS[fault], "--reconnect")
    summary = json.loads(result.stdout)
    assert 0 < summary["frames"] + summary["dropped"] <= sender.sent
    held = decode(tmp_path / "out.mp4")
    assert held.frames == summary["frames"]
    assert held.samples > 0
    assert not parts(tmp_path)
    last = result.stderr.splitlines()[-1]
    assert f"{summary['dropped']} dropped, latency p50 " in last, last


def test_a_source_that_comes_back(clip: Path, ones: Path, tmp_path: Path) -> None:
    """One file of both connections; the break between them takes as long as it took."""
    args = ["run", None, "--model", ones, "-o", "out.mp4", "--json", "--reconnect"]
    with Sender(clip, "reset", seconds=2, times=2, pause=2) as sender:
        args[1] = sender.url
        with Running(args, tmp_path) as run:
            while sender.is_alive():
                time.sleep(0.05)
            os.kill(run.process.pid, signal.SIGINT)
            ended = run.finish()
    assert ended.returncode == 130, ended.stderr
    assert "connecting again" in ended.stderr
    assert f"{sender.url}: is back" in ended.stderr
    assert ended.summary is not None
    times = probe(tmp_path / "out.mp4").times
    assert len(times) == ended.summary["frames"]
    steps = [float(b - a) for a, b in pairwise(times)]
    assert min(steps) > 0
    print(f"back {max(steps) - 2:.1f} s after it could be connected to")
    assert 1.7 < max(steps) <= 2 + 3
    assert decode(tmp_path / "out.mp4").samples > 0


def test_a_network_that_is_too_slow(clip: Path, wsshm: Wsshm, tmp_path: Path) -> None:
    """Only the newest frame waits: those it replaces are counted, the others keep their order."""
    slow = graphs.hungry(tmp_path / "slow.onnx", 200)
    with Sender(clip, "close", seconds=4) as sender:
        result = wsshm("run", sender.url, "--model", slow, "-o", "out.mp4", "--json")
    assert result.returncode == 0, result.stderr
    summary = json.loads(result.stdout)
    assert summary["dropped"] > 5, summary
    assert summary["frames"] + summary["dropped"] <= sender.sent
    times = probe(tmp_path / "out.mp4").times
    assert len(times) == summary["frames"]
    assert times == sorted(set(times))
    # One waits while one is taken: a queue of any length would show in the median.
    each = 1000 * summary["seconds"] / summary["frames"]
    assert summary["latency_ms"][0] < 4 * each, summary


def test_what_takes_long_here_is_no_silence(clip: Path) -> None:
    """The first image is there long before the network is loaded."""
    with Sender(clip, "close", seconds=4) as sender:
        stream = parse_input(sender.url)
        assert isinstance(stream, Stream)
        with open_source(stream, Clip()) as source:
            time.sleep(SILENCE_SECONDS + 0.5)
            frames = sum(isinstance(item, Frame) for item in source.items())
            assert source.fault is None
    assert frames > 0.9 * sender.sent


@pytest.mark.parametrize(
    "signum", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.long)]
)
def test_a_signal_while_it_is_silent(signum: int, clip: Path, ones: Path, tmp_path: Path) -> None:
    with Sender(clip, "stall", seconds=2.5) as sender:
        args = ["run", sender.url, "--model", ones, "-o", "out.mp4", "--json"]
        with Running(args, tmp_path) as run:
            wait_for(tmp_path / "out.part.mp4", run)
            while not sender.failed_at:
                time.sleep(0.01)
            os.kill(run.process.pid, signum)
            ended = run.finish()
    assert ended.returncode == 128 + signum, ended.stderr
    assert ended.summary is not None
    assert decode(tmp_path / "out.mp4").frames == ended.summary["frames"] > 0
    assert not parts(tmp_path)


def test_a_signal_before_it_begins(ones: Path, tmp_path: Path) -> None:
    """A server that never sends: the process just ends, and nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        with Running(["run", url, "--model", ones, "-o", "out.mp4"], tmp_path) as run:
            connection, _ = server.accept()
            with connection:
                time.sleep(0.2)
                os.kill(run.process.pid, signal.SIGTERM)
                ended = run.finish()
    assert ended.returncode in (-signal.SIGTERM, 143)
    assert "Traceback" not in ended.stderr
    assert not list(tmp_path.iterdir())


def test_nobody_is_there(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """Refused at once, or silent: 66, one line, nothing left; the password stays out of it."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        silent = wsshm("run", f"tcp://me:secret@127.0.0.1:{port}", "--model", ones)
    assert silent.returncode == 66, silent.stderr
    assert "secret" not in one_error_line(silent, "nothing came", "reachable")
    refused = wsshm("run", f"tcp://127.0.0.1:{port}", "--model", ones)
    assert refused.returncode == 66, refused.stderr
    one_error_line(refused, f"tcp://127.0.0.1:{port}", "refused")
    assert not list(tmp_path.iterdir())


def test_udp(clip: Path, ones: Path, tmp_path: Path) -> None:
    """Datagrams to a port nobody has to connect to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    over = threading.Event()

    def send() -> None:
        with Sender(clip, "close", seconds=8) as sender:
            out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            with socket.create_connection(("127.0.0.1", sender.port)) as received, out:
                while not over.is_set() and (data := received.recv(1316)):
                    out.sendto(data, ("127.0.0.1", port))

    thread = threading.Thread(target=send)
    args = ["run", f"udp://127.0.0.1:{port}", "--model", ones, "-o", "out.mp4", "--duration", "1"]
    try:
        with Running([*args, "--json"], tmp_path) as run:
            thread.start()
            ended = run.finish()
    finally:
        over.set()
        thread.join()
    assert ended.returncode == 0, ended.stderr
    assert ended.summary is not None
    assert 0 < ended.summary["frames"] <= 30
    assert probe(tmp_path / "out.mp4").times[-1] < 1


# Standard input


@pytest.mark.parametrize("suffix", [".ts", ".mkv"])
def test_a_pipe_waits_for_its_reader(suffix: str, ones: Path, tmp_path: Path) -> None:
    """Whoever writes into a pipe waits: no frame is dropped, however slow the network is."""
    clip = moving_clip(tmp_path / f"in{suffix}", 60)
    line = f"cat {clip} | {' '.join(command('run', '-', '--model', ones, '--json'))}"
    result = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["dropped"] is None
    assert decode(tmp_path / "stdin_wsshm.mp4").frames == 60


def test_a_file_as_standard_input_can_be_wound_back(ones: Path, tmp_path: Path) -> None:
    """An mp4 has its index at its end."""
    clip = moving_clip(tmp_path / "in.mp4", 60)
    with clip.open("rb") as file:
        result = subprocess.run(
            command("run", "-", "--model", ones),
            cwd=tmp_path,
            stdin=file,
            capture_output=True,
            text=True,
            timeout=50,
        )
    assert result.returncode == 0, result.stderr
    assert decode(tmp_path / "stdin_wsshm.mp4").frames == 60


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_a_pipe_is_silent(signum: int, ones: Path, tmp_path: Path) -> None:
    data = moving_clip(tmp_path / "in.ts", 90).read_bytes()
    process = subprocess.Popen(
        command("run", "-", "--model", ones, "-o", "out.mp4", "--json"),
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()
    part = tmp_path / "out.part.mp4"
    while not part.exists() or not part.stat().st_size:
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(0.5)
    os.kill(process.pid, signum)
    stopped = process.wait(20)  # while its standard input is still open
    stdout, stderr = process.communicate()
    assert stopped == 128 + signum, stderr
    assert decode(tmp_path / "out.mp4").frames == json.loads(stdout)["frames"] > 0


def test_a_full_disk_while_a_pipe_is_open(ones: Path, tmp_path: Path) -> None:
    """What is wrong with the output ends the wait for the input."""
    data = moving_clip(tmp_path / "in.ts", 150, 320, 240).read_bytes()
    with disk(tmp_path / "disk", 60) as small:
        process = subprocess.Popen(
            command("run", "-", "--model", ones, "-o", small / "out.mkv"),
            cwd=tmp_path,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.write(data)
            process.stdin.flush()
        ended = process.wait(30)  # while its standard input is still open
        _, stderr = process.communicate()
    assert ended == 74, stderr
    assert b"free some space" in stderr


def test_junk_in_a_pipe(ones: Path, tmp_path: Path) -> None:
    # The same bytes in every run: FFmpeg takes a few random ones for a frame of H.261 or H.263.
    junk = tmp_path.with_suffix(".junk")
    junk.write_bytes(np.random.default_rng(0).bytes(200_000))
    line = f"cat {junk} | {' '.join(command('run', '-', '--model', ones))}"
    result = subprocess.run(
        ["bash", "-c", line], cwd=tmp_path, capture_output=True, text=True, timeout=50
    )
    assert result.returncode == 65, result.stderr
    one_error_line(result, "-:", "not a readable video")
    assert not list(tmp_path.iterdir())


# A file by http


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """The address of a folder ``web``."""
    (tmp_path / "web").mkdir()
    handler = functools.partial(_Quiet, directory=str(tmp_path / "web"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_file_by_http_is_no_live_source(
    web: str, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """It says how long it is: every frame is taken, none has to be in time."""
    moving_clip(tmp_path / "web/clip.mp4", 60, muxing={"movflags": "faststart"})
    result = wsshm("run", f"{web}/clip.mp4", "--model", ones, "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["dropped"] is None
    assert decode(tmp_path / "clip_wsshm.mp4").frames == 60
    missing = wsshm("run", f"{web}/none.mp4", "--model", ones)
    assert missing.returncode == 66, missing.stderr
    one_error_line(missing, f"{web}/none.mp4", "404")
