"""Too little memory: one line says so, whatever the limit."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from engines.errors import Unavailable, memory_error
from engines.machine import MIN_ADDRESS_SPACE
from tests.conftest import one_error_line
from tests.faults.helpers import command, parts


def limited(size: int, portrait: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """A run that may have `size` bytes of address space."""
    args = command("run", portrait, "-o", "out.mp4", "--duration", "0.5")
    limit = (resource.RLIMIT_AS, (size, size))
    return subprocess.run(
        args,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=50,
        preexec_fn=lambda: resource.setrlimit(*limit),
    )


@pytest.mark.parametrize("megabytes", [200, 500, 600, 1000])
def test_less_than_libraries_need(megabytes: int, portrait: Path, tmp_path: Path) -> None:
    """They would crash while they are loaded."""
    result = limited(megabytes << 20, portrait, tmp_path)
    one_error_line(result, "not enough memory", f"{megabytes} MB", "ulimit -v")
    assert result.returncode == 69
    assert not list(tmp_path.iterdir())


def test_just_above_that(portrait: Path, tmp_path: Path) -> None:
    """The run is done, or fails in one line and leaves nothing unfinished."""
    result = limited(MIN_ADDRESS_SPACE + (16 << 20), portrait, tmp_path)
    if result.returncode:
        one_error_line(result)
        assert not parts(tmp_path)


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("can't start new thread"),
        ImportError("libavcodec.so.62: failed to map segment from shared object"),
        RuntimeError("[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : std::bad_alloc"),
    ],
)
def test_errors_of_libraries(error: Exception) -> None:
    """Also as the cause of another error."""
    assert isinstance(memory_error(error), Unavailable)
    other = ValueError("the model failed")
    other.__cause__ = error
    assert isinstance(memory_error(other), Unavailable)


def test_other_errors() -> None:
    assert memory_error(ValueError("bad")) is None
    assert memory_error(None) is None
