"""`wsshm eval` as a user runs it: a real process on a small data set."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from engines.measure.quality.cases import SETS
from engines.measure.quality.sets import Set
from tests.conftest import Wsshm, one_error_line
from tests.engines.measure.estimators import peer_graphs
from tests.media import grey_clip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White people on black: brightness finds them. Two masks, two mattes, two cut-outs."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    alpha = cv2.GaussianBlur(np.pad(np.full((40, 30), 255, np.uint8), 20), (0, 0), 2)
    folders = (
        "seg/a/images",
        "seg/a/masks",
        "seg/b/images",
        "seg/b/masks",
        "matte/c/images",
        "matte/c/alphas",
        "matte/d/rgba",
        "background",
    )
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
    """A white square moves before a green screen, three images."""
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


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """White beside a grey that dims by two steps from 102 on, five images."""
    images = [np.full((64, 96), 102 - 2 * i, np.uint8) for i in range(5)]
    for image in images:
        image[:, 48:] = 255
    return grey_clip(tmp_path_factory.mktemp("still") / "still.mp4", images)


def test_tables_json_and_sheet(
    wsshm: Wsshm,
    brightness: Path,
    zeros: Path,
    data: Path,
    green: Path,
    still: Path,
    tmp_path: Path,
) -> None:
    peer = peer_graphs.selfie(tmp_path / "peer.onnx")
    every = (
        "eval",
        brightness,
        zeros,
        peer,
        "--data",
        data,
        "--green",
        green,
        "--empty",
        f"{still}@2-4",
        "--static",
        still,
    )
    result = wsshm(*every, "--json", "--sheet", "sheet.png")
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert [m["name"] for m in found["models"]] == ["brightness", "zeros", "MediaPipe selfie"]
    assert [m["size"] for m in found["models"]] == [64, 64, None]
    sets = found["sets"]
    assert {k: v["images"] for k, v in sets.items()} == {
        "masks": 3,
        "mattes": 2,
        "composites": 6,
        "empty": 7,
        "green": 3,
        "static": 5,
    }
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
    empty = sets["empty"]
    assert set(empty["sources"]["zeros"]) == {"background", "still"}
    seen = empty["sources"]["brightness"]["still"]
    assert seen == {"mass": pytest.approx(0.5 + 48 / 255), "person": 0.5}
    less = empty["differences_from_first"]["zeros"]["mass"]
    assert less["low"] < less["value"] < less["high"] < -0.3
    for model in ("brightness", "MediaPipe selfie"):
        flicker = sets["static"]["mean_over_sources"][model]
        assert flicker["flicker"] == pytest.approx(1 / 255, rel=0.1)  # the peer sees it resized
        assert flicker["flicker_soft"] == pytest.approx(2 / 255, rel=0.1)
    assert sets["static"]["mean_over_sources"]["zeros"] == {"flicker": 0, "flicker_soft": None}
    assert "flicker" not in sets["static"]["cases"][0]
    assert len(sets["mattes"]["cases"]) == 6
    assert found["metrics"]["mse"] == {
        "shown_as": "MSE×10³",
        "factor": 1000.0,
        "where": "the whole image",
    }

    sheet = cv2.imread(str(tmp_path / "sheet.png"))
    assert sheet.shape == (6 * 22 + 18 * 222, 3 * 800 + 2 * 12, 3)
    # The first block: brightness's worst mask. Its image, truth and alpha look alike.
    panels = [sheet[44:244, x : x + 200].astype(int) for x in (0, 200, 400)]
    assert all(np.abs(p - panels[0]).mean() < 12 for p in panels)
    assert panels[0].max() == 255
    # Below it, the model that finds nobody: its composite is the plain colour.
    assert sheet[22 + 222 + 22 + 100, 700].tolist() == [150, 40, 150]
    # The last but two rows: still's worst for brightness; all of it is judged, white is a person.
    panels = sheet[-3 * 222 + 22 : -2 * 222, :800][100]
    assert panels[200:400].min() == 255
    assert panels[[510, 710]].tolist() == [[255, 255, 255]] * 2
    assert not list(tmp_path.glob("*.part*"))

    table = wsshm(*every)
    assert table.returncode == 0
    lines = table.stdout.splitlines()
    assert max(map(len, lines)) <= 100
    assert "MASKS, val: 3 images of 2 sources" in lines
    after = lines.index("EMPTY, val and clip: 7 images of 2 sources")
    assert lines[after + 2].split()[-2:] == ["mass×10³", "person×10³"]
    assert "STATIC, clip: 5 images of 1 source" in lines
    after = lines.index("mean over sources            flicker×10³    soft×10³")
    # A pair's mean over the half that is grey, and over all of what is neither 0 nor 1.
    assert lines[after + 1].split() == ["brightness", "3.922", "7.843"]
    assert lines[after + 2].split() == ["zeros", "0.000", "-"]
    for head in ("IoU", "MSE×10³", "MAD×10³", "SAD÷10³", "Grad÷10³", "Conn÷10³", "dtSSD×10²"):
        assert any(head in line.split() for line in lines), head
    iou = masks["mean_over_sources"]["brightness"]["iou"]
    cells = lines[lines.index("masks, the whole image") + 2]
    assert cells.split() == ["brightness", f"{iou:.3f}"]
    mad = sets["mattes"]["mean_over_sources"]["zeros"]["mad"]
    of_zeros = next(x for x in lines[lines.index("mattes, the whole image") :] if "  zeros " in x)
    assert of_zeros.split()[2] == f"{mad * 1000:.3f}" or of_zeros.split()[2] == f"{mad * 1000:.1f}"


def test_parts_of_the_data(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    def cases(*how: object) -> dict[str, list[str]]:
        result = wsshm("eval", brightness, "--data", data, "--json", *how)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)["sets"]
        return {k: [f"{c['source']}/{c['name']}" for c in v["cases"]] for k, v in found.items()}

    assert cases("--set", "masks", "--set", "mattes") == {
        "masks": ["a/1", "a/2", "b/3"],
        "mattes": ["c/1", "c/2"],
    }
    assert cases("--limit", 1, "--only", "[ac]/*") == {"masks": ["a/1"], "mattes": ["c/1"]}


def test_size_is_what_ours_sees(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    result = wsshm("eval", brightness, "--data", data, "--set", "masks", "--size", 128)
    assert "brightness sees 128 lines" in result.stdout


@pytest.mark.train
def test_clusters_are_methods_without_a_file(
    wsshm: Wsshm, portrait: Path, data: Path, still: Path
) -> None:
    names = ("kmeans", "kmeans:oracle", "gmm:k=3,lab,xy")
    result = wsshm("eval", *names, "--data", data, "--empty", still, "--json")
    assert result.returncode == 0, result.stderr
    assert "Warning" not in result.stderr
    found = json.loads(result.stdout)
    assert [m["name"] for m in found["models"]] == list(names)
    masks = found["sets"]["masks"]["mean_over_sources"]
    assert (masks["kmeans"]["iou"], masks["kmeans:oracle"]["iou"]) == (
        pytest.approx(1, abs=0.05),
        pytest.approx(1, abs=0.05),
    )
    assert found["sets"]["empty"]["sources"]["kmeans:oracle"]["still"]["mass"] == 0
    for args, code, needle in (
        (("eval", "kmeans:k=1", "--data", data), 2, "kmeans:k=1: k must be"),
        (("eval", "kmeans", "gmm:oracle", "--static", still), 2, "--static has none"),
        (("run", portrait, "--model", "kmeans", "-o", "out.mp4"), 66, "--model kmeans: no such"),
        (("bench", "gmm:k=3"), 66, "gmm:k=3: no such"),
    ):
        refused = wsshm(*args)
        assert refused.returncode == code, refused.stderr
        assert one_error_line(refused, needle)


def test_data_is_found_where_training_finds_it(
    wsshm: Wsshm, brightness: Path, data: Path, green: Path, tmp_path: Path
) -> None:
    one_error_line(wsshm("eval", brightness), "$WSSHM_DATA", "seg/<set>/images")
    alone = wsshm("eval", brightness, "--green", green)
    assert alone.returncode == 0
    assert "GREEN, keyed clip: 3 images of 1 source" in alone.stdout
    (tmp_path / "data").symlink_to(data)
    assert wsshm("eval", brightness, "--set", "masks").returncode == 0


def test_a_set_that_is_not_there(wsshm: Wsshm, brightness: Path, data: Path) -> None:
    only_masks = data / "seg"  # holds no seg/, matte/, background/ of its own
    nothing = wsshm("eval", brightness, "--data", only_masks)
    assert nothing.returncode == 2
    assert "composites: left out" in nothing.stderr
    one_error_line(nothing, "no val images")
    named = wsshm("eval", brightness, "--data", only_masks, "--set", "mattes")
    assert named.returncode == 65
    one_error_line(named, "--set mattes")


def test_parts_of_clips(wsshm: Wsshm, brightness: Path, still: Path) -> None:
    def cases(*how: object) -> dict[str, list[str]]:
        result = wsshm("eval", brightness, "--json", *how)
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)["sets"]
        return {k: [c["name"] for c in v["cases"]] for k, v in found.items()}

    assert cases("--empty", f"{still}@0-1", "--empty", f"{still}@4-4", "--static", still) == {
        "empty": ["00000", "00001", "00004"],
        "static": ["00000", "00001", "00002", "00003", "00004"],
    }
    # Read no further than is measured: it ends before image 9.
    assert cases("--static", f"{still}@1-9", "--limit", 2) == {"static": ["00001", "00002"]}
    both = cases("--empty", f"{still}@0-1", "--empty", f"{still}@3-4", "--limit", 3)
    assert both == {"empty": ["00000", "00001", "00003"]}


def test_the_sets_to_choose_from() -> None:
    assert [*Set] == [*SETS]


def test_errors_are_one_line(
    wsshm: Wsshm, brightness: Path, data: Path, portrait: Path, tmp_path: Path
) -> None:
    (tmp_path / "there.png").write_bytes(b"kept")
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
    ):
        result = wsshm(*args)
        assert result.returncode == code, (args, result.stderr)
        assert one_error_line(result, needle)
        assert not result.stdout
    assert (tmp_path / "there.png").read_bytes() == b"kept"


def test_clips_that_cannot_be_measured(
    wsshm: Wsshm, brightness: Path, still: Path, tmp_path: Path
) -> None:
    flash = grey_clip(tmp_path / "flash.mp4", [np.full((32, 48), v, np.uint8) for v in (0, 9, 3)])
    for args, code, needle in (
        (("--empty", "no.mp4"), 66, "no such file"),
        (("--empty", f"{still}@3-5"), 65, "it has 5"),
        (("--static", still, "--limit", 1), 2, "two images in a row"),
        (("--static", flash, "--sheet", "s.png"), 2, "stands still"),
    ):
        result = wsshm("eval", brightness, *args)
        assert result.returncode == code, (args, result.stderr)
        assert one_error_line(result, needle)
        assert not result.stdout


def test_images_to_train_on_are_measured_with_a_warning(
    wsshm: Wsshm, brightness: Path, data: Path, tmp_path: Path
) -> None:
    """Which others are not: without a list there are no images to measure, and that is said."""
    result = wsshm("eval", brightness, "--data", data, "--set", "masks")
    assert result.returncode == 0, result.stderr
    assert "warning" not in result.stderr
    shutil.copytree(data / "seg", tmp_path / "mine/seg")
    args = "eval", brightness, "--data", "mine"
    result = wsshm(*args)
    assert result.returncode == 2
    assert "list some in mine/val.txt, or use --split train" in result.stderr
    result = wsshm(*args, "--split", "train")
    assert result.returncode == 0, result.stderr
    assert "wsshm: warning: train images: " in result.stderr


def test_ctrl_c_ends_at_once(brightness: Path, data: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / "data/seg/a" / kind).mkdir(parents=True)
        for i in range(1500):
            os.link(data / f"seg/a/{kind}/1.png", tmp_path / f"data/seg/a/{kind}/{i}.png")
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "eval",
        brightness,
        "--split",
        "train",
        "--sheet",
        "sheet.png",
    ]
    with subprocess.Popen(
        list(map(str, command)),
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
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
