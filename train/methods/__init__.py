"""The training methods by name. A new one is a file in this package and a row here."""

from __future__ import annotations

from engines.errors import UsageError
from train.methods import bshm, context_aware, imitate, mlb, supervised, unknown
from train.methods.method import Method

METHODS: dict[str, Method] = {
    "supervised": supervised.METHOD,
    "mlb": mlb.METHOD,
    "imitate": imitate.METHOD,
    "context-aware": context_aware.METHOD,
    "bshm-unify": bshm.UNIFY,
    "bshm-refine": bshm.REFINE,
    "unknown": unknown.METHOD,
}


def find(name: str) -> Method:
    """Return a method by its name, which is the recipe's ``method``.

    Raises:
        UsageError: there is no method of that name.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}", f"use one of {', '.join(METHODS)}")
    return METHODS[name]
