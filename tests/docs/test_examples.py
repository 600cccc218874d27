"""The examples of README and docs do what they say; ``make docs-check`` runs all of them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import typer

from tests.conftest import REPOSITORY
from tests.docs import inputs, pages
from wsshm_cli.app import app

CARDS = sorted((REPOSITORY / "engines/weights").glob("*.md"))
COMMANDS: Any = typer.main.get_command(app)
# What a command of wsshm may be part of.
AROUND = re.compile(r"[|&;>]|\\\n|#")
LINK = re.compile(r"(?<!`)\[[^\]]*\]\(([^)\s#]*)(#[^)\s]*)?\)")


@pytest.fixture(scope="session")
def files(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return inputs.make(tmp_path_factory.mktemp("inputs"), dataset)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_examples(page: Path, files: Path, tmp_path: Path) -> None:
    reader = pages.Reader(files, tmp_path)
    for example in pages.parse(page, reader.shell, reader.python):
        try:
            example.evaluate()
        except SkipTest as e:
            print(f"{page.name}:{example.line}: not run, it {e}")


@pytest.mark.long
def test_files_that_the_readme_promises(files: Path, tmp_path: Path) -> None:
    reader = pages.Reader(files, tmp_path)
    blocks = pages.parse(REPOSITORY / "README.md", reader.shell, reader.python)
    next(x for x in blocks if str(x.parsed).startswith("wsshm run clip.mp4")).evaluate()
    promised = ("clip_wsshm.mp4", "person.mov", "photo_wsshm.png", "out/take.mp4", "out/still.png")
    for name in promised:
        assert list(tmp_path.glob(f"README/*/{name}")), name


TINY = """
arch = "mbv2"
warmup = 1
[pretrain]
stages = [{ steps = 2, batch = 2, sizes = [64] }]
[teacher]
stages = [{ steps = 2, batch = 2, sizes = [64] }]
[student]
stages = [{ steps = 2, batch = 2, sizes = [64] }]
"""


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("page", "first"), [("README.md", "pip install"), ("docs/training.md", "")]
)
def test_training_as_it_is_written(page: str, first: str, files: Path, tmp_path: Path) -> None:
    """What takes hours, in two steps; each command finds what the one before it has made."""
    reader = pages.Reader(files, tmp_path)
    document = pages.parse(REPOSITORY / page, reader.shell, reader.python)
    begin = f"{first} '.[train]'\n" if first else "wsshm train teacher"
    example = next(x for x in document if str(x.parsed).startswith(begin))
    lines = [x.replace(" --recipe cpu", "") for x in example.parsed.splitlines() if x[:3] != "pip"]
    options = " --recipe tiny.toml --encoder-weights none"
    lines = [
        re.sub(r"^(wsshm train (teacher|student) --data DATA)", rf"\1{options}", x) for x in lines
    ]
    assert sum(options in line for line in lines) == 2
    example.parsed = "\n".join([f"cat > tiny.toml <<'EOF'{TINY}EOF", *lines])
    reader.shell(example)


def commands(text: str) -> list[list[str]]:
    """Return the words of every command of wsshm in a page, whether it is run or not."""
    found = []
    for line in re.findall(r"^(?:.*[|] )?(wsshm .*)$", text.replace("\\\n", " "), re.MULTILINE):
        found.append(AROUND.split(line)[0])
    found += [AROUND.split(x[1])[0] for x in re.finditer(r"`(wsshm [^`]*)`", text)]
    return [shlex.split(line)[1:] for line in found if line.count("'") % 2 == 0]


@pytest.mark.parametrize("page", [*pages.PAGES, *CARDS], ids=lambda page: page.name)
def test_options_exist(page: Path) -> None:
    """Also in what cannot be run here, and in prose."""
    for words in commands(page.read_text(encoding="utf-8")):
        command = COMMANDS
        for word in words:
            command = getattr(command, "commands", {}).get(word, command)
        names = {name for p in command.params for name in (*p.opts, *p.secondary_opts)}
        names |= {"--help", "-h", "--version", "--install-completion", "--show-completion"}
        given = {w for w in words if re.fullmatch(r"-{1,2}[a-z][a-z-]*", w)}
        assert given <= names, f"wsshm {shlex.join(words)}: no {given - names}"


@pytest.mark.parametrize("page", [*pages.PAGES, *CARDS], ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    for target, anchor in LINK.findall(text):
        if ":" in target:
            continue
        file = page.parent / target if target else page
        assert file.exists(), f"{page.name}: {target}"
        if anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}
            assert anchor[1:] in slugs, f"{page.name}: {target}{anchor}"


@pytest.mark.parametrize("page", pages.PAGES, ids=lambda page: page.name)
def test_fences_say_what_they_hold(page: Path) -> None:
    """So that no command hides in a block that is not run."""
    fences = re.findall(r"^ *```(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert all(fences[::2]), page.name
    assert not any(fences[1::2]), page.name
    known = {"sh", "python", "text", "html", "yaml", "toml", "dockerfile"}
    assert {language.split()[0] for language in fences[::2]} <= known


def cells(page: Path, width: int) -> dict[str, list[str]]:
    """Return the rows of the tables of so many columns, by the model in their first cell."""
    rows: dict[str, list[str]] = {}
    for line in page.read_text(encoding="utf-8").splitlines():
        first, *others = (cell.strip() for cell in line.strip("|").split("|"))
        name = re.search(r"`([\w.]+)`", first)
        if name and len(others) == width - 1:
            rows.setdefault(name[1], others)
    return rows


def test_figures_are_those_of_the_cards() -> None:
    """README has what the page about models has, and that has what the card of `default` has."""
    page = REPOSITORY / "docs/models.md"
    short, long, full = cells(REPOSITORY / "README.md", 4), cells(page, 5), cells(page, 6)
    assert short.keys() == long.keys() == full.keys()
    card = CARDS[0].read_text(encoding="utf-8").split("### On a hold-out")[0]
    for name in short:
        assert short[name][1:] == long[name][1:3]
        row = next(x for x in card.splitlines() if x.startswith(f"| {name}-int8 |"))
        means = [cell.split()[0] for cell in full[name]]
        assert [cell.split()[0] for cell in row.split("|")[2:-1]][0:1] + [
            cell.split()[0] for cell in row.split("|")[4:-1]
        ] == means
        assert means[0] == short[name][2]


def test_cards_have_one_form() -> None:
    forms = set()
    for card in CARDS:
        text = card.read_text(encoding="utf-8")
        table = re.findall(r"^\| ([a-z, ]+) \|", text.split("## Data")[0], re.MULTILINE)
        forms.add((*re.findall(r"^## .*", text, re.MULTILINE), *table))
    assert len(forms) == 1, forms
