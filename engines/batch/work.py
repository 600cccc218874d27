"""A clip to do, what happens meanwhile, and its result: plain data for other processes too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.video.config import RunConfig
from engines.video.summary import Started


@dataclass(frozen=True)
class Work:
    """One input with its outputs.

    Attributes:
        config: what is asked for; input and output are files.
        outputs: the files that will be written, of which the first names the work.
        again: an earlier call has begun it, and what it left unfinished may be removed.
    """

    config: RunConfig
    outputs: tuple[Path, ...]
    again: bool = False

    @property
    def name(self) -> str:
        """The input, as the user named it."""
        return str(self.config.input)


@dataclass(frozen=True)
class Result:
    """How a work went.

    Attributes:
        exit_code: of `wsshm run` for this input alone.
        error: why it failed, in one line; empty if it did not.
        stopped: it was asked to end early.
        ends_batch: what made it fail would make every other one fail too: a full disk, a model that
            cannot be opened.
        summary: `Summary.to_dict`; None if nothing was begun.
        traceback: of a fault of wsshm itself.
    """

    exit_code: int = 0
    error: str = ""
    stopped: bool = False
    ends_batch: bool = False
    summary: Mapping[str, Any] | None = None
    traceback: str = ""

    @property
    def is_done(self) -> bool:
        """Whether the outputs are whole."""
        return not self.error and not self.stopped


@dataclass(frozen=True)
class Begins:
    """A work is about to begin; `attempt` is 2 when its process was killed the first time."""

    work: Work
    attempt: int = 1


@dataclass(frozen=True)
class Opened:
    """Source and network of a work are open."""

    work: Work
    started: Started


@dataclass(frozen=True)
class Progress:
    """So many frames of a work are written."""

    work: Work
    frames: int


@dataclass(frozen=True)
class Said:
    """What the user should know of a work before it ends."""

    work: Work
    text: str


@dataclass(frozen=True)
class Ended:
    """A work has ended."""

    work: Work
    result: Result = field(default_factory=Result)


Event = Begins | Opened | Progress | Said | Ended
