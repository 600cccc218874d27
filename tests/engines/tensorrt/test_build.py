"""Plans are judged by their alpha. What needs TensorRT and a GPU is skipped without."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from engines.errors import BadData, CannotOpen, Unavailable, UsageError
from engines.onnx_engine import OnnxEngine
from engines.tensorrt.build import TOLERANCES, Progress, build_plan, check, compare
from engines.tensorrt.engine import open_tensorrt
from engines.tensorrt.plan import Profile
from tests import graphs
from tests.engines.tensorrt.plans import needs_tensorrt


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


@pytest.mark.gpu
@needs_tensorrt
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


@pytest.mark.gpu
@needs_tensorrt
def test_build_can_be_interrupted(tmp_path: Path, cache: Path) -> None:
    def interrupted(phase: str, fraction: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_plan(graphs.convolutions(tmp_path / "m.onnx"), on_progress=interrupted)
    assert not cache.exists()


@pytest.mark.gpu
@needs_tensorrt
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
