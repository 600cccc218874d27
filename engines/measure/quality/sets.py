"""The names of what quality is measured on; standard library only, for the command line."""

from __future__ import annotations

from enum import StrEnum


class Set(StrEnum):
    """A kind of labelled images, of a data folder."""

    masks = "masks"
    mattes = "mattes"
    composites = "composites"
    empty = "empty"
