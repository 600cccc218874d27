"""What a user types, and what a script reads: real processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from engines.models import shipped
from tests.conftest import Wsshm, one_error_line
from tests.media import probe
from wsshm_cli import __version__

SCRIPT = Path(sys.executable).with_name("wsshm")
HEAVY = {"numpy", "av", "cv2", "onnxruntime", "torch", "torchvision", "tqdm", "train"}


def script(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed console script."""
    if not SCRIPT.exists():
        pytest.skip(f"needs the console script {SCRIPT}")
    command = [str(SCRIPT), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=cwd)


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("--version",), rf"^wsshm {re.escape(__version__)}$"),
        (("--help",), r"run +Put a person"),
        (("-h",), r"doctor"),
        (("run", "--help"), r"--bg"),
        (("--help",), r"bench +How fast"),
        (("bench", "--help"), r"--end-to-end / --model-only"),
        (("models", "--help"), r"verify"),
        (("models", "list"), r"default\tfp32 [\d.]+ MB"),
        (("models", "show"), r"(?i)licen[cs]e"),
        (("models", "show", "fast"), r"# fast"),
        (("models", "verify"), r"default: good"),
        (("models", "verify", "fast"), r"fast: good"),
        (("doctor",), r"ok +.*ONNX Runtime"),
    ],
)
def test_harmless_commands_end_well(wsshm: Wsshm, args: tuple[str, ...], says: str) -> None:
    """They exit 0, answer on stdout, and say nothing else."""
    result = wsshm(*args)
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(says, result.stdout, re.MULTILINE), result.stdout
    assert result.stderr == ""


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


@pytest.mark.parametrize(
    "args", [("--help",), ("run", "--help"), ("bench", "--help"), ("--version",)]
)
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    """Neither arrays nor codecs nor networks are loaded to print a page of text."""
    command = [sys.executable, "-X", "importtime", "-m", "wsshm_cli", *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0
    loaded = {line.rsplit("|", 1)[1].strip().split(".")[0] for line in result.stderr.splitlines()}
    assert "typer" in loaded
    assert not loaded & HEAVY


WITHOUT_TRAINING = """
import sys

BLOCKED = {"torch", "torchvision", "train", "onnx", "safetensors", "skimage"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is not part of a run", name=name)

sys.meta_path.insert(0, Refuse())
from wsshm_cli.__main__ import main
main()
"""


def test_run_needs_nothing_of_training(portrait: Path, brightness: Path, tmp_path: Path) -> None:
    """With torch and the rest of ``[train]`` unimportable, a real clip runs through."""
    args = ["run", str(portrait), "--model", str(brightness), "-o", "out.mp4", "--duration", "0.5"]
    command = [sys.executable, "-c", WITHOUT_TRAINING, *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert probe(tmp_path / "out.mp4").frames == 15


def test_bench_without_training(zeros: Path, tmp_path: Path) -> None:
    """Speeds need nothing of ``[train]``; costs are left out, and --paper says what it needs."""

    def bench(*args: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", WITHOUT_TRAINING, "bench", *map(str, args)]
        return subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=tmp_path)

    result = bench(zeros, "--model-only", "--seconds", "0.1", "--repeats", 1, "--json")
    assert result.returncode == 0, result.stderr
    assert "MACs and parameters are left out" in result.stderr
    assert "pip install 'wsshm[train]'" in result.stderr
    found = json.loads(result.stdout)
    assert (found["models"][0]["macs"], found["models"][0]["parameters"]) == (None, None)
    assert found["model_only"]["models"][0]["fps"] > 0
    result = bench("--paper")
    assert result.returncode == 69
    one_error_line(result, "--paper needs torch: pip install 'wsshm[train]'")


def test_modules_of_the_users_folder_are_not_imported(
    portrait: Path, ones: Path, tmp_path: Path
) -> None:
    """A train.py, an engines.py, an av.py where one happens to be do not get in the way."""
    for name in ("train.py", "engines.py", "av.py", "numpy.py", "wsshm_cli.py", "queue.py"):
        (tmp_path / name).write_text("raise SystemExit('a file of the user was run')\n")
    result = script(
        "run", portrait, "--model", ones, "-o", "o.mp4", "--duration", "0.2", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert probe(tmp_path / "o.mp4").frames == 6
    result = script("bench", ones, "--model-only", "--seconds", "0.1", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr  # nor in the processes that measure


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("run", "in.mp4", "--no-such-option"), "--no-such-option"),
        (("run",), "INPUT"),
        (("walk",), "walk"),
        (("run", "in.mp4", "--size", "many"), "--size"),
        (("run", "in.mp4", "--size", "1"), "--size"),
        (("run", "in.mp4", "--size", "9999"), "--size 9999"),
        (("run", "in.mp4", "--size", "64", "--realtime"), "--size 64"),
        (("run", "in.mp4", "--precision", "fp64"), "fp64"),
        (("run", "in.mp4", "--crf", "good"), "--crf"),
        (("run", "in.mp4", "--save", "everything"), "everything"),
        (("run", "in.mp4", "--start", "soon"), "--start soon"),
        (("run", "in.mp4", "--start=-1"), "--start -1"),
        (("run", "in.mp4", "--duration", "0"), "--duration 0"),
        (("run", "in.mp4", "--duration", "1:2:3:4"), "--duration 1:2:3:4"),
        (("bench", "--repeats", "0"), "--repeats"),
        (("bench", "--seconds", "0"), "--seconds"),
        (("bench", "--threads", "none"), "--threads"),
        (("bench", "--frames-size", "big"), "--frames-size big"),
    ],
)
def test_wrong_usage_is_2(wsshm: Wsshm, args: tuple[str, ...], says: str) -> None:
    """Before anything is opened, with the option in the message, on stderr."""
    result = wsshm(*args)
    assert result.returncode == 2, result.stderr
    assert says in result.stderr
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--bg", "#12345"), "#rrggbb"),
        (("--bg", "blur:0"), "blur:N"),
        (("--bg", "blur:much"), "blur:N"),
        (("--bg", "#zz", "--save", "alpha"), "#rrggbb"),
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


def test_completion_for_bash() -> None:
    """The script for the shell is printed, and completes a command."""
    command = [sys.executable, "-m", "wsshm_cli"]
    asked = {"_WSSHM_COMPLETE": "complete_bash", "COMP_WORDS": "wsshm mod", "COMP_CWORD": "1"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | asked
    )
    assert result.stdout.split() == ["models"]
    asked = {"_WSSHM_COMPLETE": "source_bash"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | asked
    )
    assert result.returncode == 0, result.stderr
    assert "complete" in result.stdout


def test_unknown_shipped_model_is_66(wsshm: Wsshm) -> None:
    """``models show`` and ``verify`` of a name that is not there name what is."""
    for command in ("show", "verify"):
        result = wsshm("models", command, "nothing")
        assert result.returncode == 66
        one_error_line(result, "nothing", "default, fast")
