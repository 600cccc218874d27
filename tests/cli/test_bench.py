"""`wsshm bench` in a real process."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines import models
from engines.files import MAX_PIXELS
from tests import graphs
from tests.cli.helpers import WITHOUT_TRAINING, refuses, says
from tests.conftest import Wsshm, one_error_line
from tests.engines.measure.speed.processes import is_alive, until

MAX_SIDE = math.isqrt(MAX_PIXELS)


def test_clip_of_ones_own(wsshm: Wsshm, portrait: Path, zeros: Path) -> None:
    """Its size is what the network sees; no more of it is used than asked for."""
    result = wsshm(
        "bench",
        zeros,
        "--input",
        portrait,
        "--seconds",
        "0.2",
        "--repeats",
        2,
        "--end-to-end",
        "--json",
    )
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["model_only"] is None
    clip = found["end_to_end"]
    assert (clip["clip"], clip["width"], clip["height"]) == (str(portrait), 320, 240)
    assert (clip["background"], clip["runs"]) == ("blur", 2)
    assert clip["models"][0]["frames"] == 6
    assert found["models"][0]["input"] == [1, 64, 96, 3]


def test_shipped_model_alone_by_default(wsshm: Wsshm) -> None:
    result = wsshm(
        "bench",
        "--model-only",
        "--frames-size",
        "128x64",
        "--size",
        64,
        "--batch",
        2,
        "--seconds",
        "0.1",
        "--repeats",
        1,
    )
    assert result.returncode == 0, result.stderr
    assert f"{models.shipped()[0].path}, fp32, 64 lines (2x64x128x3)" in result.stdout
    assert "MODEL ALONE, batch 2: 1 round of 0.1 s each, in turn" in result.stdout
    assert "END TO END" not in result.stdout


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (
            ("nosuch",),
            66,
            "nosuch: no such file, and no shipped model (there are: default, fast, fine, r18x0.5)",
        ),
        (("junk.onnx",), 65, "junk.onnx: not a model ONNX Runtime can load"),
        (("--input", "no.mp4"), 66, "no.mp4: no such file"),
        (("--input", "junk.onnx"), 65, "junk.onnx: not a readable video"),
        (("--input", "there.png"), 2, "--input there.png: not a video"),
        (("--input", "no.mp4", "--frames-size", "64x64"), 2, "--frames-size"),
        (("--frames-size", "640x361"), 2, "--frames-size 640x361: write WxH, both even"),
        (("--frames-size", f"{MAX_SIDE + 2}x64"), 2, f"both even, from 64 to {MAX_SIDE}"),
        (("--bg", "transparent"), 2, "--bg transparent"),
        (("--bg", "no.jpg"), 66, "--bg no.jpg"),
        (("--plot", "there.png"), 73, "there.png: exists; add --overwrite"),
        (("--plot", "no/bars.png"), 73, "make the folder first"),
        (("--plot", "folder.png", "--overwrite"), 73, "folder.png: is a folder"),
        (("--plot", "bars.gif"), 2, "--plot bars.gif: must end in .png"),
        (("--paper", "--size", "256"), 2, "leave out --input"),
        (("--paper", "--end-to-end"), 2, "leave out --input"),
    ],
)
def test_errors_are_one_line(
    wsshm: Wsshm, tmp_path: Path, args: tuple[str, ...], code: int, says: str
) -> None:
    """They come before anything is measured."""
    (tmp_path / "junk.onnx").write_bytes(b"junk" * 100)
    (tmp_path / "folder.png").mkdir()
    cv2.imwrite(str(tmp_path / "there.png"), np.zeros((64, 64, 3), np.uint8))
    before = {p.name: p.stat().st_size for p in tmp_path.iterdir()}
    result = wsshm("bench", *args)
    assert result.returncode == code, result.stderr
    one_error_line(result, says)
    assert not result.stdout
    assert "rounds" not in result.stderr
    assert {p.name: p.stat().st_size for p in tmp_path.iterdir()} == before


def test_model_that_breaks_while_it_runs(wsshm: Wsshm, tmp_path: Path) -> None:
    """The engine's own check is at one size: at another this one fails."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("Mul", ["grey", "zero"], ["alpha"]),
    ]
    graphs.build(tmp_path / "n.onnx", nodes, {"zero": np.zeros((32, 32), np.float32)})
    result = wsshm("bench", "n.onnx", "--model-only", "--seconds", "0.1")
    assert result.returncode == 65
    one_error_line(result, "n.onnx: the model failed")


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("what", ["--model-only", "--end-to-end"])
def test_signals_leave_neither_processes_nor_files(
    signum: signal.Signals, what: str, portrait: Path, zeros: Path, tmp_path: Path
) -> None:
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "bench",
        zeros,
        what,
        "--input",
        portrait,
        "--seconds",
        "60",
        "--repeats",
        "100",
    ]
    with subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
        cwd=tmp_path,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        start_new_session=True,
    ) as process:
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        until(lambda: len(listed.read_text().split()) >= 2)  # Python's own tracker is the other
        children = list(map(int, listed.read_text().split()))
        if what == "--end-to-end":
            until(lambda: any(tmp_path.glob("wsshm*/out*")))
        assert any(tmp_path.glob("wsshm*"))
        if signum == signal.SIGINT:
            os.killpg(process.pid, signum)  # as a terminal does
        else:
            process.send_signal(signum)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 128 + signum
    assert not out
    assert "Traceback" not in err
    until(lambda: not any(map(is_alive, children)))
    assert not [*tmp_path.glob("wsshm*")]


def test_help(wsshm: Wsshm) -> None:
    says(wsshm("bench", "--help"), r"--end-to-end / --model-only")


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
    one_error_line(result, "--paper needs torch; run: pip install 'wsshm[train]'")


@pytest.mark.parametrize(
    ("args", "needle"),
    [
        (("--repeats", "0"), "--repeats"),
        (("--seconds", "0"), "--seconds"),
        (("--threads", "none"), "--threads"),
        (("--frames-size", "big"), "--frames-size big"),
    ],
)
def test_wrong_usage_is_2(wsshm: Wsshm, args: tuple[str, ...], needle: str) -> None:
    refuses(wsshm("bench", *args), needle)
