"""What a cluster has room for, whether it is there, and what is made of its losses; without Ray."""

from __future__ import annotations

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.batch.node import SEEN_BY_ALL
from engines.batch.work import Ended, Result, Work
from engines.errors import Unavailable, UsageError, WriteFailed
from engines.files import LockedFolder
from engines.machine import cores
from engines.video.pipeline import TICK

LOCAL, AUTO = "local", "auto"
CORES = 2  # that one work gets: a clip keeps two busy
WORKS_ON_GPU = 4  # that share one
REACH_SECONDS = 5.0
SEEN_SECONDS = 60.0  # until a new file is seen: so long NFS may remember that there was none

Machine = Mapping[str, Any]  # an element of `ray.nodes()`
Needs = dict[str, float]  # options of a Ray actor


def fits(node: Machine, needs: Needs) -> bool:
    """Return whether a machine has what a work needs."""
    has = node["Resources"]
    return has.get("CPU", 0) >= needs["num_cpus"] and has.get("GPU", 0) >= needs["num_gpus"]


def room(needs: Needs, machines: Sequence[Machine]) -> int:
    """Return how many works machines have room for, apart from what others do there."""
    return sum(
        int(m["Resources"].get("CPU", 0) // needs["num_cpus"]) for m in machines if fits(m, needs)
    )


def needs_of(device: str, jobs: int | None, machines: Sequence[Machine]) -> Needs:
    """Return what one work takes of a machine, in Ray's words.

    Args:
        device: as the user asked for it. Where there are GPUs, all but ``cpu`` share them.
        jobs: works at once that share the cores of this machine; None if that is not given.

    Raises:
        Unavailable: a GPU is asked for, and no machine has one.
    """
    has = [m["Resources"] for m in machines]
    with_gpu = [r for r in has if r.get("GPU", 0) >= 1]
    if device != "cpu" and with_gpu:
        share = min(r.get("CPU", 0) / r["GPU"] for r in with_gpu) // WORKS_ON_GPU
        return {"num_cpus": max(1, share), "num_gpus": 1 / WORKS_ON_GPU}
    if device == "cuda":
        raise Unavailable("--device cuda: no machine of the cluster has a GPU", "try --device cpu")
    if jobs is not None:
        return {"num_cpus": max(1, min(CORES, cores() // jobs)), "num_gpus": 0}
    counts = [r["CPU"] for r in has if r.get("CPU", 0) >= 1]
    return {"num_cpus": min([CORES, *counts]), "num_gpus": 0}


def described(address: str, needs: Needs, nodes: Sequence[Machine]) -> str:
    """Return a line about a cluster and the share of it that one work takes."""
    fitting = [n for n in nodes if fits(n, needs)]
    total = {what: sum(n["Resources"].get(what, 0) for n in nodes) for what in ("CPU", "GPU")}
    machines = f"{len(nodes)} machine{'s' * (len(nodes) != 1)}"
    cpus = f"{total['CPU']:g} core{'s' * (total['CPU'] != 1)}"
    left_out = (
        f" ({len(nodes) - len(fitting)} of them too small)" if len(nodes) > len(fitting) else ""
    )
    gpus = f" and {total['GPU']:g} GPU{'s' * (total['GPU'] != 1)}" if total["GPU"] else ""
    share = f" and 1/{WORKS_ON_GPU} of a GPU" if needs["num_gpus"] else ""
    return (
        f"cluster {address}: {machines}{left_out} with {cpus}{gpus}; "
        f"a work gets {needs['num_cpus']:g}{share}"
    )


def check(address: str, device: str) -> None:
    """Check that somebody listens at an address: Ray itself would try for a minute and talk.

    Args:
        address: ``local``, ``auto`` or HOST:PORT.
        device: that is asked for.

    Raises:
        UsageError: it is none of those, or the device is one of several GPUs.
        Unavailable: nobody listens.
    """
    if device.startswith("cuda:"):
        raise UsageError(f"--device {device}: Ray chooses the GPU", "write --device cuda")
    if address in (LOCAL, AUTO):
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit() or "/" in address:
        raise UsageError(
            f"--cluster {address}: is no address of a Ray cluster",
            "write local, auto or HOST:PORT, and run wsshm on a machine of the cluster",
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), REACH_SECONDS).close()
    except OSError as e:
        raise Unavailable(
            f"--cluster {address}: cannot be reached ({e.strerror or e})",
            "is it running? on its first machine: ray start --head",
        ) from e


def unconnected(address: str, error: Exception) -> Unavailable:
    """Return the error to show for why Ray could not connect."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = " ".join(lines) if len(lines) < 5 else lines[0]
    if "ersion mismatch" in text:
        return Unavailable(
            f"--cluster {address}: {text}", "install the same Ray and Python everywhere"
        )
    return Unavailable(
        f"--cluster {address}: {text or type(error).__name__}",
        "run wsshm on a machine of the cluster",
    )


@contextmanager
def temporary_folder(base: Path) -> Iterator[Path]:
    """Make a folder for a Ray of our own, and remove those that killed commands have left."""
    if os.name == "posix":  # where a folder can be locked
        for left in base.glob("wsshm_ray*"):
            with suppress(OSError):  # it is in use, or another user's
                lock = LockedFolder(left)
                shutil.rmtree(left, ignore_errors=True)
                lock.release()
    folder = Path(tempfile.mkdtemp(prefix="wsshm_ray", dir=base))
    lock = LockedFolder(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        lock.release()


def lost_too_often(work: Work, attempts: int, how: str) -> Result:
    """Return the result of a work whose processes were lost, at last in the way that is told."""
    return Result(
        Unavailable.exit_code,
        f"{work.name}: begun {attempts} times, at last {how}; "
        "is there enough memory? try a smaller --size",
    )


def if_seen(ended: Ended, machine: str) -> Ended:
    """Return how a work ended on a machine: badly if its outputs are not to be seen from here."""
    for name in (ended.result.summary or {}).get("outputs", []):
        until = time.monotonic() + SEEN_SECONDS
        while not os.path.exists(name):
            if time.monotonic() > until:
                what = f"{name}: {machine} has written it, and this machine does not see it"
                error = WriteFailed(what, SEEN_BY_ALL)
                code = error.exit_code
                result = replace(ended.result, exit_code=code, error=str(error), ends_batch=True)
                return replace(ended, result=result)
            with suppress(OSError):  # NFS looks again at a folder that is listed
                os.listdir(os.path.dirname(name) or ".")
            time.sleep(TICK)
    return ended
