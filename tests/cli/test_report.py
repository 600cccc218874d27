"""The one voice of the command line: lines, bars, and how commands end."""

from __future__ import annotations

import io
import json
import sys

import pytest
import typer

from engines.errors import BadData
from wsshm_cli import report


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_people_read_stderr_and_scripts_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    report.line("a")
    report.warning("b")
    report.error("c")
    report.out("d")
    report.as_json({"e": 1})
    out, err = capsys.readouterr()
    assert err.splitlines() == ["a", "wsshm: warning: b", "wsshm: error: c"]
    assert out.splitlines()[0] == "d"
    assert json.loads(out.splitlines()[1]) == {"e": 1}


def test_a_bar_shows_how_far_work_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with report.bar(" frames", "work") as show:
        assert not stderr.getvalue()  # nothing is known yet
        show(0, 4)
        show(3, 4, "well")
    assert "work:   0%" in stderr.getvalue()
    assert "3/4" in stderr.getvalue()
    assert "well" in stderr.getvalue()
    assert stderr.getvalue().endswith("\n")


def test_a_line_does_not_run_into_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with report.bar(" frames") as show:
        show(1, 4)
        report.line("in between")
    before = stderr.getvalue().split("in between")[0]
    assert before.endswith("\r")
    assert "in between\n" in stderr.getvalue()


def test_work_that_begins_again_has_another_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)
    with report.bar(" steps") as show:
        show(0, 4)
        show(4, 4)
        show(0, 2)
        show(2, 2)
    first, second, rest = stderr.getvalue().split("\n")
    assert "4/4" in first
    assert "2/2" in second
    assert not rest


def test_a_bar_is_closed_when_work_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal()
    monkeypatch.setattr(sys, "stderr", stderr)

    def work() -> None:
        with report.bar(" frames") as show:
            show(1, 4)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
    report.line("after")
    assert stderr.getvalue().endswith("\nafter\n")


def test_errors_end_a_command_with_their_line_and_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended, report.ending():
        raise BadData("clip.mp4: is cut short", "copy it again")
    assert ended.value.exit_code == 65
    assert capsys.readouterr().err == "wsshm: error: clip.mp4: is cut short; copy it again\n"
    with pytest.raises(typer.Exit) as ended, report.ending():
        raise KeyError("a fault")
    assert ended.value.exit_code == 70
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(typer.Exit) as ended, report.ending():
        raise typer.Exit(7)
    assert ended.value.exit_code == 7
