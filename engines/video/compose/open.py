"""Open the background that ``--bg`` asks for, and the others that a key brings after it."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from engines.errors import CannotOpen, Say, UsageError, WsshmError, reading, silent
from engines.files import natural_key
from engines.image_files import IMAGE_SUFFIXES
from engines.video import frame as fr
from engines.video.compose.background import Background, BlurredBackground, ImageBackground
from engines.video.compose.moving import VideoBackground
from engines.video.config import BackgroundFit
from engines.video.read.pictures import read_image_frame

DEFAULT_BLUR, MAX_BLUR = 3.0, 50  # percent of the frame's shorter edge
GREEN_SCREEN = "#00b140"


def open_background(
    spec: str,
    sample_aspect: Fraction | None = None,
    fit: BackgroundFit = BackgroundFit.cover,
    say: Say = silent,
    bit_depth: int = 8,
) -> Background | None:
    """Open what ``--bg`` says; None for ``transparent``.

    Args:
        spec: an image or a video file, ``#rrggbb``, ``blur``, ``blur:N`` (0 < N ≤ 50) or
            ``transparent``.
        sample_aspect: width to height of the frames' pixels, 1 when None.
        say: told when a video ends before it should.
        bit_depth: bits a sample of the frames, 8 or 10.

    Raises:
        UsageError: it is none of these.
        CannotOpen, BadData: the image or the video cannot be used.
    """
    if spec == "transparent":
        return None
    if spec.startswith("#"):
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", spec):
            raise UsageError(f"--bg {spec}: a colour is written #rrggbb, as in '{GREEN_SCREEN}'")
        return ImageBackground(np.full((1, 1, 3), list(bytes.fromhex(spec[1:])), np.uint8))
    if match := re.fullmatch(r"blur(?::(.*))?", spec):
        try:
            strength = float(match[1] or DEFAULT_BLUR)
        except ValueError:
            strength = 0.0
        if not 0 < strength <= MAX_BLUR:
            raise UsageError(f"--bg {spec}: blur:N takes a number over 0 up to {MAX_BLUR}")
        return BlurredBackground(strength)
    path = Path(spec)
    with reading(f"--bg {spec}"):
        exists = path.exists()
    if not exists:
        raise CannotOpen(
            f"--bg {spec}: no such file; --bg takes an image, a video, a colour as "
            f"'{GREEN_SCREEN}', blur, blur:N or transparent"
        )
    if path.is_dir():
        raise CannotOpen(f"--bg {spec}: is a folder", "name one image or video")
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return VideoBackground(path, sample_aspect, fit, say, bit_depth)
    image, fmt = read_image_frame(path)
    return ImageBackground(fr.RgbScaler(fmt)(image, fmt.width, fmt.height), sample_aspect, fit)


class BackgroundCycle:
    """The background that is composited now, and those that a key brings after it.

    Args:
        spec: what ``--bg`` says.
        now: the background of `spec`, already open; None for none.
        sample_aspect: width to height of the frames' pixels, 1 when None.
        bit_depth: bits a sample of the frames, 8 or 10.
        say: told which background is shown, and which ones cannot be opened.
    """

    def __init__(
        self,
        spec: str,
        now: Background | None,
        sample_aspect: Fraction | None,
        fit: BackgroundFit,
        bit_depth: int,
        say: Say,
    ):
        self.now = now
        self._open = partial(
            open_background, sample_aspect=sample_aspect, fit=fit, bit_depth=bit_depth
        )
        self._say = say
        self._specs, self._index = [spec], 0
        self._opened = [now] if now else []

    def next(self) -> None:
        """Go to the next background that can be opened; the first comes after the last."""
        if len(self._specs) == 1:
            self._specs = choices(self._specs[0])
        for _ in self._specs:
            self._index = (self._index + 1) % len(self._specs)
            spec = self._specs[self._index]
            try:
                opened = self._open(spec)
            except WsshmError as e:
                self._say(str(e))
                continue
            if opened is not None:
                self._opened.append(opened)
                self.now = opened
                self._say(f"background: {spec}")
                return

    def close(self) -> None:
        """Close every background that was opened."""
        for background in self._opened:
            background.close()


def choices(spec: str) -> list[str]:
    """Return `spec`, the other images in its folder from there on, the blur and a green screen."""
    path = Path(spec)
    images: list[str] = []
    if path.suffix.lower() in IMAGE_SUFFIXES:
        with suppress(OSError):  # a folder that may be entered but not listed
            found = (p for p in path.parent.iterdir() if p.suffix.lower() in IMAGE_SUFFIXES)
            images = [str(p) for p in sorted(found, key=partial(natural_key, ignore_case=True))]
        at = next((i for i, p in enumerate(images) if Path(p).name == path.name), 0)
        images = images[at + 1 :] + images[:at]
    return [spec, *images, *(other for other in ("blur", GREEN_SCREEN) if other != spec)]
