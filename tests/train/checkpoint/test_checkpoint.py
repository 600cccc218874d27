"""Checkpoints: what is saved is there after every fault, and what strangers send does no harm."""

from __future__ import annotations

import io
import json
import pickle
import random
import resource
import struct
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from engines.errors import BadData, CannotCreate, CannotOpen, WriteFailed
from tests.faults.helpers import disk
from train.checkpoint import checkpoint
from train.checkpoint.checkpoint import (
    DTYPES,
    keep,
    load,
    match,
    newest,
    save,
    save_weights,
    weights,
)

pytestmark = pytest.mark.timeout(300)  # every process imports torch


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    """The first optimiser imports torch's compiler, which sets variables of the environment."""
    torch.optim.AdamW([torch.zeros(1)])


def small_state(step: int = 1) -> dict[str, Any]:
    """What a trainer keeps, of a network of one layer."""
    net = torch.nn.Sequential(
        OrderedDict(conv=torch.nn.Conv2d(3, 4, 3), bn=torch.nn.BatchNorm2d(4))
    )
    net.to(memory_format=torch.channels_last)
    average = torch.optim.swa_utils.AveragedModel(net)
    optimiser = torch.optim.AdamW(net.parameters())
    net(torch.zeros(1, 3, 5, 5)).sum().backward()
    optimiser.step()
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda _: 1.0)
    return {
        "arch": "r18x0.25",
        "step": step,
        "net": net.state_dict(),
        "ema": average.state_dict(),
        "optimiser": optimiser.state_dict(),
        "scheduler": scheduler.state_dict(),
        "rng": torch.get_rng_state(),
        "random": random.getstate(),
    }


def assert_same(a: Any, b: Any) -> None:
    if isinstance(a, torch.Tensor):
        assert a.dtype == b.dtype
        assert a.stride() == b.stride()
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert list(a) == list(b)
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            assert_same(x, y)
    else:
        assert a == b


def only(folder: Path, *names: str) -> None:
    """These files are in `folder` and no other."""
    assert sorted(p.name for p in folder.iterdir()) == sorted(names)


# ---- writing


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = small_state()
    shared = torch.arange(12.0).reshape(3, 4)
    state["shared"] = [shared, shared[1:], shared.t()]
    state["kinds"] = {n: torch.ones(3).to(dtype) for n, dtype in DTYPES.items()}
    state["empty"] = torch.zeros(0, 3)
    state["plain"] = {"a": None, "b": [1, -1, 2**70, 0.5, True, "é"], "c": (), "d": (1, (2,))}
    save(tmp_path / "a.pt", state)
    assert_same(state, load(tmp_path / "a.pt"))
    only(tmp_path, "a.pt")


def test_a_state_that_could_not_be_read_back_is_not_saved(tmp_path: Path) -> None:
    save(tmp_path / "a.pt", {"step": 1})
    with pytest.raises(TypeError, match=r"could not be read back.*set"):
        save(tmp_path / "a.pt", {"step": {2}})
    assert load(tmp_path / "a.pt") == {"step": 1}
    only(tmp_path, "a.pt")


KILL = """
import json, os, random, signal, sys, time
from pathlib import Path
import torch
from train.checkpoint import checkpoint

torch.set_num_threads(1)  # a fork has none of the threads its parent waits for
folder, parent, result = Path(sys.argv[1]), os.getpid(), []
path = folder / "step-00000001.pt"
part = folder / "step-00000001.pt.part"
for i in range(6):
    for old in (path, part):
        old.unlink(missing_ok=True)
    child, n = os.fork(), 0
    while not child and os.getppid() == parent:
        n += 1
        checkpoint.save(path, {"step": n, "values": [torch.full((2000,), n) for _ in range(500)]})
    while not path.exists():
        time.sleep(0.001)
    time.sleep(random.uniform(0, 0.2))
    while i % 2 and not part.exists():  # every other time in the middle of it for sure
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    cut = part.exists()
    found, state, skipped = checkpoint.newest(folder)
    whole = all((v == state["step"]).all() for v in state["values"])
    result.append([cut, found.name, bool(whole), skipped])
print(json.dumps(result))
"""


def test_killed_while_saving(tmp_path: Path) -> None:
    """The file is whole after each of six kills, and the half-written one beside it not taken."""
    done = subprocess.run(
        [sys.executable, "-c", KILL, tmp_path], capture_output=True, text=True, timeout=150
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert len(result) == 6
    for _, found, whole, skipped in result:
        assert (found, whole, skipped) == ("step-00000001.pt", True, [])
    assert any(cut for cut, *_ in result), "no kill came while a file was half written"


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def check_full(folder: Path) -> None:
    """Neither kind of file can grow to 4 MB in `folder`; what is there stays."""
    few, many = {"a": torch.ones(10)}, {"a": torch.ones(1_000_000)}
    save(folder / "a.pt", few)
    save_weights(folder / "a.safetensors", "x", few, {})
    with pytest.raises(WriteFailed, match=r"a\.pt: writing failed .*free some space") as error:
        save(folder / "a.pt", many)
    assert error.value.exit_code == 74
    with pytest.raises(WriteFailed, match=r"a\.safetensors: writing failed .*free some space"):
        save_weights(folder / "a.safetensors", "x", many, {})
    assert_same(few, load(folder / "a.pt"))
    assert_same(few, weights(folder / "a.safetensors")[1])
    only(folder, "a.pt", "a.safetensors")


def test_full_disk(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 1000) as folder:
        check_full(folder)


def test_file_size_limit(tmp_path: Path) -> None:
    with file_size_limit(1_000_000):
        check_full(tmp_path)


def test_no_folder_to_save_in(tmp_path: Path) -> None:
    with pytest.raises(CannotCreate, match=r"a\.pt: cannot be created"):
        save(tmp_path / "none" / "a.pt", {})


# ---- the files of a run


def test_keep_leaves_the_newest_by_number_and_what_is_not_ours(tmp_path: Path) -> None:
    # Of different lengths, so that the order of the names is not that of the numbers.
    ours = [f"step-{n}.pt" for n in ("00000250", "00000500", "99999999", "100000000")]
    others = ["last.pt", "step-x.pt", "step-1.pt.txt", "astep-00000001.pt", "other.part"]
    for name in [*ours, *others, "step-00000750.pt.part"]:
        (tmp_path / name).touch()
    keep(tmp_path, 2)
    only(tmp_path, *ours[2:], *others)
    keep(tmp_path, 5)
    only(tmp_path, *ours[2:], *others)


def test_newest_is_by_the_step_inside(tmp_path: Path) -> None:
    assert newest(tmp_path) is None
    for name, step in {"00000010": 5, "00000002": 9, "00000003": 7}.items():
        save(tmp_path / f"step-{name}.pt", {"step": step})
    save(tmp_path / "whole", {"step": 100})
    (tmp_path / "whole").rename(tmp_path / "step-00000100.pt.part")
    assert newest(tmp_path) == (tmp_path / "step-00000002.pt", {"step": 9}, [])


def test_newest_passes_over_what_is_damaged_and_says_so(tmp_path: Path) -> None:
    good, cut = tmp_path / "step-00000001.pt", tmp_path / "step-00000002.pt"
    for path in (good, cut):
        save(path, small_state(int(path.stem[-1])))
    cut.write_bytes(cut.read_bytes()[:-1000])
    save(tmp_path / "step-00000003.pt", {"no": "step"})
    found = newest(tmp_path)
    assert found is not None
    path, state, skipped = found
    assert (path, state["step"]) == (good, 1)
    assert [s.partition(" (")[0] for s in skipped] == [
        f"{tmp_path}/step-0000000{n}.pt: not a checkpoint of wsshm" for n in (2, 3)
    ]
    good.write_bytes(b"")
    with pytest.raises(BadData, match="every checkpoint is damaged"):
        newest(tmp_path)
    good.unlink()
    good.mkdir()
    with pytest.raises(CannotOpen, match="is a directory"):
        newest(tmp_path)


# ---- files of strangers


def zipped(path: Path, pickled: bytes, **records: bytes) -> None:
    """A file like torch's around any pickle; ``_0`` in `records` is ``data/0``."""
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
    """The opcodes of a float tensor over ``data/0``, which is said to hold `items` values."""

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu")
    storage += number(items) + b"tQ"
    rest = number(offset) + numbers(shape) + numbers(stride) + b"\x89ccollections\nOrderedDict\n)R"
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + rest + b"tR"


def state_of(value: bytes) -> bytes:
    """A pickle of ``{"a": value}``."""
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
            for _ in range(200):
                f.write(bytes(1_000_000))
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
    """A list of `n` objects of these opcodes, after those that ``h\0`` and ``h\1`` refer to."""
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


CORPUS = """
import json, re, sys, time
from pathlib import Path
from train.checkpoint import checkpoint

def status(field):
    text = Path("/proc/self/status").read_text()
    return int(re.search(rf"{field}:\\s+(\\d+) kB", text)[1]) / 1024

checkpoint.weights(Path(sys.argv[1]))
for path in map(Path, sys.argv[2:]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, began, error = status("VmRSS"), time.process_time(), None
    try:
        checkpoint.weights(path)
    except Exception as e:
        error = e
    took = time.process_time() - began
    more = status("VmHWM") - before
    print(json.dumps([path.stem, type(error).__name__, str(error), round(more, 1), round(took, 3)]))
"""


def test_files_of_strangers_do_no_harm(tmp_path: Path) -> None:
    """Each is refused in one line, runs nothing, and takes ≤ 100 MB and ≤ 2 s of the processor.

    Peaks are of /proc: ru_maxrss of a new process begins with that of the one that started it.
    """
    files, cwd = tmp_path / "files", tmp_path / "cwd"
    files.mkdir()
    cwd.mkdir()
    save(files / "good.pt", small_state())
    for name, make in HOSTILE.items():
        make(files / f"{name}.pt", tmp_path / "marker")
    paths = [files / f"{n}.pt" for n in ("good", *HOSTILE)]
    before = sorted(tmp_path.rglob("*"))
    done = subprocess.run(
        [sys.executable, "-c", CORPUS, *paths],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=150,
        env={"PYTHONPATH": str(Path(checkpoint.__file__).parents[2])},
    )
    print(done.stdout)
    assert done.returncode == 0, done.stderr
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert [r[0] for r in results] == list(HOSTILE)
    for name, kind, message, megabytes, seconds in results:
        assert kind == "BadData", (name, kind, message)
        assert message.startswith(f"{files}/{name}.pt: not a checkpoint of wsshm ("), message
        assert "\n" not in message
        assert len(message) < len(str(files)) + 300
        assert megabytes <= 100, (name, megabytes)
        assert seconds <= 2, (name, seconds)
    assert any(r[3] > 0 for r in results), "nothing was measured"
    assert sorted(tmp_path.rglob("*")) == before


def test_a_forbidden_global_is_named(tmp_path: Path) -> None:
    zipped(tmp_path / "a.pt", state_of(b"cos\nsystem\n"))
    with pytest.raises(BadData, match=r"a\.pt: .* \(forbidden in a checkpoint: os\.system\)$"):
        load(tmp_path / "a.pt")


def test_damage_anywhere_is_bad_data_or_no_harm(tmp_path: Path) -> None:
    """300 files with some bytes changed: refused or read, and nothing else."""
    path, rng, refused = tmp_path / "a.pt", random.Random(0), 0
    save(path, small_state())
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 10))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load(path)
        except BadData:
            refused += 1
    assert refused > 100


def test_missing_and_unreadable_files(tmp_path: Path) -> None:
    for name in ("a.pt", "a.safetensors"):
        with pytest.raises(CannotOpen, match="no such file"):
            weights(tmp_path / name)
        (tmp_path / name).mkdir()
        with pytest.raises(CannotOpen, match="is a directory"):
            weights(tmp_path / name)


# ---- weights


def test_weights_are_the_average_of_either_kind_of_file(tmp_path: Path) -> None:
    state = small_state()
    save(tmp_path / "a.pt", state)
    arch, average = weights(tmp_path / "a.pt")
    assert arch == "r18x0.25"
    assert list(average) == list(state["net"])
    for key, value in average.items():
        assert_same(value, state["ema"][f"module.{key}"])
    assert not average["conv.weight"].is_contiguous()

    save_weights(tmp_path / "a.safetensors", arch, average, {"licence": "free"})
    again_arch, again = weights(tmp_path / "a.safetensors")
    assert again_arch == arch
    assert again.keys() == average.keys()
    for key, value in average.items():
        assert again[key].dtype == value.dtype
        assert torch.equal(again[key], value)
    with safetensors.safe_open(tmp_path / "a.safetensors", "pt") as f:
        assert f.metadata() == {"arch": arch, "licence": "free"}
    only(tmp_path, "a.pt", "a.safetensors")


@pytest.mark.parametrize(
    "state",
    [
        {"ema": {"module.a": torch.ones(1)}},
        {"arch": "x"},
        {"arch": "x", "ema": {}},
        {"arch": "x", "ema": {"module.a": 1}},
        {"arch": "x", "ema": {"a": torch.ones(1)}},
        {"arch": 1, "ema": {"module.a": torch.ones(1)}},
    ],
)
def test_checkpoints_without_weights(state: dict[str, Any], tmp_path: Path) -> None:
    save(tmp_path / "a.pt", state)
    with pytest.raises(BadData, match=r"a\.pt: not a checkpoint of wsshm"):
        weights(tmp_path / "a.pt")


def test_header_attacks(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, "x", {"a": torch.ones(100)}, {})
    good = path.read_bytes()
    length, body = good[:8], good[8:]

    def header(text: str) -> bytes:
        return struct.pack("<Q", len(text)) + text.encode()

    def one(dtype: str, shape: list[int], end: int) -> bytes:
        entry = {"dtype": dtype, "shape": shape, "data_offsets": [0, end]}
        return header(json.dumps({"__metadata__": {"arch": "x"}, "a": entry})) + bytes(400)

    weights(path)
    path.write_bytes(one("F32", [100], 400))
    assert weights(path)[1]["a"].shape == (100,)
    attacks = {
        "empty": b"",
        "short": good[:5],
        "huge": struct.pack("<Q", 2**62) + body,
        "long": struct.pack("<Q", 50_000_000) + bytes(50_000_000),
        "cut": good[:-1],
        "cut in the header": good[:40],
        "longer": good + b"0",
        "past the end": struct.pack("<Q", len(good)) + body,
        "junk": length + bytes(len(body)),
        "no json": header("{" * 500),
        "beyond": one("F32", [101], 404),
        "too long": one("F32", [50], 400),
        "overflow": one("F32", [2**33, 2**33], 400),
        "kind": one("C64", [50], 400),
        "nan": one("F32", [100], 400)[:-4] + struct.pack("<f", float("nan")),
        "no arch": good.replace(b'"arch"', b'"arcs"'),
    }
    for name, data in attacks.items():
        path.write_bytes(data)
        with pytest.raises(BadData) as error:
            print(name, weights(path))
        assert str(error.value).startswith(f"{path}: not a checkpoint of wsshm ("), name
        assert "\n" not in str(error.value)


def test_match_names_the_first_five(tmp_path: Path) -> None:
    net = torch.nn.Sequential(*(torch.nn.Linear(2, 2) for _ in range(4)))
    good = {k: torch.full_like(v, 7) for k, v in net.state_dict().items()}
    before = {k: v.clone() for k, v in net.state_dict().items()}

    wrong = dict(good)
    del wrong["0.weight"], wrong["3.bias"]
    wrong["1.weight"], wrong["2.bias"] = torch.ones(2, 3), torch.ones(2, 1)
    wrong |= {"new": torch.ones(1), "newer": torch.ones(1), "newest": torch.ones(1)}
    with pytest.raises(BadData) as error:
        match(net, wrong, "file.pt")
    assert str(error.value) == (
        "file.pt: weights of another network (0.weight is missing; 3.bias is missing; "
        "1.weight is (2, 3), not (2, 2); 2.bias is (2, 1), not (2,); "
        "new is not in the network and 2 more)"
    )
    assert_same(before, dict(net.state_dict()))

    match(net, good, "file.pt")
    assert_same(good, dict(net.state_dict()))
