"""Checkpoints of runs and released weights: atomic to write, safe to read.

    step-00000250.pt   state of a run (`save`, `load`, `newest`, `keep`)
    name.safetensors   weights to give away (`save_weights`, `weights`)

Untrusted files are examined by `train.checkpoint.safe_load` before torch reads them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from engines.errors import BadData, reading, writing
from engines.files import replacing
from train.checkpoint.safe_load import DTYPES, examine, read_safetensors, refusal, short

STEP = re.compile(r"step-(\d+)\.pt", re.ASCII)
# What a killed run leaves of a checkpoint; the second form is that of earlier versions.
HALF_WRITTEN = re.compile(r"step-\d+(\.part\.pt|\.pt\.part)", re.ASCII)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a kill at any moment leaves the old file or the new one, whole.

    Args:
        state: dicts, lists, tuples, tensors, strings, numbers, None; no more can be read back.

    Raises:
        TypeError: it holds something else; the old file stays.
        CannotCreate, WriteFailed: of `engines.files.replacing`.
    """
    with replacing(path) as f:
        try:
            torch.save(state, f)
        except RuntimeError as e:
            # torch hides an error of the file, or that a loading process died while it wrote.
            if isinstance(e.__context__, OSError | RuntimeError):
                raise e.__context__ from None
            raise
        f.flush()
        try:
            examine(f)
        except ValueError as e:
            raise TypeError(f"{path}: this state could not be read back: {e}") from e


def keep(folder: Path, n: int) -> None:
    """Delete all but the `n` ≥ 1 newest checkpoints of a run, by the number in their names.

    Half-written ones of killed runs are deleted too. Any other file stays.
    """
    named = {p: int(m[1]) for p in folder.iterdir() if (m := STEP.fullmatch(p.name))}
    halves = [p for p in folder.iterdir() if HALF_WRITTEN.fullmatch(p.name)]
    for path in halves + sorted(named, key=lambda p: (named[p], p.name))[:-n]:
        with writing(path, begun=True):
            path.unlink(missing_ok=True)


def load(path: Path) -> dict[str, Any]:
    """Read a checkpoint of tensors, on the CPU, and plain values.

    Raises:
        CannotOpen: missing or unreadable.
        BadData: damaged, or a file that could do harm; nothing of it has been run or unpacked.
    """
    with reading(path), path.open("rb") as f:
        try:
            examine(f)
            f.seek(0)
            state = torch.load(f, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"a {type(state).__name__} where a dict is expected")
        except (OSError, MemoryError):
            raise
        except Exception as e:  # zipfile, pickletools and torch raise errors of any kind
            raise refusal(path, e) from e
    return state


def newest(folder: Path) -> tuple[Path, dict[str, Any], list[str]] | None:
    """Read the checkpoint of a run that has the highest step stored inside.

    Returns:
        Its path, its state, and one line for each damaged file that was skipped; None if there is
        no file ``step-*.pt``.

    Raises:
        BadData: there are such files and every one of them is damaged.
        CannotOpen: one cannot be read for another reason; it could be the newest.
    """
    best: tuple[Path, dict[str, Any]] | None = None
    skipped = []
    for path in sorted(p for p in folder.glob("step-*.pt") if STEP.fullmatch(p.name)):
        try:
            state = load(path)
            if type(state.get("step")) is not int:
                raise refusal(path, "no step in it")
        except BadData as e:
            skipped.append(str(e))
            continue
        if best is None or state["step"] >= best[1]["step"]:
            best = path, state
    if best is None and skipped:
        raise BadData(f"{folder}: every checkpoint is damaged; the last: {skipped[-1]}")
    return None if best is None else (*best, skipped)


def weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    """Read the architecture and the averaged weights of a checkpoint or a ``.safetensors`` file.

    Raises:
        CannotOpen: missing or unreadable.
        BadData: damaged, of another kind, or with weights that are not finite.
    """
    if path.suffix == ".safetensors":
        arch, state = read_safetensors(path)
    else:
        whole, prefix = load(path), "module."  # of torch's AveragedModel
        arch, average = whole.get("arch"), whole.get("ema")
        if not isinstance(average, dict):
            raise refusal(path, "no averaged weights in it")
        state = {k.removeprefix(prefix): v for k, v in average.items() if str(k).startswith(prefix)}
    if not isinstance(arch, str) or not state:
        raise refusal(path, "no architecture in it" if state else "no weights in it")
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.dtype not in DTYPES.values():
            raise refusal(path, f"{short(key)} is no tensor of numbers")
        if not torch.isfinite(value).all():
            raise refusal(path, f"{short(key)} has values that are not finite")
    return arch, state


def save_weights(path: Path, arch: str, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write `state` as safetensors, with `arch` and `metadata` in its header.

    Raises:
        CannotCreate, WriteFailed: of `engines.files.replacing`.
    """
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    with replacing(path) as f:
        f.write(safetensors.torch.save(tensors, {**metadata, "arch": arch}))


def match(net: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Copy `state` into `net` if every key and shape agrees; else leave `net` unchanged.

    Raises:
        BadData: they differ; the first five keys are named.
    """
    own = net.state_dict()
    wrong = [f"{k} is missing" for k in own if k not in state]
    wrong += [
        f"{k} is {tuple(state[k].shape)}, not {tuple(v.shape)}"
        for k, v in own.items()
        if k in state and state[k].shape != v.shape
    ]
    wrong += [f"{short(k)} is not in the network" for k in state if k not in own]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadData(f"{path}: weights of another network ({'; '.join(wrong[:5])}{more})")
    net.load_state_dict(state)
