"""Measure training speed and the cost of loading: ``python benchmarks/training.py --data DIR``.

The same network takes the same steps on batches from the loader and on one batch in memory, in
turn; printed are medians over the rounds. The loading process shares the machine's cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader

from train import config as configs
from train.data.samples import Batches, Samples, quiet_worker
from train.methods import METHODS
from train.methods.method import Batch
from train.networks import build
from train.objective import step_losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--arch", nargs="+", default=["r18x0.5", "r18"])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=6, help="in each round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1)
    args = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    stage = {"steps": 10_000, "batch": args.batch, "sizes": [args.size]}
    config = configs.load("paper", "pretrain", stages=[stage])
    samples = Samples(args.data, config)
    cv2.setNumThreads(1)
    loader = iter(
        DataLoader(
            samples,
            batch_sampler=Batches(config),
            num_workers=args.workers,
            worker_init_fn=quiet_worker,
            pin_memory=device.type == "cuda",
            prefetch_factor=4,
            multiprocessing_context="fork",
        )
    )
    print(
        f"{device}, torch {torch.__version__}, {torch.get_num_threads()} threads, bf16, "
        f"batch {args.batch} at {args.size}x{args.size}, {args.workers} workers"
    )
    for arch in args.arch:
        net = build(arch).to(device, memory_format=torch.channels_last).train()
        optimiser = torch.optim.AdamW(net.parameters(), 1e-4)
        decay = get_ema_multi_avg_fn(0.999)
        average = AveragedModel(net, multi_avg_fn=decay, use_buffers=True)

        def timed(
            batches: Iterable[Any],
            net: Any = net,
            optimiser: Any = optimiser,
            average: Any = average,
        ) -> float:
            begun = time.monotonic()
            for items in batches:
                batch = Batch.of(items, device)
                with torch.autocast(device.type, torch.bfloat16):
                    losses = step_losses(net, net, METHODS["supervised"], None, batch, config)
                optimiser.zero_grad(set_to_none=True)
                losses["total"].backward()
                torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0).item()
                optimiser.step()
                average.update_parameters(net)
            return args.batch * args.steps / (time.monotonic() - begun)

        cached = [next(loader)] * args.steps
        timed(cached[:2])  # the first steps choose kernels
        loaded, alone = [], []
        for _ in range(args.rounds):
            # As many batches again are drawn first, so that none is ready that was made for free.
            list(islice(loader, 4 * args.workers + 1))
            loaded.append(timed(islice(loader, args.steps)))
            alone.append(timed(cached))
        a, b = statistics.median(loaded), statistics.median(alone)
        print(f"{arch:9} {a:6.1f} img/s from the loader, {b:6.1f} on one batch, ratio {a / b:.2f}")


if __name__ == "__main__":
    main()
