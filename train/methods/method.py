"""The interface of training methods: a `Method` makes `Targets` of a `Batch`.

A method is one file of this package and one row of the table in ``__init__.py``. The loop, the data
and the log use what is declared here and know nothing else about it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from train.config import Config
from train.networks.network import Prediction, Targets

Teacher = Callable[[Tensor], Prediction]


class Batch(NamedTuple):
    """N crops of S×S pixels on the device.

    Attributes:
        image: (N, 3, S, S) float RGB in [0, 1], the network's input, with strong augmentation.
        label: (N, 1, S, S) float in [0, 1], an alpha or a coarse mask.
        has_alpha: (N,) bool, whether `label` is an alpha.
        weak: (N, 3, S, S) float RGB in [0, 1], the same crops without strong augmentation, or None
            if the method does not need them.
        weight: (N, 1, S, S) float in [0, 1], what each pixel of `label` may teach, or None if all
            may teach everything.
        masks: (N, 2, S / 4, S / 4) float in [0, 1], the label and its spoilt twin, which the
            network sees too, or None if the method does not need them.
        contrast: (N, 1, S, S) float in [0, 1], the mean difference of a composite's foreground and
            background in R, G and B, or None if the method does not need it.
        trimap: (N, 1, S, S) float in [0, 1]: 0 is background, 1 person, what is between unknown; or
            None if the network takes none.
    """

    image: Tensor
    label: Tensor
    has_alpha: Tensor
    weak: Tensor | None = None
    weight: Tensor | None = None
    masks: Tensor | None = None
    contrast: Tensor | None = None

    trimap: Tensor | None = None

    @property
    def seen(self) -> tuple[Tensor, ...]:
        """What the network sees; a trimap is the image's fourth channel."""
        image = self.image if self.trimap is None else torch.cat([self.image, self.trimap], 1)
        return (image,) if self.masks is None else (image, self.masks)

    @classmethod
    def of(cls, samples: dict[str, Any], device: torch.device) -> Batch:
        """Move collated items of `train.data.samples.Samples` to the device."""

        def given(name: str) -> Tensor | None:
            return _unit(samples[name], device) if name in samples else None

        return cls(
            _colour(samples["image"], device),
            _unit(samples["label"], device),
            samples["has_alpha"].to(device, non_blocking=True),
            _colour(samples["weak"], device) if "weak" in samples else None,
            given("weight"),
            given("masks"),
            given("contrast"),
            given("trimap"),
        )


@dataclass(frozen=True)
class Method:
    """A training method.

    Attributes:
        targets: returns what a batch is learnt as, given the batch, the teacher if there is one,
            and the run's config.
        needs_teacher: the run must have a teacher.
        needs_weak_view: the data must provide `Batch.weak`.
        uses_masks: it learns from the masks of photographs, and from the fine labels beside them.
        teacher_follows: a teacher of the student's architecture becomes a moving average of the
            student's weights, at the decay ``teacher_ema``.
        hides_traces: composites are made as `train.data.traces` says.
        spoils_masks: the data must provide `Batch.masks`.
        needs_contrast: the data must provide `Batch.contrast`.
    """

    targets: Callable[[Batch, Teacher | None, Config], Targets]
    needs_teacher: bool = False
    needs_weak_view: bool = False
    uses_masks: bool = True
    teacher_follows: bool = False
    hides_traces: bool = False
    spoils_masks: bool = False
    needs_contrast: bool = False


def boundary_label(alpha: Tensor) -> Tensor:
    """Return B: 1 where ``0.05 < alpha < 0.95``, else 0 (WSSHM, step 1)."""
    return ((alpha > 0.05) & (alpha < 0.95)).to(alpha.dtype)


def edge_weight(mask: Tensor, edge: float) -> Tensor:
    """Return weights of `edge` within 3 pixels of the edges of masks, and of 1 elsewhere.

    A coarse mask says where a person is but not how the edge falls off.

    Args:
        mask: (N, 1, H, W) float in [0, 1].
    """
    near = F.max_pool2d(mask, 7, 1, 3) + F.max_pool2d(-mask, 7, 1, 3)
    return 1 - (1 - edge) * near


def _colour(images: Tensor, device: torch.device) -> Tensor:
    """Return (N, 3, S, S) uint8 as float in [0, 1] on the device, channels last."""
    moved = images.to(device, non_blocking=True)
    return moved.contiguous(memory_format=torch.channels_last).float() / 255


def _unit(maps: Tensor, device: torch.device) -> Tensor:
    """Return (N, C, S, S) uint8 as float in [0, 1] on the device."""
    return maps.to(device, non_blocking=True).float() / 255
