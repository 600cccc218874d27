"""The processes of a run, one or several that ``torchrun`` started; their devices and signals."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from engines.errors import ENDING_SIGNALS, Unavailable, UsageError, memory_error


@dataclass(frozen=True)
class World:
    """One of the processes of a run, and its device."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that prints and writes files."""
        return self.rank == 0

    def any(self, flag: bool) -> bool:
        """Return the logical OR of the flags of all processes; a barrier."""
        if self.size == 1:
            return flag
        shared = torch.tensor(int(flag), device=self.device)
        dist.all_reduce(shared, dist.ReduceOp.MAX)
        return bool(shared.item())

    def of_main(self, value: float) -> float:
        """Return the main process's value in all processes; a barrier."""
        if self.size == 1:
            return value
        shared = torch.tensor(value, dtype=torch.float64, device=self.device)
        dist.broadcast(shared, 0)
        return float(shared.item())


@contextmanager
def joined(device: str) -> Iterator[World]:
    """Enter the `World` that torchrun's environment describes, or that of a single process.

    Args:
        device: ``auto``, ``cpu``, ``cuda:N``, or ``cuda``, which under torchrun is the GPU assigned
            to the process.

    Raises:
        Unavailable: a CUDA device is requested and missing.
        UsageError: there is no such device.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", device):
        raise UsageError(f"--device {device}: no such device", "use auto, cpu or cuda[:N]")
    if device[:5] == "cuda:" and size > 1:
        raise UsageError(f"--device {device}: torchrun gives every process its own", "use cuda")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    chosen = torch.device(device)
    if chosen.type == "cuda":
        if chosen.index >= torch.cuda.device_count():
            raise Unavailable(
                f"--device {device}: torch finds {torch.cuda.device_count()} CUDA devices",
                "use cpu or auto",
            )
        torch.cuda.set_device(chosen)
    if size > 1:
        dist.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    try:
        yield World(rank, size, chosen)
    finally:
        if size > 1:
            dist.destroy_process_group()


def choose_precision(wanted: str, device: torch.device) -> torch.dtype:
    """Return the type a step is computed in; ``auto`` is bf16 where the device computes in it."""
    if wanted == "auto":
        native = getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
        if device.type == "cuda":
            wanted = "bf16" if torch.cuda.is_bf16_supported(False) else "fp16"
        else:
            wanted = "bf16" if native() else "fp32"
    return {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[wanted]


@contextmanager
def memory_faults(images: Tensor, out: Path) -> Iterator[None]:
    """Turn errors of too little memory for a step on a batch of images into ours.

    Args:
        images: (N, 3, S, S), this process's share of the batch.
        out: the run's folder.

    Raises:
        Unavailable: the memory of the processor or of the GPU does not hold what the step needs.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as e:
        if not (isinstance(e, torch.OutOfMemoryError) or memory_error(e)):
            raise
        count, side = len(images), images.shape[-1]
        raise Unavailable(
            f"{out}: not enough memory for a batch of {count} crops of {side} pixels",
            "lower batch or sizes in the stages of a --recipe; checkpoints stay, for --init",
        ) from e


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect signals that end a run in the list; a second one ends the process at once.

    Ignored ones stay ignored, as SIGHUP under nohup.
    """
    caught: list[int] = []

    def handle(signum: int, _: Any) -> None:
        if caught:
            os._exit(128 + signum)
        caught.append(signum)

    before = {s: h for s in ENDING_SIGNALS if (h := signal.getsignal(s)) is not signal.SIG_IGN}
    for signum in before:
        signal.signal(signum, handle)
    try:
        yield caught
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
