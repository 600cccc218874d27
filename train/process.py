"""The processes of a run: one alone, or several that ``torchrun`` started; signals and devices."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist

from engines.errors import Unavailable, UsageError


@dataclass(frozen=True)
class World:
    """One process among its like, and the device it works on."""

    rank: int
    size: int
    device: torch.device

    @property
    def first(self) -> bool:
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Whether the flag is set in any process; a point at which all of them meet."""
        if self.size == 1:
            return flag
        shared = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return bool(shared.item())


@contextmanager
def joined(device: str) -> Iterator[World]:
    """The `World` that torchrun's environment describes; a single process without one.

    Args:
        device: ``auto``, ``cpu``, or ``cuda``, which under torchrun is the process's own.

    Raises:
        Unavailable: a CUDA device is asked for and there is none.
        UsageError: no such device.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: no such device; use auto, cpu or cuda[:N]")
    if device[:5] == "cuda:" and size > 1:
        raise UsageError(f"--device {device}: torchrun gives every process its own; use cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if chosen.index >= torch.cuda.device_count():
            raise Unavailable(
                f"--device {device}: torch finds {torch.cuda.device_count()} CUDA devices; "
                "use cpu or auto"
            )
        torch.cuda.set_device(chosen)
    if size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(rank, size, chosen)
    finally:
        if size > 1:
            dist.destroy_process_group()


@contextmanager
def signals() -> Iterator[list[int]]:
    """SIGINT and SIGTERM are collected in the list; a second one ends the process at once."""
    caught: list[int] = []

    def handle(signum: int, _: Any) -> None:
        if caught:
            os._exit(128 + signum)
        caught.append(signum)

    before = {s: signal.signal(s, handle) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
