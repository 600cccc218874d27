"""Unfinished files and their locks, links, and names as long as a file system takes them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engines.errors import CannotCreate
from engines.files import MAX_NAME_BYTES, Part, part_of, parts_left, replacing


def test_parts_are_numbered_and_kept(tmp_path: Path) -> None:
    """What an earlier run left is named and stays; an empty part is used again."""
    path = tmp_path / "a.mp4"
    (tmp_path / "a.part.mp4").write_bytes(b"half")
    (tmp_path / "a.part2.mp4").touch()
    for other in ("a.partial.mp4", "aa.part.mp4", "a.part.mkv", "a.part2x.mp4"):
        (tmp_path / other).write_bytes(b"another")
    assert parts_left(path) == [tmp_path / "a.part.mp4"]
    part = Part(path)
    assert part.path == tmp_path / "a.part2.mp4"
    part.path.write_bytes(b"whole")
    part.finish()
    assert path.read_bytes() == b"whole"
    assert (tmp_path / "a.part.mp4").read_bytes() == b"half"


def test_two_parts_of_one_name(tmp_path: Path) -> None:
    """The second is refused as long as the first is written, whatever else lies there."""
    path = tmp_path / "a.mp4"
    (tmp_path / "a.part.mp4").write_bytes(b"half")
    part = Part(path)
    for claim in (Part, parts_left):
        with pytest.raises(CannotCreate, match=r"a\.mp4: another run is writing it; wait"):
            claim(path)
    part.remove()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.part.mp4"]
    assert parts_left(path) == [tmp_path / "a.part.mp4"]
    Part(path).remove()


def test_lock_dies_with_its_process(tmp_path: Path) -> None:
    """A process that is killed leaves a part that is an unfinished file like any other."""
    path = tmp_path / "a.mp4"
    script = (
        "import os, sys; from pathlib import Path; from engines.files import Part;"
        "part = Part(Path(sys.argv[1])); part.path.write_bytes(b'half');"
        "print('ready', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", script, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        with pytest.raises(CannotCreate, match="another run is writing it"):
            Part(path)
        process.kill()
    assert parts_left(path) == [part_of(path)]
    second = Part(path)
    assert second.path == part_of(path, 2)
    second.remove()


@pytest.mark.parametrize("letter", ["x", "é", "人", "🙂"])
@pytest.mark.parametrize("length", [240, 250, 255])
def test_names_as_long_as_can_be(tmp_path: Path, letter: str, length: int) -> None:
    """A part whose name would be too long has a shorter one, its own for each file."""
    size = len(letter.encode())
    names = [
        letter * ((length - 5) // size) + "-" * ((length - 5) % size) + end
        for end in ("1.mp4", "2.mp4")
    ]
    paths = [tmp_path / name[-((length + size - 1) // size) :] for name in names]
    paths = [p for p in paths if len(os.fsencode(p.name)) <= MAX_NAME_BYTES]
    assert len(paths) == 2
    parts = [Part(path) for path in paths]
    for part, path in zip(parts, paths, strict=True):
        assert len(os.fsencode(part.path.name)) <= MAX_NAME_BYTES
        assert part.path.suffix == ".mp4"
        part.path.write_bytes(b"half")
        part.keep()
        assert parts_left(path) == [part.path]
        with replacing(path) as file:
            file.write(b"whole")
        assert path.read_bytes() == b"whole"


def test_links_are_followed(tmp_path: Path) -> None:
    """A link stays a link, through a chain and to a file that is not there yet."""
    there = tmp_path / "there"
    there.mkdir()
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(Path("there") / "c.txt")
    for text in (b"one", b"two"):
        with replacing(tmp_path / "a") as file:
            file.write(text)
            assert [p.name for p in tmp_path.iterdir() if ".part" in p.name] == []
        assert (there / "c.txt").read_bytes() == text
        assert (tmp_path / "a").is_symlink()
    (tmp_path / "c").symlink_to(tmp_path / "d")
    (tmp_path / "d").symlink_to(tmp_path / "c")
    with pytest.raises(CannotCreate, match="symbolic links"), replacing(tmp_path / "c"):
        pass
    assert (tmp_path / "c").is_symlink()
