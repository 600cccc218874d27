"""Hostile files in place of a checkpoint do no harm."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from engines.errors import BadData
from tests.train.checkpoint.hostile import HOSTILE, state_of, zipped
from tests.train.checkpoint.states import small_state
from train.checkpoint import checkpoint
from train.checkpoint.checkpoint import load, save, save_weights, weights

pytestmark = pytest.mark.timeout(300)  # every process imports torch


@pytest.fixture(scope="module", autouse=True)
def _compiler() -> None:
    """Import torch's compiler before the tests: it sets environment variables."""
    torch.optim.AdamW([torch.zeros(1)])


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
