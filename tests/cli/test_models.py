"""`wsshm models`: list, show and verify."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.models import find
from tests.cli.helpers import says
from tests.conftest import Wsshm, one_error_line
from wsshm_cli import export


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        (("--help",), r"verify"),
        ((), r"default\tfp32 [\d.]+ MB"),
        (("list",), r"default\tfp32 [\d.]+ MB"),
        (("show",), r"(?i)licen[cs]e"),
        (("show", "fast"), r"# fast"),
        (("verify",), r"default: good"),
        (("verify", "fast"), r"fast: good"),
    ],
)
def test_harmless_commands_end_well(wsshm: Wsshm, args: tuple[str, ...], pattern: str) -> None:
    says(wsshm("models", *args), pattern)


def test_unknown_shipped_model_is_66(wsshm: Wsshm) -> None:
    """``models show`` and ``verify`` of a name that is not there name what is."""
    for command in ("show", "verify"):
        result = wsshm("models", command, "nothing")
        assert result.returncode == 66
        one_error_line(result, "nothing", "default, fast")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_fast_runs_at_its_own_size(wsshm: Wsshm, tmp_path: Path, precision: str) -> None:
    """Although it shares the files of `default`, which runs at 384 lines."""
    assert find("fast") == find("default")
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((576, 768, 3), np.uint8))
    for model, size in (("fast", "384x288"), ("default", "512x384")):
        result = wsshm(
            "run", "in.png", "--model", model, "--precision", precision, "-o", f"{model}.png"
        )
        assert result.returncode == 0, result.stderr
        first = result.stderr.splitlines()[0]
        assert first.startswith(f"{model} · onnx · cpu · {precision} · 768x576 seen at {size}")


def test_fast_is_measured_at_its_own_size(wsshm: Wsshm, tmp_path: Path) -> None:
    """By `eval` and `bench`, with and without a precision, beside the model that it shares with."""
    for folder in ("images", "masks"):
        (tmp_path / "seg/a" / folder).mkdir(parents=True)
        cv2.imwrite(str(tmp_path / f"seg/a/{folder}/1.png"), np.full((60, 80), 255, np.uint8))
    names = ["fast", "fast-int8", "default"]
    result = wsshm("eval", *names, "--data", tmp_path, "--split", "train", "--set", "masks")
    assert result.returncode == 0, result.stderr
    assert "fast sees 288 lines, fast-int8 sees 288 lines, default sees 384 lines" in result.stdout
    result = wsshm("bench", *names, "--model-only", "--seconds", "0.1", "--repeats", 1, "--json")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)["models"]
    assert [(m["name"], m["size"]) for m in found] == [
        ("fast", 288),
        ("fast-int8", 288),
        ("default", 384),
    ]


def test_a_plan_of_fast_is_built_for_its_own_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unless another size is asked for."""
    built: list[Any] = []
    monkeypatch.setattr(export, "_build", lambda *args: built.append(args[:2]))
    for name, size in (("fast", None), ("default", None), ("fast", 320)):
        export.export(Path(name), to="tensorrt", size=size)
    assert built == [(find("fast"), 288), (find("default"), None), (find("fast"), 320)]
