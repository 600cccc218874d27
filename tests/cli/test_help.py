"""Help pages: every option has its place, and a new user is shown a dozen of them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import pytest
import typer

from engines.measure.estimators.open import ESTIMATORS
from engines.video.compose.kinds import KINDS
from engines.video.write.codecs import listed_codecs
from tests.conftest import Wsshm
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
