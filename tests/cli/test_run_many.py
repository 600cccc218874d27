"""`wsshm run` of several inputs: what is done, said and returned; real processes."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import pytest

from engines.batch.inputs import Found
from engines.batch.local import run_local
from engines.batch.plan import make
from engines.batch.run import Batch
from engines.batch.work import Begins, Ended, Event, Work
from engines.errors import CannotCreate, UsageError
from engines.video.config import Encoding, RunConfig, Save
from engines.video.pipeline import Stop
from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import image, moving_clip, parts
from tests.media import noise_clip, probe
from wsshm_cli import parse
from wsshm_cli.run_many import _folder


@pytest.fixture
def shoot(tmp_path: Path) -> Path:
    """Two clips, an image, what is neither, a junk file, a cut clip, and one in a sub-folder."""
    folder = tmp_path / "shoot"
    (folder / "day1").mkdir(parents=True)
    moving_clip(folder / "a.mp4", 6)
    noise_clip(folder / "day1" / "c.mkv", 4, 64, 48)
    image(folder / "p.jpg")
    (folder / "junk.mp4").write_bytes(b"junk" * 100)
    (folder / "notes.txt").touch()
    cut = moving_clip(folder / "cut.m4v", 30, audio=False, muxing={"movflags": "faststart"})
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 2 // 3])
    return folder


def rows(stdout: str) -> dict[str, dict[str, Any]]:
    """The inputs of ``--json`` by name."""
    return {row["input"]: row for row in json.loads(stdout)["inputs"]}


def test_a_folder_of_everything(wsshm: Wsshm, shoot: Path, ones: Path, tmp_path: Path) -> None:
    """What can be done is, in its place; what cannot is named; a second call does nothing."""
    args = ["run", "shoot", "-r", "-o", "out", "--bg", "#204060", "--model", ones, "--json"]
    result = wsshm(*args, "--jobs", "2")
    assert result.returncode == 65, result.stderr
    assert "Traceback" not in result.stderr
    out = tmp_path / "out"
    assert probe(out / "a.mp4").frames == 6
    assert probe(out / "a.mp4").audio == probe(shoot / "a.mp4").audio
    assert probe(out / "day1" / "c.mp4").frames == 4
    assert cv2.imread(str(out / "p.png")).shape == (48, 64, 3)
    assert not (out / "junk.mp4").exists()
    assert 0 < probe(out / "cut.mp4").frames < 30
    assert not parts(tmp_path)

    data = json.loads(result.stdout)
    assert set(data) == {"folder", "seconds", "inputs", "error", "exit_code"}
    assert (data["folder"], data["exit_code"], data["error"]) == ("out", 65, None)
    found = rows(result.stdout)
    inputs = ["a.mp4", "cut.m4v", "junk.mp4", "p.jpg", "day1/c.mkv"]
    assert [*found] == [f"shoot/{name}" for name in inputs]
    states = [row["state"] for row in found.values()]
    assert states == ["done", "failed", "failed", "done", "done"]
    assert [row["exit_code"] for row in found.values()] == [0, 65, 65, 0, 0]
    first = found["shoot/a.mp4"]
    assert first["outputs"] == ["out/a.mp4"]
    assert first["summary"]["frames"] == 6

    errors = [x for x in result.stderr.splitlines() if x.startswith("wsshm: error: ")]
    assert len(errors) == 3
    assert any("shoot/junk.mp4: not a readable video" in x for x in errors)
    assert any("shoot/cut.m4v" in x and "frames written" in x for x in errors)
    assert errors[-1].startswith("wsshm: error: 2 of 5 failed: shoot/")
    assert "left out 1 file (notes.txt)" in result.stderr
    last = result.stderr.splitlines()[-1]
    assert last.startswith("3 done, 2 failed of 5 in ")
    assert last.endswith(" → out")
    for name in ("a.mp4: 6 frames in ", "p.jpg: 1 frame in ", "day1/c.mkv: 4 frames in "):
        assert f"\nshoot/{name}" in result.stderr

    before = {p: p.stat().st_mtime_ns for p in out.rglob("*")}
    result = wsshm(*args)
    assert result.returncode == 65
    assert {p: p.stat().st_mtime_ns for p in out.rglob("*")} == before
    again = rows(result.stdout)
    states = [row["state"] for row in again.values()]
    assert states == ["finished", "failed", "failed", "finished", "finished"]
    assert again["shoot/cut.m4v"]["error"] == found["shoot/cut.m4v"]["error"]
    last = result.stderr.splitlines()[-1]
    assert last.startswith("3 finished earlier, 2 failed of 5 in ")


def batch(config: RunConfig, *inputs: Path, folder: Path, jobs: int = 1) -> list[Event]:
    """Run a batch in this process, with its works in others."""
    found = [Found(path, Path(path.name)) for path in inputs]
    with Batch(partial(make, config, found, folder), folder, "1.0") as opened:
        return list(opened.run(partial(run_local, jobs=jobs), Stop()))


def test_outputs_are_those_of_one_run_each(
    wsshm: Wsshm, portrait: Path, brightness: Path, tmp_path: Path
) -> None:
    """To the bit, with several outputs and what a clip's options say."""
    options = ["--save", "alpha", "--save", "composite", "--start", "0.5", "--duration", "0.2"]
    args = ["run", portrait, "--model", brightness, "--bg", "#204060", *options]
    assert wsshm(*args, "-o", "one.mp4").returncode == 0
    from engines.video.config import Clip

    config = RunConfig(
        Path(),
        background="#204060",
        model=str(brightness),
        save=(Save.alpha, Save.composite),
        clip=Clip(Fraction(1, 2), Fraction(1, 5)),
    )
    batch(config, portrait, folder=tmp_path / "out")
    for one, many in [("one.mp4", "portrait.mp4"), ("one_wsshm.mp4", "portrait_wsshm.mp4")]:
        assert (tmp_path / "out" / many).read_bytes() == (tmp_path / one).read_bytes()


def test_what_every_input_would_fail_of_ends_the_batch(portrait: Path, tmp_path: Path) -> None:
    """A model that cannot be opened is named once."""
    (tmp_path / "m.onnx").write_bytes(b"junk")
    other = tmp_path / "b.mp4"
    shutil.copy(portrait, other)
    config = RunConfig(Path(), background="#204060", model=str(tmp_path / "m.onnx"))
    events = batch(config, portrait, other, folder=tmp_path / "out")
    ended = [e.result for e in events if isinstance(e, Ended)]
    assert [r.exit_code for r in ended] == [65]
    assert "m.onnx" in ended[0].error


def test_a_folder_that_cannot_be_made_stops_no_other_input(
    portrait: Path, ones: Path, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "day1").touch()
    config = RunConfig(Path(), background="#204060", model=str(ones))
    found = [Found(portrait, Path("day1/a.mp4")), Found(portrait, Path("b.mp4"))]
    with Batch(partial(make, config, found, tmp_path / "out"), tmp_path / "out", "1.0") as opened:
        events = list(opened.run(run_local, Stop()))
    assert [e.result.exit_code for e in events if isinstance(e, Ended)] == [73, 0]


def test_what_a_work_has_not_written_is_not_ours(
    portrait: Path, ones: Path, tmp_path: Path
) -> None:
    """A file that appears meanwhile, or was there, is not replaced by the next call unasked."""
    config = RunConfig(Path(), background="#204060", model=str(ones))
    found, output = [Found(portrait, Path("a.mp4"))], tmp_path / "out" / "a.mp4"

    def appears(works: Sequence[Work], stop: Stop) -> Iterator[Event]:
        yield Begins(works[0])
        output.write_bytes(b"of somebody else")
        yield from run_local(works, stop)

    with Batch(partial(make, config, found, tmp_path / "out"), tmp_path / "out", "1.0") as opened:
        ended = [e for e in opened.run(appears, Stop()) if isinstance(e, Ended)]
    assert ended[0].result.exit_code == 73
    with pytest.raises(CannotCreate, match="1 file of these names already"):
        Batch(partial(make, config, found, tmp_path / "out"), tmp_path / "out", "1.0")
    assert output.read_bytes() == b"of somebody else"


def test_a_folder_has_one_batch_at_a_time(portrait: Path, ones: Path, tmp_path: Path) -> None:
    config = RunConfig(Path(), background="#204060", model=str(ones))
    found = [Found(portrait, Path("a.mp4"))]
    with (
        Batch(partial(make, config, found, tmp_path / "out"), tmp_path / "out", "1.0"),
        pytest.raises(CannotCreate, match="out: another run is writing it"),
    ):
        Batch(partial(make, config, found, tmp_path / "out"), tmp_path / "out", "1.0")
    assert not (tmp_path / "out").exists()  # nothing was done, nothing is left


CONFIG = RunConfig(Path(), Path("out/"))


@pytest.mark.parametrize(
    ("config", "texts", "says"),
    [
        (CONFIG, ["a.mp4", "-"], "stdin: only files"),
        (CONFIG, ["rtsp://me:secret@x/y", "a.mp4"], "rtsp://x/y: only files"),
        (RunConfig(Path(), CONFIG.output, fps=Fraction(25)), ["a", "b"], "--fps"),
        (RunConfig(Path(), CONFIG.output, reconnect=True), ["a", "b"], "--reconnect"),
        (RunConfig(Path(), CONFIG.output, virtual_camera=True), ["a", "b"], "--virtual-cam"),
        (RunConfig(Path(), CONFIG.output, preview=True), ["a", "b"], "--preview"),
        (RunConfig(Path(), CONFIG.output, encoding=Encoding(format="mkv")), ["a", "b"], "--format"),
        (RunConfig(Path(), Path("-")), ["a", "b"], "-o -"),
        (RunConfig(Path(), Path("out.mp4")), ["a", "b"], "write -o out/"),
        (RunConfig(Path()), ["a", "b"], "add -o FOLDER/"),
        (RunConfig(Path()), [__file__], "add -o FOLDER/"),
    ],
)
def test_what_several_inputs_cannot_go_with(config: RunConfig, texts: list[str], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        _folder(config, texts)


def test_folders_without_a_name_for_the_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for a folder of images: beside it."""
    (tmp_path / "takes").mkdir()
    monkeypatch.chdir(tmp_path / "takes")
    for text in (".", "*.mp4"):
        assert _folder(RunConfig(Path()), [text]) == tmp_path / "takes_wsshm"
    monkeypatch.chdir(tmp_path)
    for text in ("takes", "takes/", "takes/*.mp4", "takes/**/*.mp4", "takes/day?/a.mp4"):
        assert _folder(RunConfig(Path()), [text]) == Path("takes_wsshm")


def test_an_empty_input_is_not_the_folder_we_are_in() -> None:
    """As an unset variable of a shell makes it."""
    for texts in ([""], ["a.mp4", ""]):
        with pytest.raises(UsageError, match="an INPUT is empty"):
            parse.source(texts, False, None)


@pytest.mark.parametrize(
    ("inputs", "option"),
    [(["-"], "--jobs 2"), (["--webcam"], "--cluster local"), (["udp://@:1"], "--cluster a:1")],
)
def test_live_inputs_stay_out(wsshm: Wsshm, inputs: list[str], option: str) -> None:
    result = wsshm("run", *inputs, *option.split(), "-o", "out.mp4", input="")
    assert result.returncode == 2
    one_error_line(result, f"{option}: is for files, not for ")


def test_no_ray(wsshm: Wsshm, tmp_path: Path) -> None:
    """Where it is not installed; nothing is begun."""
    package = tmp_path / "path" / "ray" / "__init__.py"
    package.parent.mkdir(parents=True)
    package.write_text("raise ModuleNotFoundError(\"No module named 'ray'\", name='ray')")
    moving_clip(tmp_path / "a.mp4", 6)
    env = {**os.environ, "PYTHONPATH": f"{package.parents[1]}"}
    result = wsshm("run", "a.mp4", "-o", "out/", "--cluster", "local", env=env)
    assert result.returncode == 69
    one_error_line(result, "--cluster: Ray is not installed; run: pip install 'wsshm[cluster]'")
    assert not (tmp_path / "out").exists()


def test_inputs_may_be_named_by_urls(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    urls = [image(tmp_path / name).as_uri() for name in ("a b.png", "c.png")]
    result = wsshm("run", *urls, "-o", "out/", "--bg", "#204060", "--model", ones)
    assert result.returncode == 0, result.stderr
    assert {p.name for p in (tmp_path / "out").glob("*.png")} == {"a b.png", "c.png"}
