"""Gradients of one mixed batch, by one process or by all that torchrun started.

``torchrun -m tests.train.gradients DATA OUT``: the first process writes ``OUT/<kind>.pt``.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import default_collate

from train.checkpoint import checkpoint
from train.config import LOSSES, Config, Stage
from train.data.samples import Batches, Samples
from train.methods import find
from train.methods.method import Batch
from train.networks import build
from train.objective import step_losses
from train.process import World, joined
from train.trainer import distribute

KINDS = ("pretrain", "student")


def config(kind: str) -> Config:
    """Return a config of one step, with every kind of sample and every loss."""
    losses = [name for name in LOSSES if name != "context" or kind == "student"]
    return Config(
        kind,
        "r18x0.25",
        (Stage(1, 8, (64,)),),
        dict.fromkeys(losses, 1.0),
        lr=1e-3,
        method="mlb" if kind == "student" else "supervised",
        composites=0.4,
        empty=0.2,
        mask_edge=0.25,
        seed=17,
    )


def share(kind: str, data: Path, rank: int = 0, processes: int = 1) -> dict[str, Any]:
    """Return the part of the batch that one process gets."""
    samples = Samples(data, config(kind))
    (keys,) = Batches(config(kind), rank=rank, processes=processes)
    batch: dict[str, Any] = default_collate([samples[key] for key in keys])
    return batch


def gradients(kind: str, data: Path, world: World) -> dict[str, Tensor]:
    """Return gradients by parameter after one backward pass with frozen batch norm."""
    torch.manual_seed(0)
    net, teacher = (build(config(kind).arch) for _ in range(2))
    model = distribute(net, config(kind), world)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    teacher.eval().requires_grad_(False)
    batch = share(kind, data, world.rank, world.size)
    method = find(config(kind).method)
    inputs = Batch.of(batch, world.device)
    losses = step_losses(
        model, net, method, teacher if method.needs_teacher else None, inputs, config(kind)
    )
    losses["total"].backward()
    return {name: p.grad for name, p in net.named_parameters()}


if __name__ == "__main__":
    data, out = map(Path, sys.argv[1:])
    with joined("cpu") as world:
        for kind in KINDS:
            found = gradients(kind, data, world)
            if world.is_main:
                checkpoint.save(out / f"{kind}.pt", found)
