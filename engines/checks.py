"""The checks of all engines: the file, its inputs and outputs, and each alpha it returns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engines.arrays import F32
from engines.contract import ModelSpec
from engines.errors import BadData, reading

MAX_MODEL_BYTES = 200 * 1024**2
ALPHA_TOLERANCE = 1e-3  # of [0, 1]: rounding errors of a network


def read_graph(path: Path) -> bytes:
    """Read the bytes of a model file.

    Given bytes instead of a path, ONNX Runtime opens no other file that the graph refers to.

    Raises:
        CannotOpen: there is no such file.
        BadData: the file is larger than `MAX_MODEL_BYTES`.
    """
    with reading(path):
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise BadData(f"{path}: {size >> 20} MB, a model has at most {MAX_MODEL_BYTES >> 20}")
        return path.read_bytes()


def check_signature(
    session: Any, spec: ModelSpec, path: Path, may_take_trimap: bool = False
) -> None:
    """Compare the inputs and outputs of an ONNX Runtime session with the model's description.

    Args:
        path: the model file, for the error message.
        may_take_trimap: accept a model that takes a trimap beside frames.

    Raises:
        BadData: a name, type or rank differs, or the model takes a trimap.
    """
    if spec.trimap and not may_take_trimap:
        raise BadData(
            f"{path}: needs a trimap beside each frame, and there is none",
            "take another model; wsshm eval measures this one, with trimaps made of the truth",
        )
    expected = [(spec.input, "tensor(uint8)", 4), (spec.output, "tensor(float)", 3)]
    if spec.trimap:
        expected.insert(1, (spec.trimap, "tensor(uint8)", 3))
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
    alpha: F32,
    shape: tuple[int, ...],
    path: Path,
    remedy: str = "the file is damaged or was not made for wsshm",
) -> None:
    """Check the alpha (N, H, W) that a model returned for frames of `shape` (N, H, W, 3).

    Args:
        path: the model file, for the error message.
        remedy: what to do if a value is not an alpha, for the error message.

    Raises:
        BadData: the shape is wrong, or values are not in [0, 1].
    """
    if alpha.shape != shape[:3]:
        raise BadData(
            f"{path}: frames of {shape} gave alpha of {alpha.shape}, expected {shape[:3]}"
        )
    # One pass: NaN fails both comparisons, so it is caught here as well.
    if not (alpha.min() >= -ALPHA_TOLERANCE and alpha.max() <= 1 + ALPHA_TOLERANCE):
        raise BadData(f"{path}: the model gave values outside [0, 1]", remedy)


def first_line(error: object) -> str:
    """Return the first line of an error's text, at most 200 characters."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
