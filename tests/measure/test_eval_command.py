"""`wsshm eval` as a user runs it: a real process on a small data set."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.conftest import Wsshm, one_error_line
from tests.measure import peer_graphs


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White people on black: brightness finds them. Two masks, two mattes, two cut-outs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    alpha = cv2.GaussianBlur(np.pad(np.full((40, 30), 255, np.uint8), 20), (0, 0), 2)
    folders = ("seg/a/images", "seg/a/masks", "seg/b/images", "seg/b/masks", "matte/c/images",
               "matte/c/alphas", "matte/d/rgba", "background")  # fmt: skip
    for folder in folders:
        (root / folder).mkdir(parents=True)
    for source, names in (("a", ("1", "2")), ("b", ("3",))):
        for name in names:
            cv2.imwrite(str(root / f"seg/{source}/images/{name}.png"), cv2.merge([alpha] * 3))
            mask = np.where(alpha > 127, 255, 0).astype(np.uint8)
            cv2.imwrite(str(root / f"seg/{source}/masks/{name}.png"), mask)
    for name in ("1", "2"):
        cv2.imwrite(str(root / f"matte/c/images/{name}.png"), cv2.merge([alpha] * 3))
        cv2.imwrite(str(root / f"matte/c/alphas/{name}.png"), alpha)
        white = np.full((*alpha.shape, 3), 255, np.uint8)
        cv2.imwrite(str(root / f"matte/d/rgba/{name}.png"), np.dstack([white, alpha]))
    for i in range(4):
        dark = rng.integers(0, 40, (50, 60, 3), np.uint8)
        cv2.imwrite(str(root / f"background/{i}.png"), dark)
    val = [p.relative_to(root).as_posix() for p in root.rglob("*.png") if "/masks/" not in str(p)]
    (root / "val.txt").write_text("\n".join(val))
    return root


@pytest.fixture(scope="module")
def green(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A white square moves before a green screen, three pictures."""
    path = tmp_path_factory.mktemp("green") / "square.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 96, 64
        stream.pix_fmt, stream.options = "yuv444p", {"qp": "0"}
        for x in (10, 20, 30):
            rgb = np.full((64, 96, 3), (69, 151, 104), np.uint8)
            rgb[20:50, x : x + 40] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())
    return path


def test_tables_json_and_sheet(
    wsshm: Wsshm, brightness: Path, zeros: Path, data: Path, green: Path, tmp_path: Path
) -> None:
    peer = peer_graphs.selfie(tmp_path / "peer.onnx")
    every = ("eval", brightness, zeros, peer, "--data", data, "--green", green)
    result = wsshm(*every, "--json", "--sheet", "sheet.png")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [m["name"] for m in found["models"]] == ["brightness", "zeros", "MediaPipe selfie"]
    assert [m["size"] for m in found["models"]] == [64, 64, None]
    sets = found["sets"]
    assert {k: v["pictures"] for k, v in sets.items()} == {
        "masks": 3, "mattes": 2, "composites": 6, "green": 3,
    }  # fmt: skip
    masks = sets["masks"]
    assert masks["mean_over_sources"]["brightness"]["iou"] > 0.95
    nobody = masks["mean_over_sources"]["zeros"]
    assert (nobody["iou"], nobody["iou_outside"]) == (0, 0)
    assert nobody["mad_outside"] > 0.1
    assert set(masks["sources"]["zeros"]) == {"a", "b"}
    fall = masks["differences_from_first"]["zeros"]["iou"]
    assert fall["low"] <= fall["value"] <= fall["high"] < -0.9
    assert set(sets["composites"]["sources"]["brightness"]) == {"d"}
    assert sets["composites"]["mean_over_sources"]["brightness"]["mad"] < 0.1
    assert sets["green"]["mean_over_sources"]["zeros"]["dtssd"] > 0.1
    assert sets["green"]["differences_from_first"]["zeros"]["mad"]["low"] is None
    assert len(sets["mattes"]["cases"]) == 6
    assert found["metrics"]["mse"] == {"shown_as": "MSE×10³", "factor": 1000.0,
                                       "where": "the whole picture"}  # fmt: skip

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (4 * 22 + 12 * 222, 3 * 800 + 2 * 12, 3)
    # The first block: brightness's worst mask. Its picture, truth and alpha look alike.
    panels = [sheet[44:244, x : x + 200].astype(int) for x in (0, 200, 400)]
    assert all(np.abs(p - panels[0]).mean() < 12 for p in panels)
    assert panels[0].max() == 255
    # Below it, the model that finds nobody: its composite is the plain colour.
    assert sheet[22 + 222 + 22 + 100, 700].tolist() == [150, 40, 150]
    assert not list(tmp_path.glob("*.part*"))

    table = wsshm(*every)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert "MASKS, val: 3 pictures of 2 sources" in lines
    for head in ("IoU", "MSE×10³", "MAD×10³", "SAD÷10³", "Grad÷10³", "Conn÷10³", "dtSSD×10²"):
        assert any(head in line.split() for line in lines), head
    iou = masks["mean_over_sources"]["brightness"]["iou"]
    after = lines[lines.index("masks, the whole picture") + 2]
    assert after.split() == ["brightness", f"{iou:.3f}"]
    mad = sets["mattes"]["mean_over_sources"]["zeros"]["mad"]
    row = next(x for x in lines[lines.index("mattes, the whole picture") :] if "  zeros " in x)
    assert row.split()[2] == f"{mad * 1000:.3f}" or row.split()[2] == f"{mad * 1000:.1f}"


def test_parts_of_the_data(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    def cases(*how: object) -> dict[str, list[str]]:
        result = wsshm("eval", brightness, "--data", data, "--json", *how)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)["sets"]
        return {k: [f"{c['source']}/{c['name']}" for c in v["cases"]] for k, v in found.items()}

    assert cases("--set", "masks", "--set", "mattes") == {
        "masks": ["a/1", "a/2", "b/3"], "mattes": ["c/1", "c/2"],
    }  # fmt: skip
    assert cases("--limit", 1, "--only", "[ac]/*") == {"masks": ["a/1"], "mattes": ["c/1"]}


def test_size_is_what_ours_sees(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    result = wsshm("eval", brightness, "--data", data, "--set", "masks", "--size", 128)
    assert "brightness sees 128 lines" in result.stdout


def test_data_is_found_where_training_finds_it(
    wsshm: Wsshm, brightness: Path, data: Path, green: Path, tmp_path: Path
) -> None:
    one_error_line(wsshm("eval", brightness), "$WSSHM_DATA", "seg/<set>/images")
    alone = wsshm("eval", brightness, "--green", green)
    assert alone.returncode == 0
    assert "GREEN, keyed clip: 3 pictures of 1 source" in alone.stdout
    (tmp_path / "data").symlink_to(data)
    assert wsshm("eval", brightness, "--set", "masks").returncode == 0


def test_a_set_that_is_not_there(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    only_masks = data / "seg"  # holds no seg/, matte/, background/ of its own
    nothing = wsshm("eval", brightness, "--data", only_masks)
    assert nothing.returncode == 2
    assert "composites: left out" in nothing.stderr
    one_error_line(nothing, "no val pictures")
    named = wsshm("eval", brightness, "--data", only_masks, "--set", "mattes")
    assert named.returncode == 65
    one_error_line(named, "--set mattes")


def test_errors_are_one_line(
    wsshm: Wsshm, brightness: Path, data: Path, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "there.png").write_bytes(b"kept")
    (tmp_path / "junk.pt").write_bytes(b"junk" * 100)
    ok = ("eval", brightness, "--data", data, "--set", "masks")
    for args, code, needle in (
        (("eval", "nosuch", "--data", data), 66, "nosuch"),
        (("eval", brightness, "--data", tmp_path / "no"), 66, "no such folder"),
        ((*ok, "--split", "other"), 2, "--split"),
        ((*ok, "--only", "z/*"), 2, "z/*"),
        ((*ok, "--sheet", "sheet.gif"), 2, ".png"),
        ((*ok, "--sheet", "there.png"), 73, "--overwrite"),
        ((*ok, "--sheet", "no/sheet.png"), 73, "folder"),
        (("eval", brightness, brightness, "--data", data), 2, "twice"),
        (("eval", brightness, "--green", portrait), 65, "no green screen"),
        (("eval", "junk.pt", "--data", data), 65, "junk.pt"),
    ):
        result = wsshm(*args)
        assert result.returncode == code, (args, result.stderr)
        assert one_error_line(result, needle)
        assert not result.stdout
    assert (tmp_path / "there.png").read_bytes() == b"kept"


def test_ctrl_c_ends_at_once(brightness: Path, data: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "data/seg/a" / kind).mkdir(parents=True)
        for i in range(1500):
            os.link(data / f"seg/a/{kind}/1.png", tmp_path / f"data/seg/a/{kind}/{i}.png")
    command = [sys.executable, "-m", "wsshm_cli", "eval", brightness, "--split", "train",
               "--sheet", "sheet.png"]  # fmt: skip
    with subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stderr is not None
        seen = ""
        while "masks:" not in seen and (letter := process.stderr.read(1)):
            seen += letter
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert not out
    assert "Traceback" not in err
    assert not (tmp_path / "sheet.png").exists()
