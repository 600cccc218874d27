"""The outputs of each input, and what the manifest says is left to do."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from engines.batch.inputs import find
from engines.batch.manifest import Manifest, Record, State, identity
from engines.batch.plan import Plan, make, options_of
from engines.errors import CannotCreate, CannotOpen, UsageError, WsshmError
from engines.video.config import BackgroundFit, Clip, Encoding, MatteOptions, RunConfig, Save

FOLDER = Path("out")


@pytest.fixture
def config(ones: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """A request, in a folder with inputs that a plan does not look into."""
    monkeypatch.chdir(tmp_path)
    FOLDER.mkdir()
    for name in ("a.mp4", "b.mov", "p.jpg"):
        Path(name).write_bytes(b"12345")
    return RunConfig(Path(), background="#204060", model=str(ones))


def planned(config: RunConfig, *texts: str) -> Plan:
    return make(config, find(texts or ["a.mp4", "b.mov", "p.jpg"], False)[0], FOLDER, saved())


def saved() -> Manifest:
    return Manifest(FOLDER)


def names(config: RunConfig, *texts: str) -> list[list[str]]:
    return [
        [o.relative_to(FOLDER).as_posix() for o in w.outputs] for w in planned(config, *texts).order
    ]


def note(config: RunConfig, state: State, output: str = "a.mp4", **changes: Any) -> Record:
    """Write a record of `a.mp4` as a batch writes it, with `changes`."""
    there = identity(FOLDER / output)
    record = Record(
        state,
        "a.mp4",
        identity(Path("a.mp4")),
        options_of(config),
        "1.0",
        {output: there.size} if there else {},
    )
    manifest = saved()
    manifest.open()
    manifest.add(output, replace(record, **changes))
    manifest.close()
    return record


def test_names(config: RunConfig) -> None:
    """As one run names them: the input's name, the kind that holds what is asked for."""
    assert names(config) == [["a.mp4"], ["b.mp4"], ["p.png"]]
    both = replace(config, save=(Save.composite, Save.alpha, Save.foreground))
    assert names(both) == [
        ["a.mp4", "a_alpha.mp4", "a_foreground.webm"],
        ["b.mp4", "b_alpha.mp4", "b_foreground.webm"],
        ["p.png", "p_alpha.png", "p_foreground.png"],
    ]
    assert names(replace(config, background="transparent")) == [["a.webm"], ["b.webm"], ["p.png"]]
    assert names(replace(config, encoding=Encoding("prores")))[0] == ["a.mov"]
    assert names(replace(config, encoding=Encoding("ffv1")))[0] == ["a.mkv"]
    deep = replace(config, background="transparent", bit_depth=10)
    assert names(deep)[0] == ["a.mov"]


def test_what_is_for_videos_is_not_asked_of_images(config: RunConfig) -> None:
    """`--crf` and others make no image fail in a folder of both, and are refused without videos."""
    asked = replace(config, encoding=Encoding(crf=28), clip=Clip(1), bit_depth=10, auto_size=True)
    video, _, image = (w.config for w in planned(asked).works)
    assert (video.encoding.crf, video.clip, video.bit_depth, video.auto_size) == (
        *(28, Clip(1), 10, True),
    )
    assert (image.encoding, image.clip, image.bit_depth, image.auto_size) == (
        *(Encoding(), Clip(), 8, False),
    )
    with pytest.raises(UsageError, match="no video among the inputs"):
        planned(asked, "p.jpg")


def test_two_inputs_of_one_name_are_refused(config: RunConfig) -> None:
    Path("b.mp4").touch()
    with pytest.raises(UsageError, match=r"b\.mov and b\.mp4 would both be written to out/b\.mp4"):
        planned(config, "b.mov", "b.mp4")
    Path("a_alpha.mp4").touch()
    both = replace(config, save=(Save.composite, Save.alpha))
    with pytest.raises(UsageError, match=r"out/a_alpha\.mp4"):
        planned(both, "a.mp4", "a_alpha.mp4")


def test_no_input_is_replaced(config: RunConfig) -> None:
    found = find(["a.mp4", "b.mov"], False)[0]
    with pytest.raises(UsageError, match=r"a\.mp4: is an input"):
        make(replace(config, overwrite=True), found, Path(), saved())
    os.symlink("../a.mp4", "out/a.mp4")
    with pytest.raises(UsageError, match=r"out/a\.mp4: is an input"):
        planned(config)


def test_outputs_of_an_earlier_call_are_no_inputs(config: RunConfig) -> None:
    """However they were found: the folder of the outputs can be that of the inputs."""
    here, left = Path(), Path("out/b.mp4")
    manifest = Manifest(here)
    manifest.open()
    record = Record("done", "x.mov", None, {}, "1.0", {"p.jpg": 5})
    manifest.add("p.jpg", record)
    manifest.add("b.mov", replace(record, state="begun", outputs={}))
    manifest.close()
    found = find(["a.mp4", "b.mov", "./p.jpg", "wsshm_manifest.jsonl", "*.jpg"], False)[0]
    plan = make(config, [replace(found[0], place=left), *found[1:]], here, manifest)
    assert [w.name for w in plan.order] == ["a.mp4"]
    assert [p.name for p in plan.left_out] == ["b.mov", "p.jpg", "wsshm_manifest.jsonl"]
    with pytest.raises(UsageError, match=r"b\.mov, p\.jpg, .*: made by an earlier call, and all"):
        make(config, found[1:], here, manifest)


@pytest.mark.parametrize(
    ("changes", "error", "says"),
    [
        ({"background": "none.jpg"}, CannotOpen, "--bg none.jpg: no such file"),
        ({"background": "#12"}, UsageError, "#rrggbb"),
        ({"model": "none.onnx"}, CannotOpen, "none.onnx"),
        ({"encoding": Encoding(crf=60)}, UsageError, "--crf 60"),
        ({"encoding": Encoding("none")}, WsshmError, "--codec none"),
    ],
)
def test_what_would_fail_for_all_is_refused_once(
    config: RunConfig, changes: dict[str, Any], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        planned(replace(config, **changes))


def test_finished_work_is_left(config: RunConfig) -> None:
    """Until its output is removed; with --overwrite too, as it would come out the same."""
    (FOLDER / "a.mp4").write_bytes(b"123")
    note(config, "done")
    for overwrite in (False, True):
        plan = planned(replace(config, overwrite=overwrite, device="cpu", threads=3))
        assert [w.name for w, _ in plan.finished] == ["a.mp4"]
        assert [w.name for w in plan.works] == ["b.mov", "p.jpg"]
    (FOLDER / "a.mp4").unlink()
    plan = planned(config)
    assert not plan.finished
    assert plan.works[0].config.overwrite


@pytest.mark.parametrize("state", ["begun", "stopped", "failed"])
def test_half_done_work_is_done_again(config: RunConfig, state: State) -> None:
    """Over what it left, for that is ours; not over what somebody has put there since."""
    (FOLDER / "a.mp4").write_bytes(b"12")
    unknown: dict[str, Any] = {"outputs": {}} if state == "begun" else {}
    note(config, state, **unknown)
    work = planned(replace(config, background="#111111")).works[0]
    assert work.again
    assert work.config.overwrite
    if state != "begun":
        (FOLDER / "a.mp4").write_bytes(b"edited")
        with pytest.raises(CannotCreate, match=r"1 file changed afterwards \(a\.mp4\)"):
            planned(config)


def test_an_input_that_cannot_be_used_is_not_tried_again(config: RunConfig) -> None:
    """Until it changes, or what is asked for does."""
    note(config, "unusable", error="a.mp4: junk", exit_code=65)
    plan = planned(config)
    assert [r.error for _, r in plan.unusable] == ["a.mp4: junk"]
    assert len(planned(replace(config, fps=None, size=64)).works) == 3
    Path("a.mp4").write_bytes(b"123456")
    assert len(planned(config).works) == 3


def test_nothing_is_replaced_unasked(config: RunConfig) -> None:
    """A file of somebody else, one that was edited, other options, another input: all in a line."""

    def refused(says: str, asked: RunConfig = config) -> None:
        with pytest.raises(CannotCreate, match=says + r" \(a\.mp4.*add --overwrite"):
            planned(asked)
        plan = planned(replace(asked, overwrite=True))
        assert plan.works[0].config.overwrite
        assert not plan.works[1].config.overwrite  # nothing is there that it might replace

    (FOLDER / "a.mp4").write_bytes(b"123")
    refused("1 file of these names already")
    note(config, "done")
    refused(
        "with other options: background was #204060, is #111111",
        replace(config, background="#111111"),
    )
    refused("matte.smooth was 0.8, is 0.5", replace(config, matte=MatteOptions(0.5)))
    other = replace(config, background_fit=BackgroundFit.contain, size=64)
    refused("background_fit was cover, is contain and 1 more", other)
    os.utime("a.mp4", (1, 1))
    refused("another version of the input")
    note(config, "done")
    (FOLDER / "a.mp4").write_bytes(b"1234")
    refused("changed afterwards")


def test_files_behind_options_count(config: RunConfig, zeros: Path) -> None:
    """Another image under the same name, and another model."""
    (FOLDER / "a.mp4").touch()
    cv2.imwrite("bg.png", np.zeros((4, 4, 3), np.uint8))
    asked = replace(config, background="bg.png")
    note(asked, "done")
    assert planned(asked).finished
    elsewhere = replace(asked, background=str(Path("bg.png").resolve()))
    assert planned(replace(elsewhere, model=os.path.relpath(asked.model or ""))).finished
    cv2.imwrite("bg.png", np.zeros((9, 9, 3), np.uint8))
    with pytest.raises(CannotCreate, match="other options: another background"):
        planned(asked)
    note(config, "done")
    Path("m.onnx").write_bytes(zeros.read_bytes())
    with pytest.raises(CannotCreate, match=r"model was .*, is m\.onnx and 1 more"):
        planned(replace(config, model="m.onnx"))
