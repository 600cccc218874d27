"""What is known of a cluster without Ray: its room, its address, and files that show up late."""

from __future__ import annotations

import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from engines.batch import cluster
from engines.batch.cluster import (
    check,
    described,
    if_seen,
    needs_of,
    room,
    temporary_folder,
    unconnected,
)
from engines.batch.work import Ended, Result, Work
from engines.errors import Unavailable, UsageError
from engines.machine import cores
from engines.video.config import RunConfig


def machine(cpus: float, gpus: float = 0) -> dict[str, Any]:
    has = {"CPU": cpus, "GPU": gpus}
    return {"NodeID": f"{cpus}-{gpus}", "Resources": {k: v for k, v in has.items() if v}}


@pytest.mark.parametrize(
    ("device", "jobs", "machines", "cpus", "gpus"),
    [
        ("auto", None, [machine(16), machine(8)], 2, 0),
        ("auto", None, [machine(16), machine(1)], 1, 0),
        ("auto", None, [machine(0), machine(16)], 2, 0),  # the first one only directs
        ("auto", None, [machine(0)], 2, 0),  # others are started when they are asked for
        ("auto", None, [machine(16, 1), machine(64)], 4, 0.25),
        ("cuda", None, [machine(192, 8), machine(8, 1)], 2, 0.25),
        ("cuda", None, [machine(2, 1)], 1, 0.25),
        ("cpu", None, [machine(16, 1)], 2, 0),
        ("auto", cores(), [machine(cores())], 1, 0),
        ("auto", 1, [machine(cores())], min(2, cores()), 0),
    ],
)
def test_what_a_work_takes(
    device: str, jobs: int | None, machines: list[Any], cpus: float, gpus: float
) -> None:
    assert needs_of(device, jobs, machines) == {"num_cpus": cpus, "num_gpus": gpus}


def test_a_gpu_that_nobody_has() -> None:
    with pytest.raises(Unavailable, match="no machine of the cluster has a GPU"):
        needs_of("cuda", None, [machine(16)])


def test_room() -> None:
    machines = [machine(16, 1), machine(64), machine(1), machine(0)]
    assert room(needs_of("cpu", None, machines[:2]), machines) == 8 + 32
    assert room(needs_of("auto", None, machines), machines) == 4


def test_the_line_about_a_cluster() -> None:
    machines = [machine(16, 1), machine(64), machine(1)]
    assert described("a:1", needs_of("auto", None, machines), machines) == (
        "cluster a:1: 3 machines (2 of them too small) with 81 cores and 1 GPU; "
        "a work gets 4 and 1/4 of a GPU"
    )
    assert described("a:1", needs_of("cpu", None, [machine(1)]), [machine(1)]) == (
        "cluster a:1: 1 machine with 1 core; a work gets 1"
    )


@pytest.mark.parametrize("address", ["", "host", "host:", "ray://host:10001", ":6379", "h:x"])
def test_no_address(address: str) -> None:
    with pytest.raises(UsageError, match="write local, auto or HOST:PORT"):
        check(address, "auto")


def test_one_of_several_gpus() -> None:
    """Which one, Ray says."""
    with pytest.raises(UsageError, match="--device cuda:1: Ray chooses the GPU"):
        check("local", "cuda:1")


def test_an_address_where_nobody_listens() -> None:
    """Refused at once; of a machine that does not exist, within the limit."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        port = taken.getsockname()[1]
        with pytest.raises(Unavailable, match=rf"127\.0\.0\.1:{port}: cannot be reached \(Conn"):
            check(f"127.0.0.1:{port}", "auto")
    with pytest.raises(Unavailable, match=r"nowhere\.invalid:6379: cannot be reached"):
        check("nowhere.invalid:6379", "auto")


def test_why_ray_did_not_connect() -> None:
    text = "Version mismatch: The cluster was started with:\n  Ray: 1\n  Python: 3"
    assert str(unconnected("a:1", RuntimeError(text))) == (
        "--cluster a:1: Version mismatch: The cluster was started with: Ray: 1 Python: 3; "
        "install the same Ray and Python everywhere"
    )
    assert str(unconnected("a:1", ConnectionError())).startswith("--cluster a:1: ConnectionError;")


def test_a_file_that_shows_up_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a shared folder; one that never does is an error that names it and the machine."""
    output = tmp_path / "a.mp4"
    ended = Ended(
        Work(RunConfig(Path("in.mp4")), (output,)), Result(summary={"outputs": [str(output)]})
    )
    late = threading.Timer(0.1, output.touch)
    late.start()
    assert if_seen(ended, "m") is ended
    late.join()
    output.unlink()
    monkeypatch.setattr(cluster, "SEEN_SECONDS", 0.1)
    began = time.monotonic()
    result = if_seen(ended, "m").result
    assert time.monotonic() - began < 1
    assert (result.exit_code, result.ends_batch) == (74, True)
    assert result.error.startswith(f"{output}: m has written it, and this machine does not see it")


def test_folders_that_killed_commands_have_left(tmp_path: Path) -> None:
    """They are removed; one that is in use stays, and its own one goes in the end."""
    with temporary_folder(tmp_path) as used:
        (tmp_path / "wsshm_ray_left" / "session").mkdir(parents=True)
        (tmp_path / "other").mkdir()
        with temporary_folder(tmp_path) as own:
            (own / "session").mkdir()
            assert {*tmp_path.iterdir()} == {used, own, tmp_path / "other"}
    assert {*tmp_path.iterdir()} == {tmp_path / "other"}
