"""The kinds of background that ``--bg`` takes, one row each; help and messages follow from them.

A new kind is a row here, a class in this folder and a case in `open`. Standard library only, so
that ``--help`` can be printed from here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """A kind of background.

    Attributes:
        words: how it is written, for messages.
        pattern: fits the whole of what ``--bg`` says; empty for the name of a file.
        note: what follows `words` in help.
        is_opaque: whether it leaves nothing of a frame transparent.
    """

    words: str
    pattern: str = ""
    note: str = ""
    is_opaque: bool = True


IMAGE = Kind("an image")
VIDEO = Kind("a video", note=" (looped)")
COLOUR = Kind("a colour '#rrggbb'", "#.*")
BLUR = Kind("blur[:N]", "blur(:.*)?", " with N the radius in percent of the shorter edge")
TRANSPARENT = Kind("transparent", "transparent", is_opaque=False)
KINDS = (IMAGE, VIDEO, COLOUR, BLUR, TRANSPARENT)


def find(spec: str) -> Kind | None:
    """Return the kind of what ``--bg`` says; None for the name of a file."""
    return next((k for k in KINDS if k.pattern and re.fullmatch(k.pattern, spec)), None)


def describe(with_notes: bool = False, only_opaque: bool = False) -> str:
    """Return what ``--bg`` takes as a phrase: for help with notes, for an mp4 the opaque ones."""
    kinds = [kind for kind in KINDS if kind.is_opaque or not only_opaque]
    *words, last = (kind.words + kind.note * with_notes for kind in kinds)
    return f"{', '.join(words)} or {last}"
