"""Checkpoints are complete after every fault."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import safetensors
import torch

from engines.errors import BadData, CannotCreate, CannotOpen, WriteFailed
from tests.faults.helpers import disk
from tests.train.checkpoint.states import assert_same, only, small_state
from train.checkpoint.checkpoint import keep, load, match, newest, save, save_weights, weights
from train.checkpoint.safe_load import DTYPES
from train.networks import build

pytestmark = pytest.mark.timeout(300)  # every process imports torch


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    """Import torch's compiler before the tests: it sets environment variables."""
    torch.optim.AdamW([torch.zeros(1)])


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


def test_a_run_of_the_network_with_most_tensors_is_saved(tmp_path: Path) -> None:
    """The weights are one value each: what counts is how many there are, and their dimensions."""

    def one(like: torch.Tensor) -> torch.Tensor:
        return torch.ones((1,) * like.dim())

    with torch.device("meta"):
        net = build("lfm")
    state = {
        kind: {name: one(v) for name, v in net.state_dict(prefix=f"{kind}.").items()}
        for kind in ("net", "ema")
    } | {
        "optimiser": {
            i: {"step": torch.ones(()), "exp_avg": one(p), "exp_avg_sq": one(p)}
            for i, p in enumerate(net.parameters())
        }
    }
    save(tmp_path / "a.pt", state)
    assert_same(state, load(tmp_path / "a.pt"))


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
part = folder / "step-00000001.part.pt"
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
    """The file is whole after each of six kills, and half-written ones are ignored."""
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


def test_the_first_error_while_saving_is_the_one_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """torch reports a cut file where a signal handler told that a loading process died."""

    def interrupted(state: object, file: object) -> None:
        try:
            raise RuntimeError("DataLoader worker (pid 1) is killed by signal: Killed.")
        finally:
            raise RuntimeError("unexpected pos")

    monkeypatch.setattr(torch, "save", interrupted)
    with pytest.raises(RuntimeError, match="DataLoader worker"):
        save(tmp_path / "a.pt", {"step": 1})
    only(tmp_path)


def test_no_folder_to_save_in(tmp_path: Path) -> None:
    with pytest.raises(CannotCreate, match=r"a\.pt: cannot be created"):
        save(tmp_path / "none" / "a.pt", {})


# ---- the files of a run


def test_keep_leaves_the_newest_by_number_and_what_is_not_ours(tmp_path: Path) -> None:
    # Of different lengths, so that the order of the names is not that of the numbers.
    ours = [f"step-{n}.pt" for n in ("00000250", "00000500", "99999999", "100000000")]
    others = ["last.pt", "step-x.pt", "step-1.pt.txt", "astep-00000001.pt", "other.part"]
    for name in [*ours, *others, "step-00000750.part.pt", "step-00000750.pt.part"]:
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
    (tmp_path / "whole").rename(tmp_path / "step-00000100.part.pt")
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
