"""The manifest beside the outputs of a batch: what was made of what, and how far it came.

A file of lines, each a JSON object. The first says what the file is, every other one is the newest
state of one work, under the name of its first output. A line is added in one write, so that a
process that is killed loses at most the line it was writing: a last line without an end is none.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal, get_args

from engines.errors import BadData, WriteFailed, reading, writing
from engines.files import replacing

NAME = "wsshm_manifest.jsonl"
KEY, FORMAT = "wsshm_manifest", 1
REMEDY = "name another folder with -o, or remove it"
# begun: also what a killed process leaves; done: outputs are whole; unusable: the input cannot be
# used as it is, which a second try does not change; failed: anything else.
State = Literal["begun", "done", "unusable", "failed", "stopped"]


@dataclass(frozen=True)
class Identity:
    """A file as it was: its size in bytes, and when it was last changed, in nanoseconds."""

    size: int
    changed: int


@dataclass(frozen=True)
class Record:
    """The newest state of one work.

    Attributes:
        input: its path as the user named it.
        made_of: the input file as it was; None if it was not there.
        options: all that the outputs depend on, as text by name.
        version: of wsshm.
        outputs: size in bytes of each file that was written, by its path in the folder.
        error: why it failed.
        exit_code: of that.
    """

    state: State
    input: str
    made_of: Identity | None
    options: Mapping[str, str]
    version: str
    outputs: Mapping[str, int] = field(default_factory=dict)
    error: str = ""
    exit_code: int = 0


def identity(path: Path) -> Identity | None:
    """Return what a file is known by; None if it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return Identity(found.st_size, found.st_mtime_ns)


class Manifest:
    """The records of a folder, by the path of a work's first output in it.

    Args:
        folder: which no other process writes a manifest into.

    Raises:
        CannotOpen: it cannot be read.
        BadData: it is damaged, not ours, or of a newer version.
    """

    def __init__(self, folder: Path):
        self.path = folder / NAME
        self.records: dict[str, Record] = {}
        self._file: BinaryIO | None = None
        if self.path.exists():
            self._read()

    def _read(self) -> None:
        with reading(self.path):
            *lines, _ = self.path.read_bytes().split(b"\n")
        if not lines:  # a process was killed as it made the file
            return
        try:
            version = json.loads(lines[0])[KEY]
            if version != FORMAT:
                raise BadData(f"{self.path}: written by another version of wsshm", REMEDY)
            for line in lines[1:]:
                for name, record in json.loads(line).items():
                    self.records[name] = _record(record)
        except BadData:
            raise
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as e:
            what = (
                "damaged" if lines[0].startswith(b'{"' + KEY.encode()) else "no manifest of wsshm"
            )
            raise BadData(f"{self.path}: {what}", REMEDY) from e

    def open(self) -> None:
        """Write the records that hold anew, one line each, and get ready for more, once.

        Raises:
            CannotCreate, WriteFailed: the file cannot be written.
        """
        if self._file is not None:
            return
        with replacing(self.path) as file:
            file.write(_line({KEY: FORMAT}))
            for name, record in self.records.items():
                file.write(_line({name: asdict(record)}))
        with writing(self.path, begun=False):
            self._file = self.path.open("ab", buffering=0)

    def add(self, name: str, record: Record) -> None:
        """Add the newest record of a work.

        Raises:
            WriteFailed: such as a full disk; the file is as before.
        """
        assert self._file is not None, "opened first"
        data = _line({name: asdict(record)})
        with writing(self.path, begun=True):
            before = os.fstat(self._file.fileno()).st_size
            if self._file.write(data) != len(data):  # the disk took a part of it
                self._file.truncate(before)
                raise WriteFailed(f"{self.path}: writing failed", "free some space and run again")
        self.records[name] = record

    def close(self) -> None:
        """Close the file; safe to call twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _line(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data).encode() + b"\n"


def _record(data: Mapping[str, Any]) -> Record:
    """Return a record as it was written; raises KeyError, TypeError or ValueError for any other."""
    made_of = data["made_of"]
    record = Record(**{**data, "made_of": made_of and Identity(**made_of)})
    if record.state not in get_args(State):
        raise ValueError(record.state)
    texts = [record.input, record.version, record.error, *record.options.values()]
    numbers = [record.exit_code, *record.outputs.values()]
    if record.made_of is not None:
        numbers += [record.made_of.size, record.made_of.changed]
    if not all(isinstance(t, str) for t in texts) or not all(isinstance(n, int) for n in numbers):
        raise TypeError(data)
    return record
