"""What one batch is to be learnt as, and at what cost: the method in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from train.config import Config
from train.losses import edge_weight, matting_losses
from train.methods import mlb


@dataclass(frozen=True)
class Targets:
    """What a batch of N crops is to be learnt as; float in [0, 1] unless it says otherwise."""

    label: Tensor  # (N, 1, S, S): alpha, mask, or what is blended of a mask and the teacher's matte
    boundary: Tensor  # (N, 1, S, S)
    fine: Tensor  # (N,) bool: False where `label` is a coarse mask
    teacher: Tensor | None = None  # (N, 1, S, S): the teacher's matte
    context: Tensor | None = None  # (N, C, s, s), any value: the teacher's features


def step_losses(
    model: nn.Module,
    teacher: nn.Module | None,
    batch: dict[str, Any],
    config: Config,
    device: torch.device,
) -> dict[str, Tensor]:
    """Losses of one batch of `Samples`; with a teacher, coarse labels are blended first."""
    wanted = targets(teacher, batch, config, device)
    matte, edges, context = model(unit(batch["image"], device))
    with torch.autocast(device.type, enabled=False):  # losses are computed in float32
        return matting_losses(
            matte.float(),
            edges.float(),
            wanted.label,
            wanted.boundary,
            wanted.fine,
            config.loss,
            config.mask_edge,
            context.float(),
            wanted.context,
        )


def targets(
    teacher: nn.Module | None, batch: dict[str, Any], config: Config, device: torch.device
) -> Targets:
    """What a batch is to be learnt as; a teacher sees it without strong augmentation."""
    label = batch["label"].to(device, non_blocking=True).float() / 255
    fine = batch["fine"].to(device, non_blocking=True)
    boundary = mlb.boundary_label(label)
    if teacher is None:
        return Targets(label, boundary, fine)
    with torch.no_grad():
        matte, edges, context = teacher(unit(batch["weak"], device))
        matte, edges, context = matte.float().sigmoid(), edges.float().sigmoid(), context.float()
    trust = edges if config.labels == "blended" else torch.ones_like(edges)
    trust = torch.maximum(trust, 1 - edge_weight(label, config.mask_edge))
    blended = mlb.blend(label, matte, trust)
    own = fine.view(-1, 1, 1, 1)  # composites know better than the teacher
    return Targets(
        torch.where(own, label, blended),
        torch.where(own, boundary, edges),
        torch.ones_like(fine),
        matte,
        context,
    )


def unit(image: Tensor, device: torch.device) -> Tensor:
    """(N, 3, S, S) uint8 to float in [0, 1] on the device."""
    moved = image.to(device, non_blocking=True)
    return moved.contiguous(memory_format=torch.channels_last).float() / 255
