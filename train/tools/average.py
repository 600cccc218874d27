"""Average the weights of finished runs: ``wsshm train average``.

A student that started from its teacher, or from an earlier student, can be averaged with it: the
mean of such weights is often better than either (Wortsman et al., *Robust fine-tuning*, 2022).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from engines.errors import BadData
from train.checkpoint import checkpoint


def average(parts: list[tuple[Path, float]]) -> tuple[str, dict[str, Tensor]]:
    """Return the architecture of the files and the weighted mean of their weights.

    Args:
        parts: files as of `train.checkpoint.checkpoint.weights`, and their weights, > 0.

    Raises:
        CannotOpen, BadData: a file; or they are of different networks.
    """
    archs, states = zip(*(checkpoint.weights(path) for path, _ in parts), strict=True)
    shapes = [{k: v.shape for k, v in state.items()} for state in states]
    for (path, _), arch, shape in zip(parts, archs, shapes, strict=True):
        if arch != archs[0] or shape != shapes[0]:
            raise BadData(f"{path}: is another network ({arch}) than {parts[0][0]} ({archs[0]})")
    total = sum(weight for _, weight in parts)
    mean = {}
    for key, first in states[0].items():
        if first.is_floating_point():
            terms = (s[key].double() * (w / total) for s, (_, w) in zip(states, parts, strict=True))
            first = torch.stack(list(terms)).sum(0).to(first.dtype)
        mean[key] = first
    return archs[0], mean
