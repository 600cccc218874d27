"""`wsshm run`: its options, its lines and its JSON; real processes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import WITHOUT_TRAINING, refuses
from tests.conftest import Wsshm, one_error_line
from tests.media import probe


def test_run_needs_nothing_of_training(portrait: Path, brightness: Path, tmp_path: Path) -> None:
    """With torch and the rest of ``[train]`` unimportable, a real clip runs through."""
    args = ["run", str(portrait), "--model", str(brightness), "-o", "out.mp4", "--duration", "0.5"]
    command = [sys.executable, "-c", WITHOUT_TRAINING, *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert probe(tmp_path / "out.mp4").frames == 15


@pytest.mark.parametrize(
    ("args", "needle"),
    [
        (("in.mp4", "--no-such-option"), "--no-such-option"),
        ((), "INPUT"),
        (("in.mp4", "--size", "many"), "--size"),
        (("in.mp4", "--size", "1"), "--size"),
        (("in.mp4", "--size", "9999"), "--size 9999"),
        (("in.mp4", "--size", "64", "--realtime"), "--size 64"),
        (("in.mp4", "--precision", "fp64"), "fp64"),
        (("in.mp4", "--crf", "good"), "--crf"),
        (("in.mp4", "--save", "everything"), "everything"),
        (("in.mp4", "--start", "soon"), "--start soon"),
        (("in.mp4", "--start=-1"), "--start -1"),
        (("in.mp4", "--duration", "0"), "--duration 0"),
        (("in.mp4", "--duration", "1:2:3:4"), "--duration 1:2:3:4"),
    ],
)
def test_wrong_usage_is_2(wsshm: Wsshm, args: tuple[str, ...], needle: str) -> None:
    """Before anything is opened, with the option in the message, on stderr."""
    refuses(wsshm("run", *args), needle)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--bg", "#12345"), "#rrggbb"),
        (("--bg", "blur:0"), "blur:N"),
        (("--bg-color", "#204060"), "not with blur"),
        (("--bg", "x.png", "--bg-color", "red"), "--bg-color red"),
        (("--bg", "blur:much"), "blur:N"),
        (("--bg", "#zz", "--save", "alpha", "--save", "composite"), "#rrggbb"),
        (("--bg", "#204060", "--save", "alpha"), "--bg #204060: needs --save composite"),
        (("--bg", "x.png", "--save", "foreground"), "--bg x.png: needs --save composite"),
        (("--save", "alpha", "--save", "alpha"), "twice"),
        (("-o", "out.xyz"), ".xyz"),
        (("-o", "out.png"), "folder"),
        (("-o", "out.mp4", "--bg", "transparent"), "folder"),
        (("-o", "out.webm", "--codec", "h264"), "cannot hold"),
        (("--crf", "60"), "--crf 60: h264 takes 0 to 51"),
        (("--precision", "int8"), "is fp32"),
    ],
)
def test_options_that_do_not_fit_are_2(
    wsshm: Wsshm, portrait: Path, ones: Path, tmp_path: Path, options: tuple[str, ...], says: str
) -> None:
    """One line, and nothing on disk."""
    out = () if "-o" in options else ("-o", "out.mp4")
    result = wsshm("run", portrait, "--model", ones, *out, *options)
    assert result.returncode == 2, result.stderr
    one_error_line(result, says)
    assert list(tmp_path.iterdir()) == []


def test_json_has_every_key(wsshm: Wsshm, portrait: Path, ones: Path, tmp_path: Path) -> None:
    """One object on one line of stdout; its numbers are those of the run."""
    result = wsshm("run", portrait, "--model", ones, "-o", "o.mp4", "--duration", "0.5", "--json")
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("\n") == 1
    data = json.loads(result.stdout)
    assert set(data) == {
        "model",
        "device",
        "precision",
        "size",
        "frames",
        "total",
        "seconds",
        "fps",
        "slowest",
        "busy",
        "dropped",
        "latency_ms",
        "nobody",
        "outputs",
        "left",
        "warnings",
        "error",
        "exit_code",
    }
    assert (data["dropped"], data["latency_ms"]) == (None, None)  # of a live source only
    network = [data[key] for key in ("model", "device", "precision", "size")]
    assert network == ["tiny", "cpu", "fp32", 64]
    assert data["frames"] == data["total"] == 15
    assert data["seconds"] > 0
    assert list(data["busy"]) == [
        "decode",
        "scale",
        "network",
        "postprocess",
        "composite",
        "encode",
    ]
    assert data["slowest"] in data["busy"]
    assert (data["outputs"], data["left"], data["warnings"]) == (["o.mp4"], [], [])
    assert (data["error"], data["exit_code"]) == (None, 0)
    # The process tells the same as the object, also when it goes wrong half-way.
    cut = tmp_path / "cut.mkv"
    clip = tmp_path / "whole.mkv"
    assert wsshm("run", portrait, "--model", ones, "-o", clip).returncode == 0
    cut.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    result = wsshm("run", cut, "--model", ones, "-o", "c.mp4", "--json")
    data = json.loads(result.stdout)
    assert result.returncode == data["exit_code"]
    assert data["warnings"]


def test_stdout_is_empty_without_json(wsshm: Wsshm, portrait: Path, ones: Path) -> None:
    """Lines for a person go to stderr: what runs, first, and the result, last."""
    result = wsshm("run", portrait, "--model", ones, "-o", "out.mp4", "--duration", "0.3")
    assert result.returncode == 0
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert lines[0].startswith("tiny · onnx · cpu · fp32 · 320x240 seen at ")
    assert re.match(r"9 frames in [\d.]+ s, [\d.]+ FPS, slowest stage \w+ → out\.mp4", lines[-1])


def test_minutes_and_hours_are_understood(wsshm: Wsshm, portrait: Path, ones: Path) -> None:
    """0:00:01.5 is a second and a half."""
    result = wsshm(
        "run",
        portrait,
        "--model",
        ones,
        "-o",
        "out.mp4",
        "--start",
        "0:00:01.5",
        "--duration",
        ".25",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] in (7, 8)
