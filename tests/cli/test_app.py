"""The command line as a whole: its list of commands, what it imports, completion."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.helpers import refuses, says
from tests.conftest import Wsshm
from tests.media import probe
from wsshm_cli import __version__

SCRIPT = Path(sys.executable).with_name("wsshm")
HEAVY = {"numpy", "av", "cv2", "onnxruntime", "torch", "torchvision", "tqdm"}


def script(*args: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """The installed console script."""
    if not SCRIPT.exists():
        pytest.skip(f"needs the console script {SCRIPT}")
    command = [str(SCRIPT), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=50, cwd=cwd)


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        (("--version",), rf"^wsshm {re.escape(__version__)}$"),
        (("--help",), r"run +Put a person"),
        (("--help",), r"bench +Measure the speed"),
        (("-h",), r"doctor"),
    ],
)
def test_help_and_version(wsshm: Wsshm, args: tuple[str, ...], pattern: str) -> None:
    says(wsshm(*args), pattern)


def test_an_unknown_command_is_refused(wsshm: Wsshm) -> None:
    refuses(wsshm("walk"), "walk")


@pytest.mark.parametrize("args", [["-clip.mp4"], ["-o", "out.mp4", "--clip.mp4"]])
def test_a_file_that_looks_like_an_option(wsshm: Wsshm, tmp_path: Path, args: list[str]) -> None:
    (tmp_path / args[-1]).touch()
    result = wsshm("run", *args)
    refuses(result, args[-1], "--, or as ./")
    assert "No such option" in wsshm("run", "-no.mp4").stderr


def test_the_list_of_commands_fits_80_columns(wsshm: Wsshm) -> None:
    for group in ((), ("models",), ("train",)):
        _, *sections = wsshm(*group, "--help").stdout.split("  -h, --help")[1].split("\n\n")
        *sections, examples = sections
        assert examples.strip().startswith("Examples:")
        for section in sections:
            title, *commands = section.splitlines()
            assert title.endswith(":")
            for name, text in (line.split(maxsplit=1) for line in commands):
                assert len(text) <= 50, name
                assert text.endswith("."), name  # else it is cut short
                assert text[0].isupper(), name  # else it goes on from the line before


@pytest.mark.parametrize(
    "args",
    [("--help",), ("run", "--help"), ("run", "--help-all"), ("bench", "--help"), ("--version",)],
)
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    """Neither arrays nor codecs nor networks are loaded to print a page of text."""
    command = [sys.executable, "-X", "importtime", "-m", "wsshm_cli", *args]
    result = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0
    loaded = {line.rsplit("|", 1)[1].strip() for line in result.stderr.splitlines()}
    assert "typer" in loaded
    assert not {name.split(".")[0] for name in loaded} & HEAVY
    of_training = {name for name in loaded if name.startswith("train.")}
    assert of_training == {"train.config", "train.networks"}  # their names alone


def test_modules_of_the_users_folder_are_not_imported(
    portrait: Path, ones: Path, tmp_path: Path
) -> None:
    """A train.py, an engines.py, an av.py where one happens to be do not get in the way."""
    for name in (
        "train.py",
        "engines.py",
        "av.py",
        "numpy.py",
        "wsshm.py",
        "wsshm_cli.py",
        "queue.py",
    ):
        (tmp_path / name).write_text("raise SystemExit('a file of the user was run')\n")
    result = script(
        "run", portrait, "--model", ones, "-o", "o.mp4", "--duration", "0.2", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    assert probe(tmp_path / "o.mp4").frames == 6
    result = script("bench", ones, "--model-only", "--seconds", "0.1", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr  # nor in the processes that measure


def test_completion_for_bash() -> None:
    """The script for the shell is printed, and completes a command."""
    command = [sys.executable, "-m", "wsshm_cli"]
    asked = {"_WSSHM_COMPLETE": "complete_bash", "COMP_WORDS": "wsshm mod", "COMP_CWORD": "1"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | asked
    )
    assert result.stdout.split() == ["models"]
    asked = {"_WSSHM_COMPLETE": "source_bash"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | asked
    )
    assert result.returncode == 0, result.stderr
    assert "complete" in result.stdout


@pytest.mark.parametrize(
    ("words", "offers"),
    [
        ("wsshm run --sm", ["--smooth"]),
        ("wsshm run --isl", ["--islands"]),  # which only --help-all shows
        ("wsshm run --help-", ["--help-all"]),
        ("wsshm run --save al", ["alpha"]),
        ("wsshm train student --labels bl", ["blended"]),
    ],
)
def test_completion_of_options(words: str, offers: list[str]) -> None:
    command = [sys.executable, "-m", "wsshm_cli"]
    asked = {"_WSSHM_COMPLETE": "complete_bash", "COMP_WORDS": words}
    asked["COMP_CWORD"] = str(len(words.split()) - 1)
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=50, env=os.environ | asked
    )
    assert result.stdout.split() == offers
