"""The door: a model file says what it is, and whatever says otherwise is refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines.cuda import has_driver
from engines.engine import open_engine
from engines.errors import BadData, CannotOpen, Unavailable, UsageError
from tests import graphs
from tests.conftest import Wsshm, one_error_line
from tests.engines.bad_models import FILES, fails_when_run


@pytest.mark.parametrize("make", FILES)
def test_bad_model_is_refused_by_name(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """At load or on one warm-up frame: bad data (65), one line, with the file in it."""
    path = make(tmp_path / "bad.onnx")
    with pytest.raises(BadData, match=r"bad\.onnx") as caught:
        open_engine(path)
    assert caught.value.exit_code == 65
    assert "\n" not in str(caught.value)


def test_missing_model_is_not_bad_data(tmp_path: Path) -> None:
    """No file, a folder: cannot be opened (66)."""
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(CannotOpen, match=path.name):
            open_engine(path)


def test_model_over_the_limit_is_refused_unread(tmp_path: Path) -> None:
    """A file of 300 MB (with a hole in it) is refused by its size."""
    path = tmp_path / "huge.onnx"
    with path.open("wb") as f:
        f.truncate(300 << 20)
    with pytest.raises(BadData, match=r"huge\.onnx.*300 MB"):
        open_engine(path)


def test_bad_model_ends_a_run_before_anything_is_written(
    wsshm: Wsshm, portrait: Path, tmp_path: Path
) -> None:
    """From the command line: 65, one line, no output and no part of one."""
    result = wsshm("run", portrait, "--model", fails_when_run(tmp_path / "bad.onnx"), "-o", "o.mp4")
    assert result.returncode == 65
    one_error_line(result, "bad.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["bad.onnx"]


# Good models


def test_engine_runs_where_it_says(brightness: Path) -> None:
    """It says the CPU, and alpha is what the graph computes."""
    engine = open_engine(brightness)
    assert (engine.name, engine.device) == ("onnx", "cpu")
    frames = np.random.default_rng(0).integers(0, 256, (3, 64, 96, 3), np.uint8)
    alpha = engine(frames)
    assert alpha.dtype == np.float32
    np.testing.assert_allclose(alpha, frames.mean(3) / 255, atol=1e-6)


def test_a_session_that_runs_elsewhere_is_refused(
    brightness: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ONNX Runtime tells where it runs; another place than was asked for is an error."""
    monkeypatch.setattr("onnxruntime.InferenceSession.get_providers", lambda self: ["Elsewhere"])
    with pytest.raises(Unavailable, match="asked ONNX Runtime for CPUExecutionProvider, got Else"):
        open_engine(brightness, "cpu")


def test_threads_do_not_change_alpha(brightness: Path) -> None:
    """1 and 2 threads of the network give the same matte."""
    frames = np.random.default_rng(1).integers(0, 256, (1, 64, 64, 3), np.uint8)
    one, two = (open_engine(brightness, threads=n)(frames) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_values_just_outside_are_rounding(tmp_path: Path) -> None:
    """1e-4 over 1 is a rounding error of the network, not damage."""
    frames = np.zeros((1, 32, 32, 3), np.uint8)
    for value in (1.0001, -0.0001):
        engine = open_engine(graphs.constant(tmp_path / "m.onnx", value))
        assert engine(frames).max() == pytest.approx(value, abs=1e-6)


def test_bad_values_are_caught_on_any_frame(tmp_path: Path) -> None:
    """A model that is well on black and not on white fails on the first white frame."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["y"], axes=[3], keepdims=0),
        h.make_node("Div", ["y", "little"], ["alpha"]),
    ]
    path = graphs.build(tmp_path / "bad.onnx", nodes, {"little": np.array([100], np.float32)})
    engine = open_engine(path)
    with pytest.raises(BadData, match=r"bad\.onnx.*\[0, 1\]"):
        engine(np.full((1, 32, 32, 3), 255, np.uint8))


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_cuda_is_refused_not_replaced(wsshm: Wsshm, portrait: Path, ones: Path) -> None:
    """What was asked for by name and is not there is an error (69), never a quiet CPU run."""
    for device in ("cuda", "cuda:0"):
        with pytest.raises(Unavailable, match="cuda"):
            open_engine(ones, device)
    with pytest.raises(Unavailable, match="NVIDIA driver"):
        open_engine(ones, engine="tensorrt")
    for device, name in (("quantum", "auto"), ("auto", "quantum"), ("cpu", "tensorrt")):
        with pytest.raises(UsageError, match=r"quantum|tensorrt"):
            open_engine(ones, device, engine=name)
    result = wsshm("run", portrait, "--model", ones, "--device", "cuda", "-o", "out.mp4")
    assert result.returncode == 69
    one_error_line(result, "cuda: no NVIDIA driver", "; run: ")
    result = wsshm("run", portrait, "--model", ones, "--engine", "tensorrt", "-o", "out.mp4")
    assert result.returncode == 69
    one_error_line(result, "cuda: no NVIDIA driver")


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_auto_takes_the_cpu_where_no_gpu_is(ones: Path) -> None:
    """Without a word where there is none; with the reason where there is one that is no use."""
    notes: list[str] = []
    assert open_engine(ones, say=notes.append).device == "cpu"
    assert notes == []


@pytest.mark.skipif(has_driver(), reason="an NVIDIA driver is installed")
def test_auto_says_why_a_gpu_is_not_used(ones: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("engines.cuda", "engines.engine"):
        monkeypatch.setattr(f"{module}.has_driver", lambda: True)
    notes: list[str] = []
    assert open_engine(ones, say=notes.append).device == "cpu"
    assert len(notes) == 1
    assert notes[0].startswith("the GPU is not used: cuda: ")
