"""Average the weights of finished runs.

``python -m train.tools.average OUT FILE=WEIGHT FILE=WEIGHT …``

A student that started from its teacher, or from an earlier student, can be averaged with it: the
mean of such weights is often better than either (Wortsman et al., *Robust fine-tuning*, 2022).
"""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path

import torch
from torch import Tensor

from engines.errors import BadData, UsageError, guarded
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


def _parse_part(text: str) -> tuple[Path, float]:
    name, sign, weight = text.rpartition("=")
    if not sign:
        return Path(text), 1.0
    try:
        value = float(weight)
    except ValueError:
        value = 0.0
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(
            f"{text}: not a file and its weight", "write FILE=WEIGHT with a weight over 0"
        )
    return Path(name), value


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m train.tools.average", description=__doc__)
    parser.add_argument("out", type=Path, metavar="OUT.safetensors")
    parser.add_argument("files", nargs="+", metavar="FILE[=WEIGHT]")
    args = parser.parse_args()
    parts = [_parse_part(text) for text in args.files]
    arch, mean = average(parts)
    made_of = ", ".join(f"{path.parent.name}/{path.name} {weight:g}" for path, weight in parts)
    checkpoint.save_weights(args.out, arch, mean, {"mean_of": made_of})
    print(f"{args.out}: {arch}, the mean of {made_of}")
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
