"""`wsshm models`: list, show and verify."""

from __future__ import annotations

import pytest

from tests.cli.helpers import says
from tests.conftest import Wsshm, one_error_line


@pytest.mark.parametrize(
    ("args", "pattern"),
    [
        (("--help",), r"verify"),
        ((), r"default\tfp32 [\d.]+ MB"),
        (("list",), r"default\tfp32 [\d.]+ MB"),
        (("show",), r"(?i)licen[cs]e"),
        (("show", "fast"), r"# fast"),
        (("verify",), r"default: good"),
        (("verify", "fast"), r"fast: good"),
    ],
)
def test_harmless_commands_end_well(wsshm: Wsshm, args: tuple[str, ...], pattern: str) -> None:
    says(wsshm("models", *args), pattern)


def test_unknown_shipped_model_is_66(wsshm: Wsshm) -> None:
    """``models show`` and ``verify`` of a name that is not there name what is."""
    for command in ("show", "verify"):
        result = wsshm("models", command, "nothing")
        assert result.returncode == 66
        one_error_line(result, "nothing", "default, fast")
