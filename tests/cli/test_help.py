"""Help pages: every option has its place, and a new user is shown a dozen of them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import typer

import engines
import train
import wsshm as wsshm_door
import wsshm_cli
from engines.measure.estimators.open import ESTIMATORS
from engines.video.compose.kinds import KINDS
from engines.video.write.codecs import listed_codecs
from tests.conftest import REPOSITORY, Wsshm
from train.config import Labels
from train.networks import NETWORKS
from wsshm_cli.app import app

GROUP: Any = typer.main.get_command(app)
COMMANDS: list[tuple[str, ...]] = []
for _name, _command in GROUP.commands.items():
    COMMANDS += [(_name, sub) for sub in getattr(_command, "commands", {})] or [(_name,)]


def shown(page: str) -> set[str]:
    """Return the long options that a page lists."""
    return set(re.findall(r"^  (?:-\w, )?(--[\w-]+)", page, re.MULTILINE))


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_option_is_listed_in_plain_words(wsshm: Wsshm, command: tuple[str, ...]) -> None:
    found = GROUP
    for name in command:
        found = found.commands[name]
    every = {p.opts[-1] for p in found.params if p.param_type_name == "option"} | {"--help"}
    short, page = (wsshm(*command, option).stdout for option in ("-h", "--help"))
    assert short == page
    if "--help-all" in every:
        page = wsshm(*command, "--help-all").stdout
        assert shown(short) < shown(page)
    assert shown(page) == every
    for text in (short, page):
        assert not re.search(r"<\w|<=|x>", text)  # the types and ranges of a program
        assert all(len(line) <= 80 for line in text.splitlines())
    for param in found.params:
        assert param.help, param.name
        assert param.metavar or param.is_flag, param.name


@pytest.mark.parametrize("command", [(), ("models",), ("train",), *COMMANDS], ids=" ".join)
def test_help_ends_with_examples_that_can_be_parsed(command: tuple[str, ...]) -> None:
    """Each begins with the command itself, or with what comes after it, and has its options."""
    found = GROUP
    for name in command:
        found = found.commands[name]
    title, *rest = re.split(r"(?=wsshm )", found.epilog)
    assert title.split() in (["\b", "Examples:"], ["Example:"])
    assert any(example.startswith(" ".join(("wsshm", *command))) for example in rest)
    for example in rest:
        words = shlex.split(re.split(r" {2,}|\n", example)[0])[1:]
        where: Any = GROUP
        while words and words[0] in getattr(where, "commands", {}):
            where = where.commands[words.pop(0)]
        options = {name for p in where.params for name in p.opts} | {"--help"}
        assert {word for word in words if word.startswith("--")} <= options, example


@pytest.mark.parametrize("command", [("run",), ("train",), ("doctor",), ()], ids=" ".join)
def test_commands_and_options_are_in_groups(wsshm: Wsshm, command: tuple[str, ...]) -> None:
    page = wsshm(*command, "--help").stdout
    groups = {
        "run": ["Input", "Output", "Background", "Matte", "Network", "Live"],
        "train": ["Steps", "Rivals and other methods", "Tools"],
        "": ["Use", "Measure", "Train"],
    }
    titles = re.findall(r"^(\w[\w ]*):$", page, re.MULTILINE)
    assert [t for t in titles if t != "Options"] == groups.get(" ".join(command), [])


def test_the_pages_that_messages_name_exist() -> None:
    """Errors and help name pages of docs/."""
    named = set()
    for package in (wsshm_door, wsshm_cli, train, engines):
        for path in Path(package.__path__[0]).rglob("*.py"):
            named |= set(re.findall(r"docs/[\w.]+\.md", path.read_text(encoding="utf-8")))
    assert len(named) >= 4
    for name in named:
        assert (REPOSITORY / name).is_file(), name


@pytest.mark.parametrize(
    ("command", "parameter", "rows"),
    [
        (("run",), "bg", [kind.words for kind in KINDS]),
        (("bench",), "bg", [kind.words for kind in KINDS if kind.is_opaque]),
        (("run",), "codec", [codec.name for codec in listed_codecs()]),
        (("eval",), "model", [entry.name for entry in ESTIMATORS]),
        (("train", "teacher"), "arch", [a for a, e in NETWORKS.items() if not e.takes_trimap]),
        (("train", "dim"), "arch", [a for a, e in NETWORKS.items() if e.takes_trimap]),
        (("train", "student"), "labels", [labels.value for labels in Labels]),
    ],
)
def test_help_names_every_row_of_a_table(
    command: tuple[str, ...], parameter: str, rows: Iterable[str]
) -> None:
    found = GROUP
    for name in command:
        found = found.commands[name]
    (text,) = (p.help for p in found.params if p.name == parameter)
    missing = [r for r in rows if not re.search(rf"(?<![\w-]){re.escape(r)}(?![\w-])", text)]
    assert missing == []


def test_run_shows_the_options_of_every_day(wsshm: Wsshm) -> None:
    page = wsshm("run", "-h").stdout
    assert shown(page) == {
        "--start",
        "--duration",
        "--output",
        "--save",
        "--overwrite",
        "--bg",
        "--smooth",
        "--model",
        "--size",
        "--realtime",
        "--webcam",
        "--virtual-cam",
        "--preview",
        "--help-all",
        "--help",
    }
    groups = re.findall(r"^(\w+):$", page, re.MULTILINE)
    assert groups == ["Input", "Output", "Background", "Matte", "Network", "Live", "Options"]
    assert "wsshm run clip.mp4 --bg beach.jpg" in page.splitlines()[-4]


def test_help_all_adds_the_group_of_encoding(wsshm: Wsshm) -> None:
    page = wsshm("run", "--help-all").stdout
    groups = re.findall(r"^(\w+):$", page, re.MULTILINE)
    assert groups == [
        "Input",
        "Output",
        "Background",
        "Matte",
        "Network",
        "Live",
        "Encoding",
        "Options",
    ]


def test_defaults_are_shown(wsshm: Wsshm) -> None:
    page = " ".join(wsshm("run", "--help-all").stdout.split())
    for default in ("0.8", "blur", "cover", "composite", "the model's", "8"):
        assert f"[default: {default}]" in page
    assert "[default: runs]" in wsshm("train", "teacher", "-h").stdout
