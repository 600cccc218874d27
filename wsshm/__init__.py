"""Mattes of people in images and video, in Python: the interface that stays as it is.

    alpha = wsshm.matte("portrait.jpg")                     # (H, W) uint8, 255 = person
    rgba = wsshm.cutout("portrait.jpg")                     # (H, W, 4) uint8, straight alpha
    for frame in wsshm.frames("clip.mp4"):                  # frame.time, frame.rgb, frame.alpha
        ...
    report = wsshm.run("clip.mp4", background="beach.jpg")  # writes report.outputs

What is listed in ``__all__`` keeps its name and meaning; `engines` and the other packages may
change at any time. Nothing heavy is imported before a function is first used, and PyTorch never.

Errors are `WsshmError` and what is derived from it; each says what failed and what to do. Warnings
go to the logger ``wsshm`` of `logging`.

Importing this module sets ``ORT_DISABLE_TELEMETRY=1`` and ``SVT_LOG=1`` in the environment, unless
they are set: else ONNX Runtime sends usage data, and SVT-AV1 prints its settings.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from engines.errors import (
    BadData,
    CannotCreate,
    CannotOpen,
    Unavailable,
    UsageError,
    WriteFailed,
    WsshmError,
)

if TYPE_CHECKING:
    from wsshm._clips import Frame, Frames, frames
    from wsshm._images import cutout, matte
    from wsshm._runs import Report, run

__version__ = "0.2.0"
__all__ = [
    "BadData",
    "CannotCreate",
    "CannotOpen",
    "Frame",
    "Frames",
    "Report",
    "Unavailable",
    "UsageError",
    "WriteFailed",
    "WsshmError",
    "cutout",
    "frames",
    "matte",
    "run",
]

_HOMES = {
    "Frame": "_clips",
    "Frames": "_clips",
    "Report": "_runs",
    "cutout": "_images",
    "frames": "_clips",
    "matte": "_images",
    "run": "_runs",
}

# ONNX Runtime reads this when it is imported: its official builds send usage data otherwise.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
os.environ.setdefault("SVT_LOG", "1")  # errors only: SVT-AV1 prints its settings otherwise
for _error in (WsshmError, *WsshmError.__subclasses__()):
    _error.__module__ = __name__  # a traceback names them as a program catches them


def __getattr__(name: str) -> Any:
    """Import the module of a name when one of its names is first used."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(f"{__name__}.{_HOMES[name]}")
    for other, home in _HOMES.items():
        if home == _HOMES[name]:
            value = globals()[other] = getattr(module, other)
            value.__module__ = __name__
    return globals()[name]


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES])
