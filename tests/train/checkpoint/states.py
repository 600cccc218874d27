"""A small state of a run, and assertions about states and folders."""

from __future__ import annotations

import random
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch


def small_state(step: int = 1) -> dict[str, Any]:
    """Return what a trainer saves, for a network of one layer."""
    net = torch.nn.Sequential(
        OrderedDict(conv=torch.nn.Conv2d(3, 4, 3), bn=torch.nn.BatchNorm2d(4))
    )
    net.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(net)
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    return {
        "arch": "r18x0.25",
        "step": step,
        "net": net.state_dict(),
        "ema": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "random": random.getstate(),
    }


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def only(folder: Path, *names: str) -> None:
    """Assert that these files are in `folder` and no other."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)
