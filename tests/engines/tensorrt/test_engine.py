"""TensorRT that is missing or of no use is one line."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from engines import cuda
from engines.errors import Unavailable, UsageError
from engines.tensorrt.build import build_plan
from engines.tensorrt.engine import import_tensorrt, open_tensorrt
from tests.engines.tensorrt.plans import has_tensorrt


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
