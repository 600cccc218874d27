"""Which files several inputs stand for, and where their outputs go."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.batch.inputs import are_many, find
from engines.errors import BadData, CannotOpen

FILES = "a.mp4", "b10.MOV", "b9.mov", "p.jpg", "notes.txt", ".hidden.mp4", "a.part.mp4"


@pytest.fixture
def shoot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for folder in ("shoot", "shoot/day1", "shoot/.cache", "images", "empty"):
        Path(folder).mkdir()
    for name in (*FILES, "day1/a.mp4", "day1/q.png", ".cache/x.mp4"):
        (Path("shoot") / name).touch()
    for name in ("1.png", "2.png"):
        (Path("images") / name).touch()
    return Path("shoot")


@pytest.mark.parametrize(
    ("texts", "recursive", "many"),
    [
        (["shoot/a.mp4"], False, False),
        (["shoot/a.mp4"], True, False),
        (["missing.mp4"], False, False),
        (["shoot/a.mp4", "shoot/p.jpg"], False, True),
        (["shoot"], False, True),
        (["images"], False, False),  # one folder of images alone: one input, as ever
        (["images"], True, True),
        (["empty"], False, True),  # to say what is in it: nothing
        (["shoot/.cache"], False, True),
        (["images/*.png"], False, False),
        (["images/*"], False, False),
        (["shoot/*"], False, True),
        (["shoot/*.mp4"], False, True),
        (["shoot/*/q.png"], False, True),
        (["shoot/*.avi"], False, True),  # to say what fits it: nothing
        ([], False, False),
    ],
)
def test_what_is_many(texts: list[str], recursive: bool, many: bool, shoot: Path) -> None:
    assert are_many(texts, recursive) is many


@pytest.mark.parametrize(
    ("texts", "recursive", "places"),
    [
        (["shoot/b9.mov", "shoot/a.mp4"], False, ["b9.mov", "a.mp4"]),
        (["shoot"], False, ["a.mp4", "b9.mov", "b10.MOV", "p.jpg"]),
        (["shoot"], True, ["a.mp4", "b9.mov", "b10.MOV", "p.jpg", "day1/a.mp4", "day1/q.png"]),
        (["shoot/"], False, ["a.mp4", "b9.mov", "b10.MOV", "p.jpg"]),
        (["shoot/*.m*"], False, ["a.mp4", "b9.mov", "b10.MOV"][:2]),
        (["shoot/*/*.mp4"], False, ["day1/a.mp4"]),
        (["shoot/**/*.mp4"], False, ["a.mp4", "day1/a.mp4"]),
        (["shoot/a.mp4", "shoot", "./shoot/a.mp4"], False, ["a.mp4", "b9.mov", "b10.MOV", "p.jpg"]),
        (["missing.mp4", "images"], False, ["missing.mp4", "1.png", "2.png"]),
    ],
)
def test_each_file_keeps_its_place(
    texts: list[str], recursive: bool, places: list[str], shoot: Path
) -> None:
    found, _ = find(texts, recursive)
    assert [f.place.as_posix() for f in found] == places


@pytest.mark.parametrize("name", ["a.h264", "a.264", "a.hevc", "a.H265"])
def test_a_stream_without_a_container_is_a_video(name: str, tmp_path: Path) -> None:
    (tmp_path / name).touch()
    found, left_out = find([str(tmp_path)], False)
    assert [f.place for f in found] == [Path(name)]
    assert not left_out


def test_what_is_left_out_is_said(shoot: Path) -> None:
    """Other files and, without --recursive, folders; not what is hidden or unfinished."""
    (note,) = find(["shoot"], False)[1]
    assert note == "shoot: left out 1 file (notes.txt) and 1 folder (day1/); see --recursive"
    (shoot / "wsshm_manifest.jsonl").touch()  # ours
    (note,) = find(["shoot"], True)[1]
    assert note == "shoot: left out 1 file (notes.txt)"


def test_outputs_are_no_inputs(shoot: Path) -> None:
    found, notes = find(["shoot"], True, Path("shoot/day1/"))
    assert [f.place.name for f in found] == ["a.mp4", "b9.mov", "b10.MOV", "p.jpg"]
    assert "day1" not in notes[0]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("empty", "empty: no videos or images in it; add --recursive"),
        ("shoot/*.avi", r"shoot/\*.avi: fits no video or image"),
        ("nowhere/*.mp4", "fits no video or image"),
    ],
)
def test_nothing_found_is_an_error(text: str, says: str, shoot: Path) -> None:
    with pytest.raises((BadData, CannotOpen), match=says):
        find(["shoot/a.mp4", text], False)


def test_a_linked_folder_is_left_out_and_named(shoot: Path, tmp_path: Path) -> None:
    """It could lead anywhere, in a circle too."""
    os.symlink(tmp_path, "shoot/loop")
    found, notes = find(["shoot"], True)
    assert len(found) == 6
    assert "loop/" in notes[0]
