"""The papers' tables: published figures, commands, and what is made of scores."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks.papers import __main__ as command_line
from benchmarks.papers import second
from benchmarks.papers.report import Column, Scores, change, figure, interval
from benchmarks.papers.scales import SCALES
from benchmarks.papers.speed import measure, speeds
from benchmarks.papers.tables import TABLE_6, TABLES, table_7
from benchmarks.papers.training import Training
from engines.measure.quality.evaluate import Row
from engines.measure.quality.table import as_json
from tests.conftest import REPOSITORY
from train.networks import build


class Named:
    """What the JSON of results wants to know of an estimator."""

    def __init__(self, name: str):
        self.name = name

    def reset(self) -> None:
        pass

    def __call__(self, rgb: Any) -> Any:
        return rgb


def scores(path: Path, errors: dict[str, float], found: float) -> Path:
    """Write what `wsshm eval --json` says of composites with these errors and masks found so."""
    rows = [
        Row(
            "m",
            "composites",
            "s",
            name,
            name,
            {"mse": e, "sad": 1.0, "mse_boundary": 2 * e} | {"sad_boundary": 1.0},
        )
        for name, e in errors.items()
    ]
    rows.append(Row("m", "masks", "s", "a", "a", {"iou": found, "mad_outside": 0.1}))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(rows, [Named("m")], "val")))
    return path


def papers(*args: object) -> subprocess.CompletedProcess[str]:
    """Run the command from the top of the tree, as a user does."""
    command = [sys.executable, "-m", "benchmarks.papers", *map(str, args)]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)


# ---- the tables as data


def trainings(scale: str) -> list[Training]:
    given = [
        t
        for table in TABLES.values()
        for r in table.rows(SCALES[scale])
        for t in (r.training, r.against)
        if t
    ]
    given += [r.model for r in second.rows(1) if isinstance(r.model, Training)]
    return [needed for t in given for needed in t.chain()]


@pytest.mark.parametrize("scale", SCALES)
def test_no_two_trainings_share_a_folder(scale: str) -> None:
    found = trainings(scale)
    assert len({t.name for t in found}) == len(set(found)) > 10


@pytest.mark.parametrize("scale", SCALES)
def test_rows_of_a_table_have_names_of_their_own(scale: str) -> None:
    for table in TABLES.values():
        labels = [r.label for r in table.rows(SCALES[scale])]
        assert len(set(labels)) == len(labels)


def test_the_grid_has_the_published_figures_in_their_cells() -> None:
    rows = {r.label: r.paper for r in table_7(SCALES["paper"])}
    assert len(rows) == 6 * 6 - 1
    assert all(len(figures) == 4 for figures in rows.values())
    # The one run that two tables of the paper have.
    whole, boundary = TABLE_6["r101"][1]
    ours = rows["10,000 masks, 200 mattes"]
    assert (ours["mse"], ours["mse_boundary"]) == (whole, boundary)
    assert rows["no masks, 2,000 mattes"]["sad"] == 86.223
    assert rows["50,000 masks, no mattes"]["mse"] == 6.493
    assert rows["50,000 masks, 2,000 mattes"]["sad_boundary"] == 9.301


def test_a_cell_without_masks_learns_none() -> None:
    grid = {r.label: r.training for r in table_7(SCALES["cpu"])}
    alone = grid["no masks, 20 mattes"]
    assert alone.init is None
    assert "--no-pretrain" in alone.switches
    both = grid["500 masks, 20 mattes"]
    assert [t.kind for t in both.chain()] == ["pretrain", "pretrain", "teacher", "student"]


# ---- figures


def test_an_interval_is_that_of_student() -> None:
    assert interval([1.0, 2.0, 3.0]) == pytest.approx(4.302653 / np.sqrt(3))
    assert np.isnan(interval([1.0]))
    assert figure([1.0, 2.0, 3.0]) == "2.00 ± 2.48"
    assert figure([1.234]) == "1.23"
    assert figure([]) == "–"


def test_a_change_is_of_the_same_images_and_seeds(tmp_path: Path) -> None:
    """Each image gets better by a third of what it had; the images themselves differ a lot."""
    before = {"a": 0.003, "b": 0.03, "c": 0.3}
    after = {name: e * 2 / 3 for name, e in before.items()}
    of = {
        label: Scores.read([scores(tmp_path / f"{label}{s}", errors, 0.5) for s in range(2)])
        for label, errors in (("before", before), ("after", after))
    }
    assert of["before"] is not None
    assert of["after"] is not None
    text = change(of["after"], of["before"], Column("composites", "mse"))
    assert text.startswith("-37.00 [-100.00, -1.00]")
    assert text.endswith("(-37.00, -37.00)")
    assert change(of["after"], of["before"], Column("masks", "iou")).startswith("+0.000")


# ---- the command


@pytest.fixture
def data(dataset: Path, tmp_path: Path) -> Path:
    """Data with a val image of each kind."""
    own = shutil.copytree(dataset, tmp_path / "data")
    shutil.copy(own / "matte/b/rgba/1.png", own / "matte/b/rgba/2.png")
    (own / "val.txt").write_text("seg/a/images/10.jpg\nmatte/b/rgba/2.png\nbackground/stars.jpg\n")
    return own


def test_speeds_are_taken_again_without_data_or_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Timed in an instant; what is written of it, and what was there before, is looked at."""

    def timed(out: Path, archs: list[str], seconds: float) -> None:
        alone = [{"name": a, "core_ms": 10.0 * i, "fps": 2.5} for i, a in enumerate(archs)]
        costs = [{"name": a, "macs": 3e9} for a in archs]
        found = {"cpu": "Z80", "threads": 1, "models": costs, "model_only": {"models": alone}}
        out.write_text(json.dumps(found | {"trainable": dict.fromkeys(archs, 1000), "gpu": {}}))

    monkeypatch.setattr(command_line, "measure", timed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["papers", "table1", "--only-speed", "--out", "out"])
    folder = tmp_path / "out/cpu"
    folder.mkdir(parents=True)
    (folder / "speed.json").write_text("{}")
    assert command_line.main() == 0
    lines = [line.split(" | ") for line in (folder / "speed.md").read_text().splitlines()]
    assert lines[0][4] == "FPS: Z80, 1 threads"
    assert lines[2][:5] == ["| SHM", "1,000", "3.0", "0", "2.50"]
    assert len(lines) == 2 + len(TABLES["table1"].rows(SCALES["cpu"]))
    assert sorted(p.name for p in folder.iterdir()) == ["speed.json", "speed.md"]


def test_a_table_without_speeds_has_none_to_take_again(tmp_path: Path) -> None:
    done = papers("table1", "table6", "--only-speed", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "table6: has no speeds to measure; --only-speed takes table1" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_table_is_written_of_what_is_there(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name, error in (("pretrain-mbv2-mall", 0.02), ("student-mbv2-mall-aall", 0.01)):
        scores(out / f"smoke/s0/{name}.json", {"a": error, "b": 2 * error}, 0.75)
    done = papers("table3", "--data", data, "--scale", "smoke", "--out", out, "--only-report")
    assert done.returncode == 0, done.stderr
    assert "$ " not in done.stdout
    lines = (out / "smoke/table3.md").read_text().splitlines()
    cells = {
        c[1].strip(): [x.strip() for x in c[2:-1]]
        for line in lines
        if len(c := line.split("|")) > 9
    }
    assert cells["teacher, masks alone"][0] == "30.00"
    assert cells["teacher, masks alone"][-2:] == ["6.676", "48.088"]
    assert cells["teacher, fine-tuned"][0] == "–"
    assert cells["student, ours"][4] == "0.750"
    plot = cv2.imread(str(out / "smoke/table3.png"))
    assert len(np.unique(plot.reshape(-1, 3), axis=0)) > 2

    # What was measured otherwise is not mixed in.
    about = json.loads((out / "smoke/about.json").read_text())
    (out / "smoke/about.json").write_text(json.dumps(about | {"size": 96}))
    done = papers("table3", "--data", data, "--scale", "smoke", "--out", out, "--only-report")
    assert done.returncode == 2
    assert "holds results of another size; take another --out" in done.stderr


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_table_is_trained_measured_and_not_repeated(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    command = ["table3", "table7", "--data", data, "--scale", "smoke", "--out", out]
    command += ["--device", "cpu", "--workers", 0, "--encoder-weights", "mbv2=none"]
    done = papers(*command)
    assert done.returncode == 0, done.stderr
    # table3: three trainings and scores; table7 adds a teacher without masks.
    assert done.stdout.count("$ wsshm_cli train") == 4
    assert done.stdout.count("$ wsshm_cli eval") == 4
    table = (out / "smoke/table7.md").read_text()
    assert table.count("\n| all masks") + table.count("\n| no masks") == 3

    # A student whose end is missing goes on from its checkpoint; nothing else is done again.
    student = out / "smoke/s0/student-mbv2-mall-aall"
    before = load_file(student / "model.safetensors")
    for path in (student / "model.onnx", student / "model.safetensors"):
        path.unlink()
    done = papers(*command)
    assert done.returncode == 0, done.stderr
    assert [line.split()[2:4] for line in done.stdout.splitlines() if line.startswith("$ ")] == [
        ["train", "student"]
    ]
    after = load_file(student / "model.safetensors")
    assert all(np.array_equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_clusters_and_the_network_with_trimaps_are_measured_alike(
    data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = ["second", "--data", data, "--scale", "smoke", "--out", out, "--device", "cpu"]
    done = papers(*command, "--workers", 0, "--encoder-weights", "dim-bn=none")
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ") for line in (out / "smoke/second.md").read_text().splitlines()]
    losses = {r[0][2:]: [float(x) for x in r[1:3]] for r in rows if len(r) == 6 and r[0] != "| "}
    assert len(losses) == 6
    assert all(0 < loss < 1 for both in losses.values() for loss in both)


@pytest.mark.long
@pytest.mark.timeout(600)
def test_speed_is_of_the_exported_network(tmp_path: Path) -> None:
    assert speeds(tmp_path / "none.json")["modnet"] == ["–", "–", "–", "–", "8.9", "101.7"]
    measure(tmp_path / "speed.json", ["r18x0.25"], 0.1)
    cells = dict(zip(*(speeds(tmp_path / "speed.json")[k] for k in ("", "r18x0.25")), strict=True))
    parameters = sum(p.numel() for p in build("r18x0.25").parameters())
    assert cells["parameters"] == f"{parameters:,}"
    assert float(cells["GMACs"]) > 1
    assert float(cells["core-ms"]) > 1
    assert cells["paper: V100"] == "–"
