"""The pages with examples, and the examples in them, found by Sybil.

A page has shell and Python examples in fenced blocks, ``sh`` and ``python``, and commands in the
rows of tables. One that is not run says why in a comment: before a block
``<!-- skip: next "needs a camera" -->``, after a command in a row ``<!-- skip "…" -->``.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path
from shutil import copytree
from unittest import SkipTest

from sybil import Document, Example, Region
from sybil.evaluators.python import PythonEvaluator
from sybil.parsers.markdown import CodeBlockParser, SkipParser

import wsshm  # noqa: F401 - sets the environment now, not in the middle of a test
from tests.conftest import REPOSITORY

PAGES = [
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
]
COMMAND = re.compile(r'`(wsshm [^`]+)`( <!-- skip "(?P<why>[^"]+)" -->)?')
HEADING = re.compile(r"^#+ ", re.MULTILINE)
SECONDS = 300  # that an example may take

Evaluator = Callable[[Example], None]


def parse(page: Path, shell: Evaluator, python: Evaluator) -> Document:
    """Return a page with its examples, in the order in which they stand."""
    parsers = (
        CodeBlockParser("sh", shell),
        CodeBlockParser("python", python),
        SkipParser(),
        lambda document: rows(document, shell),
    )
    return Document.parse(str(page), *parsers)


def rows(document: Document, shell: Evaluator) -> Iterator[Region]:
    """Yield the commands in the rows of tables."""
    for line in re.finditer(r"^\|.*$", document.text, re.MULTILINE):
        for found in COMMAND.finditer(line[0]):
            start, end = line.start() + found.start(), line.start() + found.end()
            yield Region(start, end, found[1], skipping(found["why"]) if found["why"] else shell)


def skipping(why: str) -> Evaluator:
    """Return what skips an example for a reason, as Sybil's own skipping does."""

    def skip(example: Example) -> None:
        raise SkipTest(why)

    return skip


class Reader:
    """Somebody who types what stands in a page.

    A section's blocks share a folder, which begins as a copy of `inputs`; a command in a table has
    one of its own.
    """

    def __init__(self, inputs: Path, work: Path):
        self._inputs, self._work = inputs, work
        commands = work / "bin"
        commands.mkdir(parents=True)
        for name, module in (("wsshm", "-m wsshm_cli"), ("python", "")):
            script = commands / name
            script.write_text(f'#!/bin/sh\nexec "{sys.executable}" {module} "$@"\n')
            script.chmod(0o755)
        self._environment = dict(os.environ, PATH=f"{commands}{os.pathsep}{os.environ['PATH']}")

    def shell(self, example: Example) -> None:
        """Run the lines of a shell example; the first that fails is an error."""
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", example.parsed],
            cwd=self._folder(example),
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        place = f"{Path(example.path).name}:{example.line}"
        assert result.returncode == 0, f"{place}: {example.parsed}\n{result.stderr}"
        assert "Traceback" not in result.stderr, f"{place}: {result.stderr}"

    def python(self, example: Example) -> None:
        """Run a Python example; a page's share their names."""
        with chdir(self._folder(example)):
            PythonEvaluator()(example)

    def _folder(self, example: Example) -> Path:
        before = example.document.text[: example.start]
        is_row = before.rpartition("\n")[2].startswith("|")
        section = len(HEADING.findall(before))
        name = f"row{example.line}-{example.column}" if is_row else f"section{section}"
        folder = self._work / Path(example.path).stem / name
        if not folder.exists():
            copytree(self._inputs, folder, copy_function=os.link)
        return folder
