"""`wsshm doctor` on this machine, and where something is broken."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
import typer

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
    """Model and encoders are good; what is not there is not called good, and that is said."""
    checks, _, advice = wsshm("doctor").stdout.partition("All that wsshm run needs works.\n")
    lines = checks.splitlines()
    assert {x[:5] for x in lines} <= {"ok   ", "none "}
    assert not [x for x in lines if x.startswith("ok ") and ("no " in x or "not " in x)]
    for name in (*(f"model {m.name}" for m in shipped()), "encoder h264", "encoder vp9"):
        assert any(x.startswith(f"ok     {name}") for x in lines), name
    title, *ways = advice.strip("\n").split("\n\n")[-1].splitlines()
    assert title == "To make it faster:"
    assert ways[-1].startswith("  anywhere: --model fast")


Rows = list[tuple[str, bool | None, str, str]]


def ending(rows: Rows, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    monkeypatch.setattr(doctor, "_checks", lambda: rows)
    with pytest.raises(typer.Exit):
        doctor.doctor()
    return capsys.readouterr().out


def test_it_ends_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """First what is broken, beside it; at the end what is missing, and what would be faster."""
    rows: Rows = [
        ("av", False, "not installed", "run: pip install av"),
        ("cameras", None, "no camera", "plug one in"),
        ("hardware encoders", True, "h264_qsv", "use it"),
        ("GPU", None, "no driver", ""),
    ]
    assert ending(rows, monkeypatch, capsys).split("\n\n") == [
        "FAULT  av: not installed\n       → run: pip install av\nnone   cameras: no camera\n"
        "ok     hardware encoders: h264_qsv\nnone   GPU: no driver\n1 to fix",
        "To complete this machine:\n  cameras: plug one in",
        f"To make it faster:\n  hardware encoders: use it\n{doctor.ANYWHERE}\n",
    ]


def test_a_fault_is_shown_with_the_errors_own_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    def find_gpu() -> None:
        raise Unavailable("cuda: it is too old; much too old", "run: buy-another")

    monkeypatch.setattr("engines.cuda.has_driver", lambda: True)
    monkeypatch.setattr("engines.cuda.find_gpu", find_gpu)
    assert doctor._gpu_rows() == [
        ("GPU", False, "cuda: it is too old; much too old", "run: buy-another")
    ]
