"""One tree of errors, one table of exit codes: code, documents and behaviour agree."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from typing import Any, TypeVar

import av
import pytest

from engines import errors
from engines.errors import (
    BadData,
    CannotCreate,
    CannotOpen,
    WriteFailed,
    WsshmError,
    reading,
    writing,
)
from tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs/errors.md"


CLASSES: Any = av.error.classes  # by code; PyAV's stubs take them for errors

C = TypeVar("C")


def subclasses(cls: type[C]) -> Iterator[type[C]]:
    """`cls` and all that derive from it."""
    yield cls
    for sub in cls.__subclasses__():
        yield from subclasses(sub)


def av_errors() -> list[type[Exception]]:
    """Every class PyAV can raise: by the tree, by the module and by the table of codes."""
    found: set[type[Exception]] = {
        *subclasses(av.error.FFmpegError),
        *CLASSES.values(),
        *(
            c
            for c in vars(av.error).values()
            if isinstance(c, type) and issubclass(c, av.error.FFmpegError)
        ),
    }
    return sorted(found, key=lambda c: c.__name__)


CODES: dict[type[Exception], int] = {cls: code for code, cls in CLASSES.items()}


def made(cls: type[Exception]) -> Exception:
    """An error as PyAV itself raises it."""
    return cls(CODES.get(cls, 12345), "words of FFmpeg", "foreign.mp4")


def test_there_are_classes_to_try() -> None:
    """The enumeration finds PyAV's errors, those that are also Python's among them."""
    names = {c.__name__ for c in av_errors()}
    assert {"InvalidDataError", "ArgumentError", "ExitError", "MemoryError", "EOFError"} <= names
    assert len(names) > 30


@pytest.mark.parametrize("cls", av_errors())
def test_reading_maps_everything_of_av(cls: type[Exception]) -> None:
    """Opening and reading: bad data or cannot open, with our path, from the foreign error."""
    error = made(cls)
    with pytest.raises(WsshmError, match=r"^mine\.mp4: ") as caught, reading("mine.mp4"):
        raise error
    assert caught.value.exit_code in (65, 66)
    assert caught.value.__cause__ is error
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("begun", [False, True])
@pytest.mark.parametrize("cls", av_errors())
def test_writing_maps_everything_of_av(cls: type[Exception], begun: bool) -> None:
    """Creating and writing: cannot create before, writing failed after the first byte."""
    error = made(cls)
    with (
        pytest.raises(WsshmError, match=r"^mine\.mp4: ") as caught,
        writing("mine.mp4", begun=begun),
    ):
        raise error
    assert caught.value.exit_code == (74 if begun else 73)
    assert caught.value.__cause__ is error


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_every_errno_is_mapped(number: int) -> None:
    """What the system says is mapped the same, in its own words."""
    words = os.strerror(number)
    with pytest.raises(WsshmError) as caught, reading("mine.mp4"):
        raise OSError(number, words)
    assert caught.value.exit_code in (65, 66)
    full = number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    for begun in (False, True):
        with (
            pytest.raises((CannotCreate, WriteFailed), match=re.escape(words)) as written,
            writing("mine.mp4", begun=begun),
        ):
            raise OSError(number, words)
        assert isinstance(written.value, WriteFailed) == (begun or full)
        assert ("free some space" in str(written.value)) == full


def test_plain_cases_have_plain_words() -> None:
    """The four that people meet most, by class and words."""
    cases = [
        (FileNotFoundError(2, "x"), CannotOpen, "no such file"),
        (PermissionError(13, "x"), CannotOpen, "permission denied"),
        (IsADirectoryError(21, "x"), CannotOpen, "is a directory"),
        (made(av.error.InvalidDataError), BadData, "incomplete"),
        (EOFError(), BadData, "incomplete"),
    ]
    for error, cls, words in cases:
        with pytest.raises(cls, match=words), reading("mine.mp4"):
            raise error


@pytest.mark.parametrize("error", [ValueError, TypeError, IndexError, KeyError, ZeroDivisionError])
def test_our_own_faults_are_not_called_bad_data(error: type[Exception]) -> None:
    """A bug is not blamed on the user's file: it passes as it is, and ends in 70."""
    for context in (reading("mine.mp4"), writing("mine.mp4", begun=True)):
        with pytest.raises(error, match="bug"), context:
            raise error("bug")


def test_our_errors_pass_as_they_are() -> None:
    """What is mapped already is not mapped again."""
    for cls in subclasses(WsshmError):
        for context in (reading("outer"), writing("outer", begun=False)):
            inner = cls("inner: words")
            with pytest.raises(cls) as caught, context:
                raise inner
            assert caught.value is inner


def test_interrupts_are_never_mapped() -> None:
    """Ctrl-C and exit go through."""
    for error in (KeyboardInterrupt, SystemExit):
        for context in (reading("x"), writing("x", begun=True)):
            with pytest.raises(error), context:
                raise error


def test_every_class_has_a_code_of_the_table() -> None:
    """The tree, the table and the module's own page agree."""
    documented = dict(re.findall(r"(\w+) +(\d+) ", errors.__doc__ or ""))
    ours = [c for c in subclasses(WsshmError) if c in vars(errors).values()]
    assert {c.__name__ for c in ours} <= set(documented)
    for cls in ours:
        assert cls.exit_code in errors.exit_codes
        assert int(documented[cls.__name__]) == cls.exit_code
    codes = {c.exit_code for c in ours}
    assert codes == set(errors.exit_codes) - {0, 129, 130, 143}


def test_the_docs_have_the_same_codes() -> None:
    """The table in the docs lists exactly the exit codes there are."""
    rows = re.findall(r"^\| *`?(\d+)`?[^|]*\|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    pairs = re.findall(r"^\| *`?130`?[^|]*\b(143)\b", PAGE.read_text(encoding="utf-8"), re.M)
    assert {int(n) for n in (*rows, *pairs)} == set(errors.exit_codes)
