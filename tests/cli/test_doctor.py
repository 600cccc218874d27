"""`wsshm doctor` on this machine, and where something is broken."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from engines.errors import Unavailable
from engines.models import shipped
from tests.cli.helpers import says
from tests.conftest import Wsshm
from wsshm_cli import doctor


def test_it_ends_well_here(wsshm: Wsshm) -> None:
    says(wsshm("doctor"), r"ok +.*ONNX Runtime")


@pytest.mark.parametrize("broken", ["av", "cv2", "numpy"])
def test_doctor_outlives_what_it_looks_for(broken: str, wsshm: Wsshm, tmp_path: Path) -> None:
    """A package that cannot be loaded is a fault in the list, not the end of it."""
    (tmp_path / f"{broken}.py").write_text("raise ImportError('libGL.so.1: cannot open')")
    result = wsshm("doctor", env=os.environ | {"PYTHONPATH": str(tmp_path)})
    assert result.returncode != 70, result.stderr
    assert "Traceback" not in result.stderr
    assert re.search(r"FAULT.*libGL.so.1: cannot open", result.stdout), result.stdout


def test_doctor_finds_no_fault_here(wsshm: Wsshm) -> None:
    """Model and encoders are good; what is not there is not called good, and that is said last."""
    *lines, last = wsshm("doctor").stdout.splitlines()
    assert last == "All that wsshm run needs works."
    assert {x[:5] for x in lines} <= {"ok   ", "none ", "     "}
    assert not [x for x in lines if x.startswith("ok ") and ("no " in x or "not " in x)]
    for name in (*(f"model {m.name}" for m in shipped()), "encoder h264", "encoder vp9"):
        assert any(x.startswith(f"ok     {name}") for x in lines), name


def test_a_fault_is_shown_with_the_errors_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_gpu() -> None:
        raise Unavailable("cuda: it is too old; much too old", "run: buy-another")

    monkeypatch.setattr("engines.cuda.has_driver", lambda: True)
    monkeypatch.setattr("engines.cuda.find_gpu", find_gpu)
    assert doctor._gpu_rows() == [
        ("GPU", False, "cuda: it is too old; much too old", "run: buy-another")
    ]
