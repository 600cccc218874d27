"""BSHM: three networks in turn, from a coarse mask to a matte (Liu et al., 2020).

    frames ─┬─ quarter ─┬─ MPN ─ mask ─┬─ QUN ─ mask of even quality
            │           └──────────────┘               │
            └───────────────────────────────────────── MRN ─ matte

MPN predicts a mask and learns from coarse masks and mattes alike. QUN gives any mask the quality of
fine ones; it learns from mattes and their spoilt twins (`train.data.spoil`). MRN refines, with that
mask beside its features at a quarter of the size, where the decoder takes them, and learns from
composites alone. Each learns while those before it are frozen: ``mpn-ARCH``, ``qun-ARCH`` and
``bshm-ARCH`` are networks of one, two and three of the parts, and the last one runs.

There is no code of its training. What the paper leaves open, or differs from it here: the parts are
the project's U-Nets, where ARCH is that of MRN, and MPN and QUN are an ``r18x0.5`` beside the wider
ResNets and the same as MRN otherwise. QUN sees the mask as a fourth channel. MPN and QUN see a
quarter of any frame, which is the paper's 192×160 of its 768×640; a side that is no multiple of
their stride is stretched to one. MPN's two maps are two sigmoids, and the person's goes on. MRN
predicts no colours of the foreground: its loss of compositions has those of the composite. The
weights of QUN's losses are those that are told of the paper.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from onnx import ModelProto
from torch import Tensor

from train.losses import l1, mean
from train.networks import build
from train.networks.network import Network, Prediction, Targets
from train.networks.unet import UNet

SHRINK = 4  # from the frame's size to that of MPN and QUN
IDENTITY_WEIGHT, CONSISTENCY_WEIGHT = 0.25, 0.5  # of QUN's losses
LIGHT = "r18x0.5"  # MPN and QUN of ResNets that are wider


def light(unet: str) -> str:
    """Return the U-Net of MPN and QUN beside an MRN of this one."""
    return LIGHT if unet in ("r101", "r50", "r34", "r18") else unet


class Stage(Network):
    """A network of parts, each a U-Net, of which the last one learns and the others are frozen."""

    def __init__(self, arch: str, parts: dict[str, UNet]):
        """Join the parts.

        Args:
            arch: the stage's name and that of a U-Net, with a dash between them.
            parts: by name, in their order.
        """
        *frozen, learns = parts
        super().__init__(arch, parts[learns].stride)
        self.frozen, self.learns = frozen, learns
        for name, part in parts.items():
            self.add_module(name, part.requires_grad_(name == learns))
        self.exact_weights = (f"{self.learns}.matte",)

    def part(self, name: str) -> UNet:
        """Return a part by its name."""
        part = self.get_submodule(name)
        assert isinstance(part, UNet)
        return part

    @property
    def learner(self) -> Network:
        """The part that learns."""
        return self.part(self.learns)

    def encoder_parameters(self) -> Any:
        """Return those of the part that learns."""
        return self.learner.encoder.parameters()

    def train(self, mode: bool = True) -> Stage:
        """Set the mode of the part that learns; norms of the frozen ones keep their statistics."""
        super().train(mode)
        for name in self.frozen:
            self.part(name).eval()
        return self

    def deployed(self, widen: bool = False) -> Stage:
        """Return a copy of which each part is as its own `deployed`."""
        net = super().deployed(widen)
        assert isinstance(net, Stage)
        for name in (*self.frozen, self.learns):
            setattr(net, name, self.part(name).deployed(widen))
        return net

    def _at_quarter(self, name: str, small: Tensor, *mask: Tensor) -> Prediction:
        """Return the prediction of a part for images (N, 3, h, w), at their size."""
        part, size = self.part(name), small.shape[2:]
        fitting = [(n + part.stride - 1) // part.stride * part.stride for n in size]
        said = part(*(_resized(x, fitting) for x in (small, *mask)))
        other = None if said.boundary is None else _resized(said.boundary, size)
        return Prediction(_resized(said.matte, size), other)

    def _mask(self, small: Tensor) -> Tensor:
        """Return the mask (N, 1, h, w) in [0, 1] that MPN predicts."""
        return self._at_quarter("mpn", small).matte.sigmoid()


class MPN(Stage):
    """Mask prediction, the first stage."""

    def __init__(self, arch: str):
        unet = arch.partition("-")[2]
        super().__init__(arch, {"mpn": _unet(unet)})

    def forward(self, frames: Tensor) -> Prediction:
        """Predict a mask; the sides are logits of person and background at a quarter."""
        said = self._at_quarter("mpn", F.avg_pool2d(frames, SHRINK))
        assert said.boundary is not None  # the second head is that of the background here
        sides = {"person": said.matte, "background": said.boundary}
        return Prediction(_enlarged(said.matte), sides=sides)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the L1 of both maps."""
        assert prediction.sides is not None
        label, weight = _at_quarter(targets)
        maps = {"person": label, "background": 1 - label}
        return {
            name: l1(prediction.sides[name].sigmoid(), wanted, weight).mean()
            for name, wanted in maps.items()
        }


class QUN(Stage):
    """Quality unification, the second stage."""

    def __init__(self, arch: str):
        unet = arch.partition("-")[2]
        parts = {"mpn": _unet(unet), "qun": _unet(unet, boundary=False, mask_stride=1)}
        super().__init__(arch, parts)
        self.begins_with = f"mpn-{unet}"

    def forward(self, frames: Tensor, masks: Tensor | None = None) -> Prediction:
        """Predict a mask of even quality from MPN's mask, or from those that are given.

        Args:
            frames: (N, 3, H, W) float RGB in [0, 1].
            masks: (N, 2, H / 4, W / 4) float in [0, 1], a fine one and its spoilt twin. The sides
                are the fine one, and logits of what is made of either.
        """
        small = F.avg_pool2d(frames, SHRINK)
        if masks is None:
            with torch.no_grad():
                mask = self._mask(small)
            return Prediction(_enlarged(self._at_quarter("qun", small, mask).matte))
        fine, spoilt = masks.split(1, 1)
        both = torch.cat([small, small]), torch.cat([fine, spoilt])
        of_fine, of_spoilt = self._at_quarter("qun", *both).matte.chunk(2)
        sides = {"fine": fine, "of_fine": of_fine, "of_spoilt": of_spoilt}
        return Prediction(_enlarged(of_spoilt), sides=sides)

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return how far either mask is from the fine one, and both from each other."""
        assert prediction.sides is not None
        _, weight = _at_quarter(targets)
        fine = prediction.sides["fine"]
        of_fine, of_spoilt = (prediction.sides[k].sigmoid() for k in ("of_fine", "of_spoilt"))
        identity = l1(of_fine, fine, weight) + l1(of_spoilt, fine, weight)
        return {
            "identity": IDENTITY_WEIGHT * identity.mean(),
            "consistency": CONSISTENCY_WEIGHT * l1(of_fine, of_spoilt, weight).mean(),
        }


class BSHM(Stage):
    """Matting refinement, the last stage, after the others: the network that runs."""

    def __init__(self, arch: str):
        unet = arch.partition("-")[2]
        low = light(unet)
        parts = {
            "mpn": _unet(low),
            "qun": _unet(low, boundary=False, mask_stride=1),
            "mrn": _unet(unet, boundary=False, mask_stride=SHRINK),
        }
        super().__init__(arch, parts)
        self.begins_with = f"qun-{low}"

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the matte."""
        with torch.no_grad():
            small = F.avg_pool2d(frames, SHRINK)
            mask = self._at_quarter("qun", small, self._mask(small)).matte.sigmoid()
        return Prediction(self.learner(frames, mask).matte)

    def taps(self, model: ModelProto) -> dict[str, str]:
        """Return the tensors of QUN's mask, and of MRN's features where it joins them."""
        joints = [n for n in model.graph.node if n.name.startswith("/net/mrn/Concat")]
        join = next(n for n in joints if len(n.input) == 3)  # features, skip and mask
        return {"mask": join.input[2], "join": join.output[0]}

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the L1 of alpha, and of compositions with the true foreground and background."""
        alpha, label, weight = prediction.alpha, targets.label, targets.pixel_weight
        losses = {"alpha": l1(alpha, label, weight).mean()}
        if targets.contrast is not None:
            # |α̂F + (1 - α̂)B - (αF + (1 - α)B)| = |α̂ - α| |F - B|
            composed = (alpha - label).abs() * targets.contrast
            losses["composition"] = mean(composed, weight).mean()
        return losses


def _at_quarter(targets: Targets) -> tuple[Tensor, Tensor | None]:
    """Return the label and its weight, (N, 1, S / 4, S / 4); None: all pixels count alike."""
    label, weight = targets.label, targets.pixel_weight
    if weight is None:
        return F.avg_pool2d(label, SHRINK), None
    shares = F.avg_pool2d(weight, SHRINK)
    return F.avg_pool2d(label * weight, SHRINK) / shares.clamp_min(1e-6), shares


def _enlarged(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=float(SHRINK), mode="bilinear", align_corners=False)


def _resized(x: Tensor, size: Any) -> Tensor:
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


def _unet(name: str, **options: Any) -> UNet:
    """Return a U-Net; `options` are those of `UNet`."""
    net = build(name, **options)
    assert isinstance(net, UNet)
    return net
