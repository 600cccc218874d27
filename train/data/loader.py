"""Load batches in worker processes, and name what goes wrong in them."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from engines.errors import Unavailable, WsshmError
from train.config import Config
from train.data.samples import Batches, Samples, quiet_worker
from train.process import World


def batch_loader(
    samples: Samples, config: Config, start: int, workers: int | None, world: World
) -> DataLoader:
    """Return this process's share of the batches from step `start` to the end of the run.

    Args:
        workers: number of loading processes; None chooses by the machine.
    """
    count = _workers(workers, world)
    return DataLoader(
        samples,
        batch_sampler=Batches(config, start, world.rank, world.size),
        num_workers=count,
        worker_init_fn=quiet_worker,
        pin_memory=world.device.type == "cuda",
        prefetch_factor=4 if count else None,
        multiprocessing_context="fork" if count else None,  # the images are not copied
        generator=torch.Generator(),  # or starting it would advance the state of torch's own
    )


def _workers(wanted: int | None, world: World) -> int:
    if sys.platform != "linux":  # torch is not safe to fork there
        return 0
    if wanted is not None:
        return wanted
    cores = os.cpu_count() or 1
    if world.device.type == "cpu":  # the network needs the cores
        return max(1, cores // 8)
    return max(1, min(16, cores // world.size - 1))


@contextmanager
def loading_faults(out: Path) -> Iterator[None]:
    """Turn errors of loading processes into ours.

    Raises:
        Unavailable: a loading process died.
        WsshmError: as raised in a loading process, without the traceback the loader adds.
    """
    try:
        yield
    except WsshmError as e:
        if "Traceback" not in str(e):
            raise
        raise type(e)(str(e).strip().splitlines()[-1].split(": ", 1)[-1]) from e
    except (RuntimeError, EOFError, OSError) as e:
        # A process that dies while it hands a batch over breaks the connection instead.
        modules = {Path(f.filename).parent.name for f in traceback.extract_tb(e.__traceback__)}
        if "DataLoader worker" not in str(e) and "multiprocessing" not in modules:
            raise
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or torch raises again, anywhere
        why = (str(e).splitlines() or [repr(e)])[0]
        raise Unavailable(
            f"a loading process died ({why}); memory may have run out",
            f"free some or use fewer --workers, then --resume goes on from {out}",
        ) from e
