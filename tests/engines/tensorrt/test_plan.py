"""Plans: their shapes, their keys, and the cache that holds them."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import UsageError
from engines.preprocess import fit
from engines.tensorrt import plan as tensorrt_plan
from engines.tensorrt.plan import Profile, find, load, profile, save
from tests.engines.tensorrt.plans import GPU, GRAPH, SPEC, made

# Profiles


def test_profile_is_that_of_the_models_size() -> None:
    assert profile(SPEC) == Profile((1, 384, 384), (1, 384, 704), (1, 928, 928))
    assert profile(SPEC, 512).opt == (1, 512, 928)


@settings(deadline=None, max_examples=200)
@given(st.integers(64, 2160), st.sampled_from([8, 16, 32]), st.integers(2, 9000), st.floats(1, 2.4))
def test_profile_covers_every_common_aspect(
    size: int, stride: int, short: int, aspect: float
) -> None:
    """Whatever `fit` makes of an image up to 2.4:1, lying or upright, is within the plan."""
    shapes = profile(replace(SPEC, stride=stride), size)
    for width, height in ((int(short * aspect), short), (short, int(short * aspect))):
        f = fit(width, height, size, stride)
        assert shapes.covers((1, f.padded_height, f.padded_width, 3))
    assert all(n % stride == 0 for s in (shapes.min, shapes.opt, shapes.max) for n in s[1:])
    assert shapes.covers(shapes.min)
    assert shapes.covers(shapes.opt)


def test_profile_does_not_cover_what_lies_outside() -> None:
    shapes = profile(SPEC)
    outside = (1, 352, 704), (1, 384, 960), (1, 960, 384), (tensorrt_plan.MAX_BATCH + 1, 384, 704)
    assert not any(shapes.covers(shape) for shape in outside)


@pytest.mark.parametrize("size", [1, 31, 8193])
def test_size_that_is_none_is_refused(size: int) -> None:
    with pytest.raises(UsageError, match=f"--size {size}"):
        profile(SPEC, size)


# Keys and the cache


def test_key_changes_with_everything_a_plan_depends_on() -> None:
    """Each field by itself, and the same fields give the same file again."""
    one = made().key
    changes: list[dict[str, Any]] = [
        {f.name: "other" if f.type == "str" else 7} for f in fields(one)
    ]
    others = [replace(one, **change) for change in changes]
    assert len({k.path for k in [one, *others]}) == 1 + len(fields(one))
    assert made().key.path == one.path


def test_plan_is_found_as_it_was_saved(cache: Path) -> None:
    plan = made()
    assert tensorrt_plan.is_empty()
    path = save(plan)
    assert not tensorrt_plan.is_empty()
    assert path.parent == cache
    assert load(plan.key) == plan
    assert list(cache.iterdir()) == [path]
    if os.name == "posix":
        assert (path.stat().st_mode & 0o777, cache.stat().st_mode & 0o777) == (0o600, 0o700)


def test_plan_is_found_by_the_size_it_is_for() -> None:
    """The model's own size is the same whether it is named or not."""
    save(made())
    save(made(512))
    for size, planned in ((None, None), (384, None), (512, 512)):
        plan = find(GRAPH, size, "11.4.0.106", GPU)
        assert plan is not None
        assert plan.key.size == planned
    assert find(GRAPH, 256, "11.4.0.106", GPU) is None
    assert find(b"another", None, "11.4.0.106", GPU) is None
    assert find(GRAPH, None, "10.16.1.11", GPU) is None
    assert find(GRAPH, None, "11.4.0.106", replace(GPU, driver=13010)) is None


def test_damaged_plan_is_as_none() -> None:
    """Any byte, and any length: found out, and made good by saving again."""
    plan = made()
    path = save(plan)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for place in (0, 5, len(whole) - 1, *rng.integers(0, len(whole), 40)):
        data = bytearray(whole)
        data[place] ^= 1 << int(rng.integers(0, 8))
        path.write_bytes(data)
        # What stands about a plan's parity is for a person to read, and not what is run.
        assert (found := load(plan.key)) is None or found.data == plan.data
    for length in (0, 1, whole.index(b"\n"), whole.index(b"\n") + 1, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert load(plan.key) is None
    for junk in (b"[]\n", b"null\n", b"{}\n" + whole, b"[" * 70_000, b"\xff\n"):
        path.write_bytes(junk)
        assert load(plan.key) is None
    save(plan)
    assert load(plan.key) == plan


def test_plan_under_the_name_of_another_is_as_none() -> None:
    """A file of a stranger's, or of another model, whatever it is called."""
    plan, other = made(), made(512)
    save(other)
    os.replace(other.key.path, plan.key.path)
    assert load(plan.key) is None


@pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")
def test_plan_that_others_could_have_written_is_as_none(cache: Path) -> None:
    plan = made()
    path = save(plan)
    for what, mode in ((path, 0o620), (path, 0o602), (cache, 0o770), (cache, 0o707)):
        before = what.stat().st_mode
        what.chmod(mode)
        assert load(plan.key) is None
        what.chmod(before)
    assert load(plan.key) == plan
    if os.getuid() == 0:
        os.chown(path, 12345, -1)
        assert load(plan.key) is None


SAVE = """
import sys
from pathlib import Path
from engines.tensorrt import plan as tensorrt_plan
from tests.engines.tensorrt.plans import made
tensorrt_plan.cache = lambda: Path(sys.argv[1])
print("ready", flush=True)
while True:
    for letter in b"ab":
        tensorrt_plan.save(made(data=bytes([letter]) * 30_000_000))
"""


def test_kill_while_saving_leaves_a_whole_plan(cache: Path) -> None:
    """The one before or the one after, and never half of one."""
    rng = np.random.default_rng(0)
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", SAVE, cache], stdout=subprocess.PIPE)
        with process:
            assert process.stdout
            process.stdout.readline()
            while load(made().key) is None:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.2))
            process.send_signal(signal.SIGKILL)
        plan = load(made().key)
        assert plan is not None
        assert plan.data in (b"a" * 30_000_000, b"b" * 30_000_000)


def test_full_disk_while_saving_keeps_what_was_there(cache: Path) -> None:
    """One line, and the plan before is as it was."""
    save(made())
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from engines.tensorrt import plan as tensorrt_plan\n"
        "from engines.errors import WsshmError\n"
        "from tests.engines.tensorrt.plans import made\n"
        "tensorrt_plan.cache = lambda: Path(sys.argv[1])\n"
        "try:\n    tensorrt_plan.save(made(data=bytes(10_000_000)))\n"
        "except WsshmError as e:\n    print(e)\n    sys.exit(e.exit_code)\n"
    )

    def lower() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    done = subprocess.run(
        [sys.executable, "-c", program, cache], capture_output=True, text=True, preexec_fn=lower
    )
    assert (done.returncode, done.stderr) == (74, "")
    assert "free some space" in done.stdout
    assert load(made().key) == made()
    assert list(cache.iterdir()) == [made().key.path]
