"""Plans: their shapes, their keys, the cache that holds them, and how they are judged.

What needs TensorRT itself and a GPU is at the end, and skipped without.
"""

from __future__ import annotations

import importlib.util
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engines import cuda
from engines.contract import ModelSpec
from engines.cuda import Gpu
from engines.errors import BadData, CannotOpen, Unavailable, UsageError
from engines.onnx_engine import OnnxEngine
from engines.preprocess import fit
from engines.tensorrt import plan as tensorrt_plan
from engines.tensorrt.build import TOLERANCES, Progress, build_plan, check, compare
from engines.tensorrt.engine import import_tensorrt, open_tensorrt
from engines.tensorrt.plan import Plan, Profile, find, key, load, profile, save
from tests import graphs

has_tensorrt = importlib.util.find_spec("tensorrt") is not None
with_tensorrt = pytest.mark.skipif(
    not (cuda.has_driver() and has_tensorrt), reason="no NVIDIA driver or no TensorRT here"
)
GPU = Gpu(0, "NVIDIA Test", "8.9", 58, 13000)
SPEC = ModelSpec("lite0", "lite0", stride=32, size=384, trained_sizes=(512,), precision="fp16")
GRAPH = b"an ONNX file"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(tensorrt_plan, "cache", lambda: tmp_path / "plans")
    return tmp_path / "plans"


def made(size: int | None = None, data: bytes = bytes(range(256)) * 40) -> Plan:
    return Plan(key(GRAPH, size, "11.4.0.106", GPU), SPEC, data, {"mean": 1e-4})


# Profiles


def test_profile_is_that_of_the_models_size() -> None:
    assert profile(SPEC) == Profile((1, 384, 384), (1, 384, 704), (1, 928, 928))
    assert profile(SPEC, 512).opt == (1, 512, 928)


@settings(deadline=None, max_examples=200)
@given(st.integers(64, 2160), st.sampled_from([8, 16, 32]), st.integers(2, 9000), st.floats(1, 2.4))
def test_profile_covers_every_common_aspect(size: int, stride: int, short: int, aspect: float):
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
    others = [replace(one, **{f.name: "other" if f.type == "str" else 7}) for f in fields(one)]
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
from tests.engines.tensorrt.test_tensorrt import made
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
        "from tests.engines.tensorrt.test_tensorrt import made\n"
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


# Judging a plan


def test_parity_is_the_difference_of_two_engines(ones: Path, zeros: Path) -> None:
    """Real engines of known difference, on every shape of a profile."""
    shapes = Profile((1, 64, 64), (1, 64, 96), (2, 128, 128))
    same = compare(OnnxEngine(ones), OnnxEngine(ones), shapes)
    assert same == {"mean": 0, "p99": 0, "max": 0}
    check(same, ones)
    other = compare(OnnxEngine(ones), OnnxEngine(zeros), shapes)
    assert other == {"mean": 1, "p99": 1, "max": 1}
    with pytest.raises(BadData, match=r"ones\.onnx.*differs.*not kept"):
        check(other, ones)


@pytest.mark.parametrize("name", TOLERANCES)
@pytest.mark.parametrize("value", [float("nan"), 0.9])
def test_each_figure_by_itself_refuses_a_plan(name: str, value: float) -> None:
    with pytest.raises(BadData, match=name):
        check(dict.fromkeys(TOLERANCES, 0.0) | {name: value}, Path("m.onnx"))


def test_progress_goes_from_0_to_1_through_phases_within_phases() -> None:
    seen: list[tuple[str, float]] = []
    tell = Progress(lambda phase, fraction: seen.append((phase, fraction)))
    tell("build", 0, 2)
    for step in range(2):
        tell("tactics", 0, 4)
        for inner in range(4):
            assert tell("tactics", inner + 1)
        tell("tactics", None)
        tell("build", step + 1)
    tell("build", None)
    fractions = [fraction for _, fraction in seen]
    assert {phase for phase, _ in seen} == {"build"}
    assert fractions[0] == 0
    assert fractions[-1] == 1
    assert all(0 <= f <= 1 for f in fractions)
    assert fractions.count(0.125) == 1


def test_interruption_cancels_a_build_and_is_kept_for_the_caller() -> None:
    """Nothing may be raised into TensorRT."""

    def interrupted(phase: str, fraction: float) -> None:
        raise KeyboardInterrupt

    tell = Progress(interrupted)
    assert not tell("build", 0, 2)
    assert not tell("build", 1)
    assert isinstance(tell.error, KeyboardInterrupt)


def test_progress_may_be_told_from_many_threads() -> None:
    seen: list[float] = []
    tell = Progress(lambda phase, fraction: seen.append(fraction))

    def phases(name: str) -> None:
        for _ in range(200):
            tell(name, 0, 3)
            tell(name, 2)
            tell(name, None)

    threads = [threading.Thread(target=phases, args=(str(i),)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tell.error is None
    assert all(0 <= f <= 1 for f in seen)


# What is missing


@pytest.mark.skipif(has_tensorrt, reason="TensorRT is installed")
def test_missing_tensorrt_is_said_with_what_mends_it() -> None:
    with pytest.raises(Unavailable, match=r"tensorrt.*pip install 'wsshm\[tensorrt\]'") as caught:
        import_tensorrt()
    assert caught.value.exit_code == 69


BROKEN = {
    "raise OSError('libnvinfer.so.11: cannot open shared object file')": "libnvinfer",
    "raise ImportError('libcudart.so.13: no such file\\nand more')": "libcudart",
    "__version__ = '8.6.1'": r"8\.6\.1 is installed, 10 or newer",
}


@pytest.mark.skipif(has_tensorrt, reason="TensorRT is installed")
@pytest.mark.parametrize("program", BROKEN)
def test_broken_or_old_tensorrt_is_said_in_one_line(
    program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tensorrt.py").write_text(program)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match=BROKEN[program]) as caught:
        import_tensorrt()
    sys.modules.pop("tensorrt", None)
    assert "\n" not in str(caught.value)
    assert "; run: pip install" in str(caught.value)


@pytest.mark.skipif(cuda.has_driver(), reason="an NVIDIA driver is installed")
def test_without_a_gpu_nothing_is_built_and_nothing_opened(ones: Path, cache: Path) -> None:
    for function in (open_tensorrt, build_plan):
        with pytest.raises(Unavailable, match="no NVIDIA driver"):
            function(ones)
        with pytest.raises(UsageError, match="quantum"):
            function(ones, "quantum")
    assert not cache.exists()


# On a GPU with TensorRT


@with_tensorrt
def test_plan_is_built_once_and_gives_the_alpha_of_the_cpu(tmp_path: Path, cache: Path) -> None:
    path = graphs.brightness(tmp_path / "m.onnx")
    with pytest.raises(Unavailable, match=r"no TensorRT plan.*wsshm export .*--to tensorrt"):
        open_tensorrt(path)
    seen: list[float] = []
    built = build_plan(path, on_progress=lambda phase, fraction: seen.append(fraction))
    assert built.is_new
    assert seen
    assert [*cache.iterdir()] == [built.path]
    assert not build_plan(path).is_new
    engine, cpu = open_tensorrt(path), OnnxEngine(path)
    assert (engine.name, engine.device, engine.spec) == ("tensorrt", "cuda:0", cpu.spec)
    rng = np.random.default_rng(0)
    for shape in [(1, 64, 128, 3), (1, 96, 64, 3), (3, 64, 64, 3), (1, 64, 128, 3)]:
        frames = rng.integers(0, 256, shape, np.uint8)
        np.testing.assert_allclose(engine(frames), cpu(frames), atol=1e-3)
    with pytest.raises(Unavailable, match="32x32"):
        engine(np.zeros((1, 32, 32, 3), np.uint8))


@with_tensorrt
def test_build_can_be_interrupted(tmp_path: Path, cache: Path) -> None:
    def interrupted(phase: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(graphs.convolutions(tmp_path / "m.onnx"), on_progress=interrupted)
    assert not cache.exists()


@with_tensorrt
def test_what_tensorrt_cannot_read_is_a_fault_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "junk.onnx").write_bytes(b"junk")
    with pytest.raises(BadData, match=r"junk\.onnx"):
        build_plan(tmp_path / "junk.onnx")
    with pytest.raises(CannotOpen, match=r"none\.onnx"):
        build_plan(tmp_path / "none.onnx")
    path = graphs.brightness(tmp_path / "int8.onnx")
    data = path.read_bytes().replace(b'"precision": "fp32"', b'"precision": "int8"')
    path.write_bytes(data)
    with pytest.raises(UsageError, match="is int8"):
        build_plan(path)
