"""The manifest beside the outputs: every line survives a kill, and no damaged one is believed."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from engines.batch.manifest import NAME, Identity, Manifest, Record
from engines.errors import BadData, WriteFailed
from tests.faults.helpers import disk

RECORD = Record("done", "in/a.mp4", Identity(10, 20), {"model": "None"}, "1.0", {"a.mp4": 5})


def written(folder: Path) -> Path:
    manifest = Manifest(folder)
    manifest.open()
    manifest.add("a.mp4", Record("begun", "in/a.mp4", None, {}, "1.0"))
    manifest.add("a.mp4", RECORD)
    manifest.add("ü/b.mp4", RECORD)
    manifest.close()
    return folder / NAME


def test_what_was_added_is_read(tmp_path: Path) -> None:
    """The newest record counts, and only that is kept when it is opened again."""
    path = written(tmp_path)
    assert len(path.read_text().splitlines()) == 4
    manifest = Manifest(tmp_path)
    assert manifest.records == {"a.mp4": RECORD, "ü/b.mp4": RECORD}
    manifest.open()
    manifest.close()
    assert len(path.read_text().splitlines()) == 3
    assert Manifest(tmp_path).records == manifest.records


def test_cut_anywhere_it_holds_the_lines_that_are_whole(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    ends = [i + near for i, byte in enumerate(data) if byte == 10 for near in (-1, 0, 1)]
    for end in (0, 1, *ends, len(data) - 50):
        path.write_bytes(data[:end])
        lines = data[:end].count(b"\n")
        records = Manifest(tmp_path).records
        assert [*records] == [[], [], ["a.mp4"], ["a.mp4"], ["a.mp4", "ü/b.mp4"]][lines]
        if lines == 3:
            assert records["a.mp4"] == RECORD


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines(keepends=True)


def test_damage_and_other_files_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path)
    first, _, record, _ = lines(path)
    loaded = json.loads(record)
    for name, value in [
        ("state", "finished"),
        ("outputs", ["a.mp4"]),
        ("outputs", {"a.mp4": "5"}),
        ("made_of", {"size": 10}),
        ("made_of", {"size": "10", "changed": 20}),
        ("exit_code", None),
        ("options", None),
        ("colour", "red"),
    ]:
        loaded = {"a.mp4": {**json.loads(record)["a.mp4"], name: value}}
        path.write_text(first + json.dumps(loaded) + "\n")
        with pytest.raises(BadData, match=rf"{NAME}: damaged; name another folder"):
            Manifest(tmp_path)
    for text, what in [
        (first + "junk\n", "damaged"),
        (first + "[]\n", "damaged"),
        (first + '{"a.mp4": {}}\n', "damaged"),
        ("junk\n", "no manifest of wsshm"),
        ('{"other": 1}\n', "no manifest of wsshm"),
        ("[" * 100_000 + "\n", "no manifest of wsshm"),
        ('{"wsshm_manifest": 2}\n', "another version"),
    ]:
        path.write_text(text)
        with pytest.raises(BadData, match=what):
            Manifest(tmp_path)
    path.write_bytes(b"\xff\xfe\n")
    with pytest.raises(BadData, match="no manifest of wsshm"):
        Manifest(tmp_path)


def test_a_line_that_a_full_disk_cuts_is_taken_back(tmp_path: Path) -> None:
    with disk(tmp_path / "disk", 64) as folder:
        manifest = Manifest(folder)
        manifest.open()

        def fill() -> None:
            for i in itertools.count():
                manifest.add(f"{i}.mp4", RECORD)

        with pytest.raises(WriteFailed, match=NAME):
            fill()
        manifest.close()
        records = Manifest(folder).records
        assert [*records] == [f"{i}.mp4" for i in range(len(records))]
        assert len(records) > 100
        assert (folder / NAME).read_bytes().endswith(b"\n")
