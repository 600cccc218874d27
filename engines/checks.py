"""What every engine checks: the file, its inputs and outputs, and each alpha it gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract import ModelSpec
from engines.errors import BadData, reading

MAX_BYTES = 200 * 1024**2


def read_graph(path: Path) -> bytes:
    """A model file's bytes: ONNX Runtime given bytes cannot be led to other files beside it.

    Raises:
        CannotOpen, BadData: it is not there, or too large for a model.
    """
    with reading(path):
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BadData(f"{path}: {size >> 20} MB, a model has at most {MAX_BYTES >> 20}")
        return path.read_bytes()


def check_signature(session: Any, spec: ModelSpec, path: Path) -> None:
    """See that a session of ONNX Runtime takes and gives what the model's description says.

    Raises:
        BadData: it does not.
    """
    expected = [(spec.input, "tensor(uint8)", 4), (spec.output, "tensor(float)", 3)]
    found = [
        (node.name, node.type, len(node.shape))
        for node in (*session.get_inputs(), *session.get_outputs())
    ]
    if found != expected:
        raise BadData(
            f"{path}: inputs and outputs (name, type, rank) are {found}, "
            f"its description says {expected}"
        )


def check_alpha(
    alpha: NDArray[np.float32],
    shape: tuple[int, ...],
    path: Path,
    advice: str = "the file is damaged or was not made for wsshm",
) -> None:
    """See that `alpha` is one, of frames of `shape` (N, H, W, 3); `path` made it.

    Raises:
        BadData: another shape, or values that are not in [0, 1].
    """
    if alpha.shape != shape[:3]:
        raise BadData(
            f"{path}: frames of {shape} gave alpha of {alpha.shape}, expected {shape[:3]}"
        )
    # One pass: NaN fails both comparisons, so it is caught here as well.
    if not (alpha.min() >= -1e-3 and alpha.max() <= 1 + 1e-3):
        raise BadData(f"{path}: the model gave values outside [0, 1]; {advice}")
