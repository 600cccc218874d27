"""The interface of networks: `Network`, its `Prediction`, and the `Targets` it is compared with.

A network is one file of this package and one row of the table in ``__init__.py``. The trainer, the
exporter, the quantiser and the log use what is declared here and know nothing else about it.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from onnx import ModelProto
from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Prediction(NamedTuple):
    """The outputs of a network for N frames of H×W pixels.

    Attributes:
        matte: (N, 1, H, W) logits of alpha, or alpha itself if `is_alpha`.
        boundary: (N, 1, H, W) logits of the boundary, or None if the network does not predict it.
        features: (N, C, h, w) deep features after a ReLU, or None if the network offers none.
        sides: further outputs by name, which `Network.own_losses` alone reads, or None.
        is_alpha: the network computes alpha without a final sigmoid, as those do that fuse several
            mattes. It may exceed [0, 1].
    """

    matte: Tensor
    boundary: Tensor | None = None
    features: Tensor | None = None
    sides: dict[str, Tensor] | None = None
    is_alpha: bool = False

    @property
    def alpha(self) -> Tensor:
        """Alpha (N, 1, H, W) as losses judge it; outside [0, 1] it still has a gradient."""
        return self.matte if self.is_alpha else self.matte.sigmoid()

    @property
    def deployed_alpha(self) -> Tensor:
        """Alpha (N, 1, H, W) in [0, 1]."""
        return self.matte.clamp(0, 1) if self.is_alpha else self.matte.sigmoid()

    @property
    def logits(self) -> Tensor:
        """Logits of alpha (N, 1, H, W); of an alpha, limited to those of 1e-4 and 1 - 1e-4."""
        return torch.logit(self.matte, 1e-4) if self.is_alpha else self.matte

    def float(self) -> Prediction:
        """Return the prediction in float32, for losses."""
        return Prediction(
            self.matte.float(),
            None if self.boundary is None else self.boundary.float(),
            None if self.features is None else self.features.float(),
            self.sides and {name: x.float() for name, x in self.sides.items()},
            self.is_alpha,
        )


@dataclass(frozen=True)
class Targets:
    """The tensors that the predictions for N crops of S×S pixels are compared with.

    Attributes:
        label: (N, 1, S, S) float in [0, 1]: an alpha, a coarse mask, or what a method made of both.
        boundary: (N, 1, S, S) float in [0, 1], 1 where alpha is neither 0 nor 1.
        judge_edges: (N,) bool; losses about edges leave out samples for which it is False.
        pixel_weight: (N, 1, S, S) float weights that losses give the pixels of `label` and
            `boundary`, or None if all pixels count alike.
        features: (N, C, h, w) float features of a teacher, or None.
        contrast: (N, 1, S, S) float in [0, 1], the mean difference of foreground and background in
            R, G and B, or None where they are not known.
        shown: further images by name for the log's grid, each (N, 1, S, S) float in [0, 1].
    """

    label: Tensor
    boundary: Tensor
    judge_edges: Tensor
    pixel_weight: Tensor | None = None
    features: Tensor | None = None
    contrast: Tensor | None = None
    shown: dict[str, Tensor] = field(default_factory=dict)


class Network(nn.Module):
    """A matting network.

    A subclass defines `forward` and `encoder`, and overrides what does not fit it.

    Attributes:
        arch: name of the network in ``train.networks.NETWORKS``.
        stride: the sides of frames are multiples of this many pixels.
        encoder: the part that has a learning rate of its own and starts from published weights;
            its keys are those of the published file.
        backbone: name of these weights in `train.networks.encoders.imagenet`; empty: there are
            none.
        feature_channels: C of `Prediction.features`; 0: the network offers none.
        predicts_boundary: whether there is a `Prediction.boundary`.
        takes_trimap: frames have a fourth channel, the trimap: 0 is background, 1 person, and what
            is between unknown. An exported file has it as a second input.
        chooses: the network picks one of several, such as a matte at each pixel or a place at each
            un-pooling, so that alpha jumps where two are as likely: an exported file may differ
            from torch by any amount there.
        begins_with: name of the network whose weights its parts begin with that do not learn;
            empty: all of it learns.
        exact_weights: prefixes of the names of parameters that an exported file keeps in float32.
        mean, std: (1, 3, 1, 1) buffers, the normalisation of RGB in [0, 1].
    """

    encoder: nn.Module
    backbone: str = ""
    feature_channels: int = 0
    predicts_boundary: bool = False
    takes_trimap: bool = False
    chooses: bool = False
    begins_with: str = ""
    exact_weights: tuple[str, ...] = ()

    def __init__(self, arch: str, stride: int):
        super().__init__()
        self.arch, self.stride = arch, stride
        self.register_buffer("mean", torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(IMAGENET_STD).view(1, 3, 1, 1))

    def forward(self, frames: Tensor) -> Prediction:
        """Predict the mattes of frames (N, 3 or 4, H, W) float, RGB and any trimap in [0, 1]."""
        raise NotImplementedError

    def normalised(self, frames: Tensor) -> Tensor:
        """Return frames (N, 3, H, W) in [0, 1] with the mean and deviation the encoder expects."""
        return (frames - self.mean) / self.std

    def set_normalisation(self, mean: Sequence[float], std: Sequence[float]) -> None:
        """Set the mean and deviation of R, G and B, in [0, 1]."""
        self.mean.copy_(torch.tensor(mean).view(1, 3, 1, 1))
        self.std.copy_(torch.tensor(std).view(1, 3, 1, 1))

    @property
    def learner(self) -> Network:
        """The network that learns: itself, unless some of its parts are frozen."""
        return self

    def encoder_parameters(self) -> Iterable[nn.Parameter]:
        """Return the parameters that learn at the recipe's ``encoder_lr``."""
        return self.encoder.parameters()

    def own_losses(
        self, frames: Tensor, prediction: Prediction, targets: Targets
    ) -> dict[str, Tensor]:
        """Return the weighted losses that the network's authors train it by, each a scalar.

        They judge its matte and its `Prediction.sides`, and take the place of the recipe's losses
        unless its ``own_losses`` is false. Their alpha is the label the method made, their trimap
        that of `train.networks.transition`.

        Args:
            frames: (N, 3, S, S) float in [0, 1], of which `prediction` was made.
        """
        return {}

    @property
    def has_own_losses(self) -> bool:
        """Whether the network overrides `own_losses`."""
        return type(self).own_losses is not Network.own_losses

    def undeployed(self, name: str, weights: list[Tensor]) -> tuple[str, list[Tensor]]:
        """Undo `deployed` for one convolution: return its name and weights in this network.

        Args:
            name: its name in the deployed network.
            weights: its kernel, and its bias if it has one.
        """
        return name, weights

    def deployed(self, widen: bool = False) -> Network:
        """Return a copy in eval mode with the same matte, in the form that is fastest to run.

        Args:
            widen: for int8, whose kernels compute whole blocks of channels.
        """
        net = copy.deepcopy(self).eval()
        for name in ("mean", "std"):
            value = getattr(net, name)
            if (value == value[:, :1]).all():  # a scalar is subtracted faster than a vector
                setattr(net, name, value[:, :1])
        return net

    def taps(self, model: ModelProto) -> Mapping[str, str | tuple[str, ...]]:
        """Return the tensors up to which a graph may stay in float32, from shallow to deep.

        fp16 always keeps what comes before the first one in float32, int8 what comes before the
        first one at which the measured loss is small enough. Without taps, fp16 and int8 are tried
        on the whole graph.

        Args:
            model: of `train.export.graph.trace`.

        Returns:
            {name of the tap: name of its tensor in the graph, or names of several}.
        """
        return {}


def output_of(model: ModelProto, part: str) -> str:
    """Return the tensor that a part of the network gives in its graph.

    Args:
        model: of `train.export.graph.trace`.
        part: the module, as in the names of its nodes, such as ``encoder/layer1``.
    """
    prefix = f"/net/{part}/"
    return next(str(n.output[0]) for n in reversed(model.graph.node) if n.name.startswith(prefix))
