"""Alpha where the trimap does not know it (Deep Image Matting): elsewhere nothing is judged."""

from __future__ import annotations

from engines.errors import UsageError
from train.config import Config
from train.methods.method import Batch, Method, Teacher, boundary_label
from train.networks.network import Targets


def targets(batch: Batch, teacher: Teacher | None, config: Config) -> Targets:
    """Return the alphas, of which the unknown pixels alone have a weight.

    Raises:
        UsageError: the network takes no trimap.
    """
    if batch.trimap is None:
        raise UsageError("the method `unknown` needs a network that takes a trimap", "use dim")
    unknown = (batch.trimap > 0) & (batch.trimap < 1)
    weight = unknown.to(batch.label.dtype)
    return Targets(batch.label, boundary_label(batch.label), batch.has_alpha, weight)


METHOD = Method(targets)
