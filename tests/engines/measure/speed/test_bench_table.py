"""What `wsshm bench` says, as JSON, tables and bars."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from engines import machine
from engines.measure.speed import bench_table
from tests.engines.measure.estimators import peer_graphs
from tests.engines.measure.speed.test_bench_clip import STEPS


@pytest.fixture(scope="module")
def answer(
    brightness: Path, zeros: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Any], Path]:
    """What a script reads of two models and a peer, and the folder with the bars."""
    folder = tmp_path_factory.mktemp("bench")
    peer = peer_graphs.selfie(folder / "peer.onnx")
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "bench",
        brightness,
        zeros,
        brightness,
        peer,
        "--frames-size",
        "96x64",
        "--seconds",
        "0.1",
        "--repeats",
        "1",
        "--threads",
        "1",
        "--bg",
        "#00b140",
        "--json",
        "--plot",
        "bars.png",
    ]
    result = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=55, cwd=folder
    )
    assert result.returncode == 0, result.stderr
    assert "bars → bars.png" in result.stderr
    assert result.stdout.count("\n") == 1
    return json.loads(result.stdout), folder


def test_json_has_every_key(answer: tuple[dict[str, Any], Path], brightness: Path) -> None:
    found, _ = answer
    assert set(found) == {
        "cpu",
        "cores",
        "load",
        "platform",
        "versions",
        "threads",
        "models",
        "model_only",
        "end_to_end",
    }
    assert set(found["versions"]) == {"wsshm", "python", "onnxruntime", "av", "opencv"}
    assert found["cores"] == machine.cores()
    assert found["threads"] == 1
    first, _, again, peer = found["models"]
    assert first == {
        "name": "brightness",
        "file": str(brightness),
        "precision": "fp32",
        "size": 64,
        "input": [1, 64, 96, 3],
        "macs": 0,
        "parameters": 1,
    }
    assert again["name"] == "brightness (2)"
    assert (peer["name"], peer["size"], peer["input"]) == (
        "MediaPipe selfie",
        None,
        [1, 256, 256, 3],
    )
    alone, clip = found["model_only"], found["end_to_end"]
    how = {k: v for k, v in alone.items() if k != "models"}
    assert how == {"batch": 1, "rounds": 1, "seconds": 0.1, "paper": None}
    assert [m["name"] for m in alone["models"]] == [m["name"] for m in found["models"]]
    assert set(alone["models"][0]) == {
        "name",
        "frames",
        "p50_ms",
        "p95_ms",
        "p99_ms",
        "fps",
        "core_ms",
        "ratio",
        "peak_rss_mb",
    }
    how = {k: v for k, v in clip.items() if k != "models"}
    assert how == {
        "clip": "a clip that was made",
        "width": 96,
        "height": 64,
        "background": "#00b140",
        "encoder": "libx264 veryfast, crf 20",
        "runs": 1,
    }
    assert [m["name"] for m in clip["models"]] == [m["name"] for m in found["models"]]
    for m in clip["models"]:
        assert set(m) == {
            "name",
            "frames",
            "fps",
            "start_s",
            "core_ms",
            "work_ms",
            "wall_to_work",
            "slowest",
            "ratio",
            "peak_rss_mb",
            "steps",
        }
        assert m["frames"] == 3
        assert [s["name"] for s in m["steps"]] == STEPS
        assert set(m["steps"][0]) == {"name", "p50_ms", "p95_ms", "p99_ms", "core_ms"}


def test_table_has_the_same_figures(answer: tuple[dict[str, Any], Path]) -> None:
    found, _ = answer
    lines = "\n".join(bench_table.lines(found)).splitlines()
    for m in found["models"]:  # their files' names may be long
        shape = "x".join(map(str, m["input"]))
        assert any(m["file"] in x and x.endswith(f"({shape})") for x in lines)
    assert max(len(x) for x in lines if ".onnx" not in x) <= 100
    assert "MODEL ALONE, batch 1: 1 round of 0.1 s each, in turn" in lines
    after = lines.index(next(x for x in lines if x.startswith("ms of a frame")))
    heads = ["p50", "p95", "p99", "core-ms", "FPS", "×", "first"]
    assert lines[after].split() == ["ms", "of", "a", "frame", *heads]
    cells = lines[after + 2].split()
    m = found["model_only"]["models"][1]
    assert cells[0] == "zeros"
    assert float(cells[4]) == pytest.approx(m["core_ms"], rel=1e-2, abs=1e-3)
    assert float(cells[6]) == pytest.approx(m["ratio"], rel=1e-2, abs=1e-3)
    m = found["end_to_end"]["models"][0]
    after = lines.index(next(x for x in lines if x.startswith("brightness, ms of a frame")))
    rows = [x.split() for x in lines[after + 1 : after + 8]]
    assert [r[0] for r in rows] == [*STEPS, "all"]
    assert [r[0] for r in rows if r[-1] == "slowest"] == [m["slowest"]]
    assert float(rows[-1][1]) == pytest.approx(m["work_ms"], rel=1e-2, abs=1e-3)
    unknown = found["models"][0] | {"macs": None, "parameters": None}
    after = lines.index(next(x for x in lines if x.startswith("what it takes")))
    changed = [*bench_table.lines(found | {"models": [unknown, *found["models"][1:]]})]
    assert changed[after + 1].split()[:3] == ["brightness", "-", "-"]


def test_papers_figures_stand_beside_ours(answer: tuple[dict[str, Any], Path]) -> None:
    found, _ = answer
    alone = found["model_only"] | {"paper": bench_table.paper()}
    alone["models"] = [alone["models"][0] | {"name": "r18", "fps": 12.5}, *alone["models"][1:]]
    lines = [*bench_table.lines(found | {"model_only": alone})]
    after = lines.index(next(x for x in lines if x.startswith("FPS, 512x512")))
    assert lines[after + 1].split() == ["r18", "12.500", "222.2", "18.700"]
    assert lines[after + 2].split()[2:] == ["-", "-"]
    rows = 1 + 4 + 6 + 1 + 4 + 4 * (1 + len(STEPS))
    assert bench_table.chart(found | {"model_only": alone}).shape[0] == 22 * rows


def test_bars_are_as_long_as_their_values(answer: tuple[dict[str, Any], Path]) -> None:
    found, folder = answer
    bars = cv2.imread(str(folder / "bars.png"))[..., ::-1]
    assert bars.shape == (22 * (1 + 4 + 1 + 4 + 4 * (1 + len(STEPS))), 780, 3)
    fps = [m["fps"] for m in found["model_only"]["models"]]
    for i, value in enumerate(fps):
        row = bars[22 * (i + 1) + 11, bench_table.LABEL_WIDTH :]
        length = int((row == bench_table.BAR_RGB).all(-1).sum())
        assert length == pytest.approx(1 + 419 * value / max(fps), abs=1)
    assert sorted(p.name for p in folder.iterdir()) == ["bars.png", "peer.onnx"]
