"""Files that a stranger could send for a checkpoint, by name in `HOSTILE`."""

from __future__ import annotations

import io
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch

from tests.train.checkpoint.states import small_state
from train.checkpoint.checkpoint import save


def zipped(path: Path, pickled: bytes, **records: bytes) -> None:
    """Write a file like torch's around any pickle; ``_0`` in `records` is ``data/0``."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", b"little")
        for key, value in records.items():
            archive.writestr(f"archive/data/{key[1:]}", value)


def text(s: str) -> bytes:
    return b"X" + struct.pack("<I", len(s)) + s.encode()


def number(n: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", n)


def tensor(items: int, shape: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """Return the opcodes of a float tensor over ``data/0``, which claims to hold `items` values."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += number(items) + b"tQ"
    rest = number(offset) + numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def state_of(value: bytes) -> bytes:
    """Return a pickle of ``{"a": value}``."""
    return b"\x80\x02}" + text("a") + value + b"s."


HOSTILE: dict[str, Callable[[Path, Path], None]] = {}


def hostile(make: Callable[[Path, Path], None]) -> Callable[[Path, Path], None]:
    HOSTILE[make.__name__] = make
    return make


@hostile
def reduce_call(path: Path, marker: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple:
            return Path.touch, (marker,)

    torch.save({"a": Evil()}, path)


@hostile
def reduce_call_in_a_bare_pickle(path: Path, marker: Path) -> None:
    path.write_bytes(b"cpathlib\nPath.touch\n(cpathlib\nPath\n(" + text(str(marker)) + b"tRtR.")


@hostile
def deflate_bomb(path: Path, _: Path) -> None:
    n = 50_000_000
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("archive/data.pkl", state_of(tensor(n, (n,), (1,))))
        archive.writestr("archive/version", b"3\n")
        with archive.open("archive/data/0", "w") as f:
            f.writelines(bytes(1_000_000) for _ in range(200))
    assert path.stat().st_size < 2_000_000


@hostile
def stride_bomb(path: Path, _: Path) -> None:
    torch.save({"a": torch.zeros(1).expand(100_000, 100_000)}, path)
    assert path.stat().st_size < 2000


@hostile
def truncated(path: Path, _: Path) -> None:
    save(path, small_state())
    path.write_bytes(path.read_bytes()[:5000])


@hostile
def wrong_magic(path: Path, _: Path) -> None:
    save(path, small_state())
    path.write_bytes(b"GIF8" + path.read_bytes()[4:])


@hostile
def nan_weights(path: Path, _: Path) -> None:
    state = small_state()
    state["ema"]["module.conv.weight"][1, 2, 0, 0] = torch.nan
    save(path, state)


@hostile
def infinite_weights(path: Path, _: Path) -> None:
    state = small_state()
    state["ema"]["module.bn.running_var"][3] = torch.inf
    save(path, state)


@hostile
def tar_with_dots(path: Path, marker: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo(f"../{marker.name}"), io.BytesIO())


@hostile
def tar_with_a_link(path: Path, marker: Path) -> None:
    with tarfile.open(path, "w") as tar:
        link = tarfile.TarInfo("storages")
        link.type, link.linkname = tarfile.SYMTYPE, str(marker.parent)
        tar.addfile(link)
        tar.addfile(tarfile.TarInfo(f"storages/{marker.name}"), io.BytesIO())


def with_entry(path: Path, name: str) -> None:
    zipped(path, state_of(b"N"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"")


@hostile
def absolute_path(path: Path, marker: Path) -> None:
    with_entry(path, str(marker))


@hostile
def path_with_dots(path: Path, marker: Path) -> None:
    with_entry(path, f"archive/../../{marker.name}")


@hostile
def a_compiled_program(path: Path, _: Path) -> None:
    with_entry(path, "archive/constants.pkl")


@hostile
def zip_bomb(path: Path, _: Path) -> None:
    """A thousand entries of 1 MB over the same bytes."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", state_of(b"N"))
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/data/0", bytes(1_000_000))
        first = archive.filelist[-1]
        for i in range(1, 1000):
            again = zipfile.ZipInfo(f"archive/data/{i}")
            for field in ("CRC", "compress_size", "file_size", "header_offset"):
                setattr(again, field, getattr(first, field))
            archive.filelist.append(again)


def many_entries(path: Path, n: int, claimed: int) -> None:
    """`n` entries, of which the last record owns to `claimed`."""
    local = struct.pack("<4s5H3I2H", b"PK\3\4", 20, 0, 0, 0, 33, 0, 0, 0, 14, 0) + b"archive/data/0"
    directory = b"".join(
        struct.pack("<4s6H3I5H2I", b"PK\1\2", 20, 20, 0, 0, 0, 33, 0, 0, 0, len(name), *[0] * 6)
        + name
        for name in (b"archive/data/%d" % i for i in range(n))
    )
    end = len(local) + len(directory)
    numbers = claimed, claimed, len(directory), len(local)
    path.write_bytes(
        local
        + directory
        + struct.pack("<4sQ2H2I4Q", b"PK\6\6", 44, 45, 45, 0, 0, *numbers)
        + struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
        + struct.pack("<4s4H2IH", b"PK\5\6", 0, 0, *[claimed & 0xFFFF] * 2, *numbers[2:], 0)
    )


@hostile
def a_million_entries(path: Path, _: Path) -> None:
    many_entries(path, 1_000_000, 1_000_000)


@hostile
def many_entries_denied(path: Path, _: Path) -> None:
    many_entries(path, 100_000, 5)


@hostile
def duplicate_names(path: Path, _: Path) -> None:
    zipped(path, state_of(b"N"), _0=b"1234", _1=b"5678")
    path.write_bytes(path.read_bytes().replace(b"archive/data/1", b"archive/data/0"))


@hostile
def bytearray_bomb(path: Path, _: Path) -> None:
    zipped(path, state_of(b"cbuiltins\nbytearray\n" + number(10**10) + b"\x85R"))


@hostile
def copies_bomb(path: Path, _: Path) -> None:
    """One list of 20,000 pairs, of which 5,000 dicts are made."""
    pairs = b"]q\0(" + b"N)\x86" * 20_000 + b"e"
    dicts = b"](" + b"ccollections\nOrderedDict\nh\0\x85R" * 5000 + b"e"
    zipped(path, b"\x80\x02}(" + text("a") + pairs + text("b") + dicts + b"u.")


def filled(opcodes: bytes, n: int) -> bytes:
    """Return a list of `n` objects of opcodes, which may refer to a tensor by ``h\0``, ``h\1``."""
    first = tensor(4, (4,), (1,)).replace(b"v2\n(", b"v2\nq\0(").replace(b")RtR", b")Rtq\1R")
    return state_of(b"](" + first + b"ccollections\nOrderedDict\nq\2" + opcodes * n + b"e")


@hostile
def as_many_dicts_as_fit(path: Path, _: Path) -> None:
    zipped(path, filled(b"h\2)R", 49_980), _0=bytes(16))


@hostile
def as_many_lists_as_fit(path: Path, _: Path) -> None:
    zipped(path, filled(b"]", 149_960), _0=bytes(16))


@hostile
def as_many_tensors_as_fit(path: Path, _: Path) -> None:
    zipped(path, filled(b"h\0h\1R", 49_980), _0=bytes(16))


@hostile
def more_lists_than_fit(path: Path, _: Path) -> None:
    zipped(path, filled(b"]", 1_000_000), _0=bytes(16))


@hostile
def storage_larger_than_its_record(path: Path, _: Path) -> None:
    """torch would read on in memory after the four bytes."""
    zipped(path, state_of(tensor(10**8, (10**8,), (1,))), _0=b"1234")


@hostile
def tensor_outside_its_storage(path: Path, _: Path) -> None:
    zipped(path, state_of(tensor(4, (4,), (1,), offset=10**8)), _0=bytes(16))


@hostile
def tensor_with_far_strides(path: Path, _: Path) -> None:
    zipped(path, state_of(tensor(4, (4,), (10**8,))), _0=bytes(16))


@hostile
def tensor_set_anew(path: Path, _: Path) -> None:
    zipped(path, state_of(tensor(4, (4,), (1,)) + b"N\x85b"), _0=bytes(16))


@hostile
def other_protocol(path: Path, _: Path) -> None:
    zipped(path, pickle.dumps({"step": 1}, protocol=5))


@hostile
def a_huge_pickle(path: Path, _: Path) -> None:
    zipped(path, state_of(b"](" + b"\x8f" * 20_000_000 + b"e"))
