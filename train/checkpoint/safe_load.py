"""Read untrusted files safely: no code runs, and no claimed size makes the reader allocate.

``weights_only=True`` stops code, not bombs: torch inflates what is deflated, believes the size that
a storage claims and calls ``bytearray(10**10)``. So `examine` checks all of that before it reads.

    zip file of STORED entries     bounded in number and size, no larger than the file
      data.pkl                     a pickle of tensors and plain values, followed by `_dry_run`
      data/0 …                     one storage each, of exactly the size it claims
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

import safetensors
import torch
from torch import Tensor

from engines.errors import BadData, reading

MAX_ENTRIES, MAX_DIRECTORY_BYTES = 65_000, 4 << 20  # of the zip file
MAX_PICKLE_BYTES, MAX_OPCODES = 2 << 20, 400_000  # the largest run has 690 kB and 165,000
MAX_HEADER_BYTES = 1 << 20  # of a safetensors file
MAX_SLACK_BYTES = 1_000_000  # by which the entries may exceed the file
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
PARAMETER = "torch._utils _rebuild_parameter"  # in some of torchvision's files
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
# One top folder of any name; in it the pickle, the storages, and small records of torch.
ENTRY_NAME = re.compile(
    r"(?P<top>[^/\\\x00-\x1f]+)/(data\.pkl|version|byteorder|data/\d+|\.[a-z]\w*(/\w+)?)", re.ASCII
)


def short(text: object) -> str:
    """Return the first line of `text`, printable and of readable length."""
    line = (str(text).splitlines() or [""])[0]
    return "".join(c if c.isprintable() else "?" for c in line[:160])


def refusal(path: Path, why: object) -> BadData:
    """Return the error for a file that is not read; `why` is a text or an error."""
    if isinstance(why, BaseException):
        why = str(why) or type(why).__name__
    return BadData(f"{path}: not a checkpoint of wsshm ({short(why)})")


def examine(f: BinaryIO) -> None:
    """Check everything in `f` that torch will believe.

    Raises:
        ValueError: it holds what `train.checkpoint.checkpoint.save` does not write; zipfile and
            pickletools raise other errors where it is malformed.
    """
    entries = _entries(f)
    sizes = {i.orig_filename.partition("/")[2]: i.file_size for i in entries}
    tops = {i.orig_filename.partition("/")[0] for i in entries}
    if len(sizes) != len(entries) or len(tops) > 1:
        raise ValueError("names occur twice")
    if sizes.get("data.pkl", MAX_PICKLE_BYTES + 1) > MAX_PICKLE_BYTES:
        raise ValueError("data.pkl is missing or too large")
    with zipfile.ZipFile(f) as archive:
        pickled = archive.read(f"{tops.pop()}/data.pkl")
    _dry_run(pickled, {k.removeprefix("data/"): n for k, n in sizes.items() if k[:5] == "data/"})


def _entries(f: BinaryIO) -> list[zipfile.ZipInfo]:
    """Return the entries of a zip file that all readers understand alike, uncompressed."""
    size = f.seek(0, os.SEEK_END)
    _check_end(f, size)
    with zipfile.ZipFile(f) as archive:
        entries = archive.infolist()
    for entry in entries:
        name = ENTRY_NAME.fullmatch(entry.orig_filename)
        if not name or name["top"] in (".", ".."):
            raise ValueError(f"an entry named {entry.orig_filename}")
        stored = entry.compress_type == zipfile.ZIP_STORED and not entry.flag_bits & 1
        if not stored or entry.compress_size != entry.file_size:
            raise ValueError(f"{entry.orig_filename} is compressed")
    if sum(e.file_size for e in entries) > size + MAX_SLACK_BYTES:
        raise ValueError("its entries are larger than the file")
    return entries


def _check_end(f: BinaryIO, size: int) -> None:
    """Bound the directory by the records at the very end of the file, before it is parsed.

    Readers differ in how they treat bytes after those records or between them: none are allowed.
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
    if count > MAX_ENTRIES or length > MAX_DIRECTORY_BYTES:
        raise ValueError(f"{count} entries, described in {length} bytes")


@dataclass(frozen=True)
class _Storage:
    """A storage whose record has exactly the size it claims."""

    items: int


class _Global(str):
    """The name of a function or class; its type tells it from the strings of the pickle."""

    __slots__ = ()


class _Ordered:
    """A stand-in for every OrderedDict."""


def _dry_run(pickled: bytes, records: dict[str, int]) -> None:
    """Execute the pickle on numbers, strings and tuples alone, calling nothing.

    Each storage must have the size of its record and each tensor no more values than its storage.

    Args:
        records: bytes of each storage, by its key.

    Raises:
        ValueError: it holds what `save` does not write; other errors where it is malformed.
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
    """Return the storage of a persistent id: ("storage", kind, key, device, items)."""
    match pid:
        case ("storage", _Global() as kind, str() as key, str(), int() as items):
            dtype = DTYPES.get(kind.removeprefix("torch "))
            if dtype is not None and items >= 0 and records.get(key) == items * dtype.itemsize:
                return _Storage(items)
    raise ValueError("a storage whose size is not that of its record")


def _called(function: Any, args: Any) -> Any:
    """Return a stand-in for the result of an allowed function, if its arguments are safe."""
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


def read_safetensors(path: Path) -> tuple[str | None, dict[str, Tensor]]:
    """Return the architecture and the tensors of a safetensors file.

    The library checks every offset and length, but not the size of the header.

    Raises:
        CannotOpen, BadData: not readable, or not such a file.
    """
    with reading(path), path.open("rb") as f:
        head = f.read(8)
    if len(head) < 8 or int.from_bytes(head, "little") > MAX_HEADER_BYTES:
        raise refusal(path, "no header of safetensors, or one too large")
    try:
        with safetensors.safe_open(path, "pt") as tensors:
            arch = (tensors.metadata() or {}).get("arch")
            return arch, {k: tensors.get_tensor(k) for k in tensors.keys()}  # noqa: SIM118, no dict
    except (safetensors.SafetensorError, ValueError, RuntimeError, KeyError, TypeError) as e:
        raise refusal(path, e) from e
