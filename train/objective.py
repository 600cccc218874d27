"""What a step of training minimises: the recipe's weighted `train.losses`, or the network's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from engines.errors import UsageError
from train.config import Config
from train.losses import bce, charbonnier, context, gradient, l1, laplacian_pyramid, mse
from train.methods.method import Batch, Method, Teacher
from train.networks.network import Network, Prediction, Targets

NEEDS_TEACHER = {"context"}  # terms that compare with features of a teacher
Term = Callable[[Prediction, Targets], Tensor]
# A new loss is a function of `train.losses`, a row here and its name in `train.config.LOSSES`.
TERMS: dict[str, Term] = {
    "mse": lambda p, t: mse(p.alpha, t.label, t.pixel_weight),
    "l1": lambda p, t: l1(p.alpha, t.label, t.pixel_weight),
    "alpha": lambda p, t: charbonnier(p.alpha, t.label, t.pixel_weight),
    "bce": lambda p, t: bce(p.logits, t.label, t.pixel_weight),
    "gradient": lambda p, t: gradient(p.alpha, t.label, t.pixel_weight) * t.judge_edges,
    "laplacian": lambda p, t: (
        laplacian_pyramid(p.alpha, t.label, weight=t.pixel_weight) * t.judge_edges
    ),
    "boundary": lambda p, t: (
        bce(_given(p.boundary, "boundary"), t.boundary, t.pixel_weight) * t.judge_edges
    ),
    "context": lambda p, t: context(_given(p.features, "context"), _given(t.features, "context")),
}


def check_terms(weights: dict[str, float], has_teacher: bool) -> None:
    """Raise UsageError if a loss needs a teacher and the run has no teacher."""
    if NEEDS_TEACHER & weights.keys() and not has_teacher:
        needing = ", ".join(sorted(NEEDS_TEACHER & weights.keys()))
        raise UsageError(f"the loss `{needing}` needs a teacher", "take it out of the recipe")


def _given(tensor: Tensor | None, term: str) -> Tensor:
    if tensor is None:
        raise UsageError(
            f"the loss `{term}` compares what the network or its teacher does not predict",
            "take it out of the recipe",
        )
    return tensor


def step_losses(
    model: nn.Module,
    net: Network,
    method: Method,
    teacher: Teacher | None,
    batch: Batch,
    config: Config,
) -> dict[str, Tensor]:
    """Return the losses of one batch, as of `matting_losses`.

    Args:
        model: `net` itself, or `net` as several processes share it.
    """
    targets = method.targets(batch, teacher, config)
    prediction = model(*batch.seen)
    with torch.autocast(batch.image.device.type, enabled=False):  # losses are computed in float32
        prediction, own = prediction.float(), None
        if config.own_losses:
            own = net.own_losses(batch.image, prediction, targets)
        return matting_losses(prediction, targets, judged(net, config), own)


def judged(net: Network, config: Config) -> dict[str, float]:
    """Return the recipe's losses by weight without those of what the network does not predict."""
    return {k: w for k, w in config.loss.items() if k != "boundary" or net.predicts_boundary}


def matting_losses(
    prediction: Prediction,
    targets: Targets,
    weights: dict[str, float],
    own: dict[str, Tensor] | None = None,
) -> dict[str, Tensor]:
    """Return the weighted terms of one step and their ``total``, each a scalar, the batch's mean.

    Terms about edges (``gradient``, ``laplacian``, ``boundary``) leave out samples for which
    `Targets.judge_edges` is False: they count as zero, so that the means of batches split among
    processes average to that of the whole.

    Args:
        weights: of `TERMS` by name; those left out are not computed.
        own: of `Network.own_losses`; where there are any, they are all that is learnt by.

    Raises:
        UsageError: a term compares what was not predicted.
    """
    losses = own or {
        name: weight * TERMS[name](prediction, targets).mean() for name, weight in weights.items()
    }
    return losses | {"total": torch.stack(list(losses.values())).sum()}
