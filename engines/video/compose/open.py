"""Which background is composited now: one after the other, as a key asks for them."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from pathlib import Path

from engines.errors import Say, WsshmError, silent
from engines.files import IMAGE_SUFFIXES, natural_key
from engines.video.compose.background import Background, open_background
from engines.video.config import BackgroundFit
from engines.video.read.source import FrameSource


class BackgroundCycle:
    """The background that is composited now, and those that a key brings after it."""

    def __init__(
        self,
        spec: str,
        fit: BackgroundFit,
        source: FrameSource,
        first: Background | None,
        say: Say = silent,
    ):
        self.now = first
        self._fit, self._source, self._say = fit, source, say
        self._specs, self._at = [spec], 0
        self._opened = [first] if first else []

    def next(self) -> None:
        """Go to the next one that can be opened; the first comes after the last."""
        if len(self._specs) == 1:
            self._specs = choices(self._specs[0])
        for _ in self._specs:
            self._at = (self._at + 1) % len(self._specs)
            spec = self._specs[self._at]
            try:
                opened = open_background(
                    spec,
                    self._source.sample_aspect,
                    self._fit,
                    bit_depth=self._source.format.bit_depth,
                )
            except WsshmError as e:
                self._say(str(e))
                continue
            if opened is not None:
                self._opened.append(opened)
                self.now = opened
                self._say(f"background: {spec}")
                return

    def close(self) -> None:
        for background in self._opened:
            background.close()


def choices(given: str) -> list[str]:
    """`given`, the other images beside it, and two that are always there."""
    path = Path(given)
    beside: list[str] = []
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with suppress(OSError):  # a folder that may be entered but not listed
            others = (p for p in path.parent.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            beside = [str(p) for p in sorted(others, key=partial(natural_key, ignore_case=True))]
        at = next((i for i, p in enumerate(beside) if Path(p).name == path.name), 0)
        beside = beside[at + 1 :] + beside[:at]
    return [given, *beside, *(spec for spec in ("blur", "#00b140") if spec != given)]
