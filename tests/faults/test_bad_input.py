"""Inputs and options that cannot work: one line that says what and what to do, and nothing left."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import cv2
import pytest

from tests.conftest import Wsshm, one_error_line
from tests.faults.bad_inputs import CASES, bad
from tests.faults.helpers import command, decode, image, moving_clip, parts


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def contents(folder: Path) -> dict[str, int]:
    return {str(p.relative_to(folder)): p.lstat().st_size for p in folder.rglob("*")}


@pytest.mark.parametrize("name", CASES)
def test_bad_input(name: str, stack: ExitStack, ones: Path, tmp_path: Path) -> None:
    """The right exit code, one line that names the file and the remedy, and nothing left behind.

    Where a part of the input could be read, that part is there and plays.
    """
    case = CASES[name](tmp_path, stack)
    args = [*case.args]
    if "--model" not in args:
        args += ["--model", ones]
    if "-o" not in args:
        args += ["-o", "out.mp4" if Path(str(args[0])).suffix in (".mp4", ".mov") else "out"]
    before = contents(tmp_path)
    result = subprocess.run(
        [*case.prefix, *command("run", *args, "--json")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == case.code, result.stderr
    line = one_error_line(result, case.names, case.says, case.advice)
    print(line)
    assert not parts(tmp_path)
    if not case.keeps:
        assert contents(tmp_path) == before
        if result.stdout:  # where only the first frame shows what is wrong
            assert json.loads(result.stdout)["frames"] == 0
            assert json.loads(result.stdout)["exit_code"] == case.code
        return
    held = decode(tmp_path / "out.mp4")
    assert 0 < held.frames == json.loads(result.stdout)["frames"]


def test_half_a_clip_replaces_no_whole_one(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """With --overwrite too, what was made of a truncated input stands beside the earlier file."""
    data = moving_clip(tmp_path / "w.mp4", 60, muxing={"movflags": "faststart"}).read_bytes()
    path = bad(tmp_path, "cut.mp4", data[: len(data) // 2])
    earlier = b"an earlier result"
    (tmp_path / "out.mp4").write_bytes(earlier)
    result = wsshm("run", path, "--model", ones, "-o", "out.mp4", "--overwrite")
    assert result.returncode == 65
    assert (tmp_path / "out.mp4").read_bytes() == earlier
    assert 0 < decode(tmp_path / "out.part.mp4").frames < 60


def test_folder_with_one_broken_image(wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """The others are written, the broken one is named, exit code 65."""
    folder = tmp_path / "images"
    folder.mkdir()
    for i in (1, 2, 10):
        image(folder / f"{i}.png")
    whole = (folder / "1.png").read_bytes()
    bad(folder, "3.png", b"no image at all")
    result = wsshm("run", folder, "--model", ones, "-o", "out")
    assert result.returncode == 65, result.stderr
    line = one_error_line(result, folder, "1 of 4 images", "3.png")
    assert "(3 of 4 frames written)" in line
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["1.png", "10.png", "2.png"]
    before = cv2.imread(str(folder / "1.png"))
    assert (cv2.imread(str(tmp_path / "out" / "1.png")) == before).all()
    assert (folder / "1.png").read_bytes() == whole
