"""Checkpoints: written beside and renamed; read without running code or being led to allocate.

    step-00000250.pt   zip of STORED entries     state of a run (`save`, `load`, `newest`, `keep`)
      data.pkl                                   a pickle of tensors and plain values: `_dry_run`
      data/0 …                                   one storage each, of exactly the size it claims
    name.safetensors   header and tensors        weights to give away (`save_weights`, `weights`)

``weights_only=True`` stops code, not bombs: torch inflates what is deflated, believes the size a
storage claims and calls ``bytearray(10**10)``. So `load` looks at all of that before torch does.
"""

from __future__ import annotations

import math
import os
import pickletools
import re
import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch
from torch import Tensor, nn

from engines.errors import BadData, reading, writing
from engines.files import replacing

MAX_ENTRIES, MAX_DIRECTORY = 65_000, 4 << 20  # of the zip file; bytes
MAX_PICKLE, MAX_OPCODES = 1 << 20, 150_000  # bytes; the largest network's has 270 kB and 78,000
MAX_HEADER = 1 << 20  # bytes, of a safetensors file
MAX_SLACK = 1_000_000  # bytes by which the entries may exceed the file
MAX_DIMS = 8

DTYPES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
}
REBUILD, ORDERED = "torch._utils _rebuild_tensor_v2", "collections OrderedDict"
PARAMETER = "torch._utils _rebuild_parameter"  # in state dictionaries as torchvision publishes some
GLOBALS = {REBUILD, PARAMETER, ORDERED, *(f"torch {name}" for name in DTYPES)}
CONSTANTS = {
    "BINUNICODE",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG1",
    "BINFLOAT",
    "NONE",
    "NEWTRUE",
    "NEWFALSE",
    "EMPTY_LIST",
    "EMPTY_DICT",
    "EMPTY_TUPLE",
}
# One top folder, whatever its name; in it the pickle, the storages, and small notes of torch.
NAME = re.compile(
    r"(?P<top>[^/\\\x00-\x1f]+)/(data\.pkl|version|byteorder|data/\d+|\.[a-z]\w*(/\w+)?)", re.ASCII
)
STEP = re.compile(r"step-(\d+)\.pt", re.ASCII)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` so that a kill at any moment leaves the old file or the new one, whole.

    Args:
        state: dicts, lists, tuples, tensors, strings, numbers, None; no more can be read back.

    Raises:
        TypeError: something else is in it; the old file stays.
        CannotCreate, WriteFailed: see `replacing`.
    """
    with replacing(path) as f:
        try:
            torch.save(state, f)
        except RuntimeError as e:  # torch hides what the file said
            if isinstance(e.__context__, OSError):
                raise e.__context__ from None
            raise
        f.flush()
        try:
            _examine(f)
        except ValueError as e:
            raise TypeError(f"{path}: this state could not be read back: {e}") from e


def keep(folder: Path, n: int) -> None:
    """Delete all but the `n` ≥ 1 newest checkpoints of a run, by the number in their names.

    What killed runs left half written goes too. Any other file stays.
    """
    named = {p: int(m[1]) for p in folder.iterdir() if (m := STEP.fullmatch(p.name))}
    halves = [p for p in folder.glob("step-*.pt.part") if STEP.fullmatch(p.stem)]
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
            _examine(f)
            f.seek(0)
            state = torch.load(f, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"a {type(state).__name__} where a dict is expected")
        except (OSError, MemoryError):
            raise
        except Exception as e:  # of zipfile, pickletools and torch: there is no end to their kinds
            raise _refusal(path, e) from e
    return state


def newest(folder: Path) -> tuple[Path, dict[str, Any], list[str]] | None:
    """The checkpoint of a run that has the highest step stored inside.

    Returns:
        Its path, its state, and one line for each damaged file that was passed over; None where
        there is no file ``step-*.pt``.

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
                raise _refusal(path, "no step in it")
        except BadData as e:
            skipped.append(str(e))
            continue
        if best is None or state["step"] >= best[1]["step"]:
            best = path, state
    if best is None and skipped:
        raise BadData(f"{folder}: every checkpoint is damaged; the last: {skipped[-1]}")
    return None if best is None else (*best, skipped)


def weights(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The architecture and the averaged weights of a checkpoint or a ``.safetensors`` file.

    Raises:
        CannotOpen: missing or unreadable.
        BadData: damaged, of another kind, or with weights that are not finite.
    """
    if path.suffix == ".safetensors":
        arch, state = _safetensors(path)
    else:
        whole, prefix = load(path), "module."  # of torch's AveragedModel
        arch, average = whole.get("arch"), whole.get("ema")
        if not isinstance(average, dict):
            raise _refusal(path, "no averaged weights in it")
        state = {k.removeprefix(prefix): v for k, v in average.items() if str(k).startswith(prefix)}
    if not isinstance(arch, str) or not state:
        raise _refusal(path, "no architecture in it" if state else "no weights in it")
    for key, value in state.items():
        if not isinstance(value, Tensor) or value.dtype not in DTYPES.values():
            raise _refusal(path, f"{_short(key)} is no tensor of numbers")
        if not torch.isfinite(value).all():
            raise _refusal(path, f"{_short(key)} has values that are not finite")
    return arch, state


def save_weights(path: Path, arch: str, state: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write `state` as safetensors, with `arch` beside `metadata` in its header.

    Raises:
        CannotCreate, WriteFailed: see `replacing`.
    """
    tensors = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    with replacing(path) as f:
        f.write(safetensors.torch.save(tensors, {**metadata, "arch": arch}))


def match(net: nn.Module, state: dict[str, Tensor], path: object) -> None:
    """Copy `state` into `net` if every key and shape agrees; else `net` is left as it was.

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
    wrong += [f"{_short(k)} is not in the network" for k in state if k not in own]
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise BadData(f"{path}: weights of another network ({'; '.join(wrong[:5])}{more})")
    net.load_state_dict(state)


def _short(text: object) -> str:
    """The first line of `text`, printable and of readable length."""
    line = (str(text).splitlines() or [""])[0]
    return "".join(c if c.isprintable() else "?" for c in line[:160])


def _refusal(path: Path, why: object) -> BadData:
    if isinstance(why, BaseException):
        why = str(why) or type(why).__name__
    return BadData(f"{path}: not a checkpoint of wsshm ({_short(why)})")


def _examine(f: BinaryIO) -> None:
    """Go through everything torch will believe in `f`; ValueError where it should not.

    zipfile and pickletools add errors of their own.
    """
    entries = _entries(f)
    sizes = {i.orig_filename.partition("/")[2]: i.file_size for i in entries}
    tops = {i.orig_filename.partition("/")[0] for i in entries}
    if len(sizes) != len(entries) or len(tops) > 1:
        raise ValueError("names occur twice")
    if sizes.get("data.pkl", MAX_PICKLE + 1) > MAX_PICKLE:
        raise ValueError("data.pkl is missing or too large")
    with zipfile.ZipFile(f) as archive:
        pickled = archive.read(f"{tops.pop()}/data.pkl")
    _dry_run(pickled, {k.removeprefix("data/"): n for k, n in sizes.items() if k[:5] == "data/"})


def _entries(f: BinaryIO) -> list[zipfile.ZipInfo]:
    """The entries of a zip file that every reader understands alike and that unpacks to itself."""
    size = f.seek(0, os.SEEK_END)
    _check_end(f, size)
    with zipfile.ZipFile(f) as archive:
        entries = archive.infolist()
    for entry in entries:
        name = NAME.fullmatch(entry.orig_filename)
        if not name or name["top"] in (".", ".."):
            raise ValueError(f"an entry named {entry.orig_filename}")
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not stored or entry.compress_size != entry.file_size:
            raise ValueError(f"{entry.orig_filename} is compressed")
    if sum(e.file_size for e in entries) > size + MAX_SLACK:
        raise ValueError("its entries are larger than the file")
    return entries


def _check_end(f: BinaryIO, size: int) -> None:
    """Bound the directory by the records at the very end of the file, before it is parsed.

    Readers differ in what they make of bytes after those records or between them: none may be.
    """
    f.seek(0)
    start = f.read(4)
    f.seek(max(0, size - 98))  # the lengths of the three records: 56, 20 and 22
    tail = f.read(98)
    good = start == b"PK\3\4" and tail[-22:-18] == b"PK\5\6" and tail[-2:] == b"\0\0"
    if good and tail[-42:-38] == b"PK\6\7":
        end = size - 98
        good = tail[:4] == b"PK\6\6" and tail[-34:-26] == struct.pack("<Q", end)
        count, length, offset = struct.unpack_from("<QQQ", tail, 32)
    elif good:
        end = size - 22
        count, length, offset = struct.unpack_from("<HII", tail, len(tail) - 12)
    if not good or offset + length != end:
        raise ValueError("no zip file of torch, or cut short")
    if count > MAX_ENTRIES or length > MAX_DIRECTORY:
        raise ValueError(f"{count} entries, described in {length} bytes")


@dataclass(frozen=True)
class _Storage:
    """A storage whose record has just the size it claims."""

    items: int


class _Global(str):
    """The name of a function or class, told from any string of the pickle by its type."""

    __slots__ = ()


class _Ordered:
    """Stands for every OrderedDict."""


def _dry_run(pickled: bytes, records: dict[str, int]) -> None:
    """Follow the pickle with nothing but its numbers, strings and tuples, and calling nothing.

    Each storage must have the size of its record and each tensor no more values than its storage.

    Args:
        records: bytes of each storage, by its key.

    Raises:
        ValueError: anything `save` does not write; other errors of Python where it is malformed.
    """
    stack: list[Any] = []
    below: list[list[Any]] = []
    memo: dict[int, Any] = {}
    arg: Any
    for i, (op, arg, _) in enumerate(pickletools.genops(pickled)):
        if i >= MAX_OPCODES:
            raise ValueError("too many objects")
        match op.name:
            case "PROTO" | "STOP" if arg in (2, None):
                pass
            case _ if op.name in CONSTANTS:  # `arg` is None for an empty list or dict
                stack.append(() if op.name == "EMPTY_TUPLE" else arg)
            case "GLOBAL" if arg in GLOBALS:
                stack.append(_Global(arg))
            case "MARK":
                below.append(stack)
                stack = []
            case "TUPLE" | "APPENDS" | "SETITEMS":
                items, stack = stack, below.pop()
                stack += [tuple(items)] if op.name == "TUPLE" else []
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                n = int(op.name[-1])
                stack[-n:] = [tuple(stack[-n:])]
            case "APPEND" | "SETITEM":
                del stack[-1 if op.name == "APPEND" else -2 :]
            case "BINPUT" | "LONG_BINPUT":
                memo[arg] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(memo[arg])
            case "BINPERSID":
                stack.append(_storage(stack.pop(), records))
            case "REDUCE":
                args = stack.pop()
                stack[-1] = _called(stack[-1], args)
            case "BUILD" if stack[-2] is _Ordered:
                stack.pop()
            case _:
                what = arg.replace(" ", ".") if op.name == "GLOBAL" else op.name
                raise ValueError(f"forbidden in a checkpoint: {what}")


def _storage(pid: Any, records: dict[str, int]) -> _Storage:
    """The storage of a persistent id: ("storage", kind, key, device, items)."""
    match pid:
        case ("storage", _Global() as kind, str() as key, str(), int() as items):
            dtype = DTYPES.get(kind.removeprefix("torch "))
            if dtype is not None and items >= 0 and records.get(key) == items * dtype.itemsize:
                return _Storage(items)
    raise ValueError("a storage that has not the size of its record")


def _called(function: Any, args: Any) -> Any:
    """What stands for the result of one of the three functions, of arguments it is safe with."""
    match function, args:
        case _Global(), () if function == ORDERED:
            return _Ordered
        case _Global(), (_Storage(items), int(), tuple() as shape, tuple(), None, hooks) if (
            function == REBUILD and hooks is _Ordered and len(shape) <= MAX_DIMS
        ):
            if all(isinstance(n, int) and 0 <= n < 1 << 40 for n in shape):
                if math.prod(shape) > items:
                    raise ValueError("a tensor larger than its storage")
                return None
        case _Global(), (None, None, hooks) if function == PARAMETER and hooks is _Ordered:
            return None  # of a tensor; no argument tells true from false here
    raise ValueError("a call with unexpected arguments")


def _safetensors(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """(arch, tensors) of a safetensors file; the library checks every offset and length."""
    with reading(path), path.open("rb") as f:
        head = f.read(8)
    if len(head) < 8 or int.from_bytes(head, "little") > MAX_HEADER:
        raise _refusal(path, "no header of safetensors, or one too large")
    try:
        with safetensors.safe_open(path, "pt") as tensors:
            arch = (tensors.metadata() or {}).get("arch")
            return arch, {k: tensors.get_tensor(k) for k in tensors.keys()}  # noqa: SIM118, no dict
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise _refusal(path, e) from e
