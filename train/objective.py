"""What one batch is to be learnt as, and at what cost: the method in one place."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from train import mlb
from train.config import Config
from train.losses import matting_losses


def step_losses(
    model: nn.Module,
    teacher: nn.Module | None,
    batch: dict[str, Any],
    config: Config,
    device: torch.device,
) -> dict[str, Tensor]:
    """Losses of one batch of `Samples`; with a teacher, coarse labels are blended first."""
    label, boundary, fine = targets(teacher, batch, config, device)
    matte, edges = model(unit(batch["image"], device))
    with torch.autocast(device.type, enabled=False):  # losses are computed in float32
        return matting_losses(
            matte.float(), edges.float(), label, boundary, fine, config.loss, config.mask_edge
        )


def targets(
    teacher: nn.Module | None, batch: dict[str, Any], config: Config, device: torch.device
) -> tuple[Tensor, Tensor, Tensor]:
    """What a batch is to be learnt as: label, boundary label (N, 1, S, S), and fine (N,) bool."""
    label = batch["label"].to(device, non_blocking=True).float() / 255
    fine = batch["fine"].to(device, non_blocking=True)
    boundary = mlb.boundary_label(label)
    if teacher is None:
        return label, boundary, fine
    with torch.no_grad():
        matte, edges = (x.float().sigmoid() for x in teacher(unit(batch["weak"], device)))
    trust = edges if config.labels == "blended" else torch.ones_like(edges)
    blended = mlb.blend(label, matte, trust)
    own = fine.view(-1, 1, 1, 1)  # composites know better than the teacher
    return (
        torch.where(own, label, blended),
        torch.where(own, boundary, edges),
        torch.ones_like(fine),
    )


def unit(image: Tensor, device: torch.device) -> Tensor:
    """(N, 3, S, S) uint8 to float in [0, 1] on the device."""
    moved = image.to(device, non_blocking=True)
    return moved.contiguous(memory_format=torch.channels_last).float() / 255
