"""A GPU that is not there is one line: what is missing, and the remedy. One that is, is used."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from engines import cuda, cuda_engine
from engines.cuda import Gpu, find_gpu
from engines.cuda_engine import CudaEngine
from engines.errors import BadData, CannotOpen, Unavailable, UsageError, WsshmError
from engines.onnx_engine import OnnxEngine
from tests import graphs

without_gpu = pytest.mark.skipif(cuda.has_driver(), reason="an NVIDIA driver is installed")
NO_GPU = Gpu(0, "none", "0.0", 0, 0)


def one_line(error: WsshmError, *needles: str) -> None:
    assert "\n" not in str(error)
    for needle in needles:
        assert needle in str(error)


@without_gpu
@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:7"])
def test_no_driver_is_said_with_what_mends_it(device: str, ones: Path) -> None:
    with pytest.raises(Unavailable) as caught:
        CudaEngine(ones, device)
    assert caught.value.exit_code == 69
    one_line(caught.value, f"{device}: no NVIDIA driver", "; run: ", "ubuntu-drivers")


@pytest.mark.parametrize("device", ["cpu", "cuda:", "cuda:x", "cuda:-1", "gpu", "cuda:1000", ""])
def test_what_is_no_gpu_is_a_fault_of_usage(device: str) -> None:
    with pytest.raises(UsageError, match="cuda:N"):
        find_gpu(device)


@without_gpu
def test_driver_that_cannot_serve_cuda_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """NVIDIA's own runtime, asked for real, where there is no driver that is new enough."""
    pytest.importorskip("cuda.bindings.runtime")
    monkeypatch.setattr(cuda, "has_driver", lambda: True)
    with pytest.raises(Unavailable) as caught:
        find_gpu()
    one_line(caught.value, "the NVIDIA driver is for CUDA ", "is needed; run: ")


def test_missing_bindings_are_said_with_what_mends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda, "has_driver", lambda: True)
    monkeypatch.setitem(sys.modules, "cuda.bindings", None)  # as if it were not installed
    with pytest.raises(Unavailable) as caught:
        find_gpu()
    one_line(caught.value, "cuda.bindings", "pip install 'wsshm[gpu]'")


@without_gpu
def test_fault_of_the_runtime_is_in_its_own_words() -> None:
    pytest.importorskip("cuda.bindings.runtime")
    with pytest.raises(Unavailable) as caught:
        NO_GPU.use()
    one_line(caught.value, "cuda: CUDA driver version is insufficient", "nvidia-smi")
    with pytest.raises(Unavailable, match="insufficient"):
        cuda.Buffers((1, 32, 32, 3))


@without_gpu
def test_onnx_runtime_never_falls_back_in_silence(
    ones: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """It opens a session on the CPU where CUDA's libraries are missing: refused, and nothing said.

    The library that is missing is named as the loader names it.
    """
    with pytest.raises(Unavailable) as caught:
        cuda_engine.open_session(ones, NO_GPU)
    one_line(caught.value, "cuda:0: ONNX Runtime cannot use it (", "pip install 'wsshm[gpu]'")
    assert any(x in str(caught.value) for x in (".so", ".dll", "without CUDA"))
    assert capfd.readouterr() == ("", "")


@without_gpu
def test_bad_file_is_a_fault_of_the_file(tmp_path: Path) -> None:
    """Not of the GPU, whatever its state."""
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 1000)
    with pytest.raises(BadData, match=r"junk\.onnx"):
        cuda_engine.open_session(tmp_path / "junk.onnx", NO_GPU)
    with pytest.raises(CannotOpen, match=r"none\.onnx"):
        cuda_engine.open_session(tmp_path / "none.onnx", NO_GPU)


def test_nothing_of_nvidias_is_imported_before_a_gpu_is_asked_for() -> None:
    program = (
        "import sys, engines.cuda_engine, engines.tensorrt.engine, engines.tensorrt.build\n"
        "print([m for m in sys.modules if m.partition('.')[0] in ('cuda', 'tensorrt')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("[]\n", "")


# On a GPU


@pytest.mark.gpu
def test_gpu_gives_the_alpha_of_the_cpu(tmp_path: Path) -> None:
    """In every shape, the first time, when its graph is captured, and when it is launched."""
    path = graphs.brightness(tmp_path / "m.onnx")
    gpu, cpu = CudaEngine(path), OnnxEngine(path)
    assert gpu.device == "cuda:0"
    rng = np.random.default_rng(0)
    shapes = [(n, 32 * h, 32 * w, 3) for n, h, w in [(1, 2, 3), (3, 1, 1), (1, 1, 4), (2, 3, 2)]]
    shapes += [(1, 32, 32 * w, 3) for w in range(5, 5 + cuda_engine.MAX_GRAPHS)]
    for shape in shapes * 3:
        frames = rng.integers(0, 256, shape, np.uint8)
        np.testing.assert_allclose(gpu(frames), cpu(frames), atol=1e-3)


@pytest.mark.gpu
def test_alpha_of_a_gpu_is_the_callers_to_keep(brightness: Path) -> None:
    engine = CudaEngine(brightness)
    black, white = (np.full((1, 64, 64, 3), v, np.uint8) for v in (0, 255))
    first = engine(black)
    engine(white)
    assert first.max() == 0


@pytest.mark.gpu
def test_gpu_is_used_from_another_thread_than_opened_it(brightness: Path) -> None:
    """As a pipeline does."""
    engine = CudaEngine(brightness)
    found: list[np.ndarray] = []
    frames = np.full((1, 64, 64, 3), 255, np.uint8)
    thread = threading.Thread(target=lambda: found.extend(engine(frames) for _ in range(3)))
    thread.start()
    thread.join()
    assert [float(alpha.min()) for alpha in found] == pytest.approx([1, 1, 1], abs=1e-3)


@pytest.mark.gpu
def test_values_outside_are_caught_on_a_gpu(tmp_path: Path) -> None:
    with pytest.raises(BadData, match=r"nan\.onnx.*\[0, 1\]"):
        CudaEngine(graphs.constant(tmp_path / "nan.onnx", float("nan")))
