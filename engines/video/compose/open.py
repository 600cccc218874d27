"""Open the background that ``--bg`` asks for, and the others that a key brings after it."""

from __future__ import annotations

import re
from contextlib import suppress
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from engines import images
from engines.errors import CannotOpen, Say, UsageError, WsshmError, reading, silent
from engines.files import natural_key
from engines.image_files import is_image
from engines.video import frame as fr
from engines.video.blend import at_planes, over
from engines.video.compose import kinds
from engines.video.compose.background import Background, BlurredBackground, ImageBackground
from engines.video.compose.moving import VideoBackground
from engines.video.config import BackgroundFit
from engines.video.read.pictures import rgb_format

DEFAULT_BLUR, MAX_BLUR = 3.0, 50  # percent of the frame's shorter edge
GREEN_SCREEN = "#00b140"


def open_background(
    spec: str,
    sample_aspect: Fraction | None = None,
    fit: BackgroundFit = BackgroundFit.cover,
    say: Say = silent,
    bit_depth: int = 8,
    colour: str | None = None,
) -> Background | None:
    """Open what ``--bg`` says; None for ``transparent``.

    Args:
        spec: an image or a video file, ``#rrggbb``, ``blur``, ``blur:N`` (0 < N ≤ 50) or
            ``transparent``.
        sample_aspect: width to height of the frames' pixels, 1 when None.
        say: told when a video ends before it should, and what of an image is not used.
        bit_depth: bits a sample of the frames, 8 or 10.
        colour: what an image or a video with alpha lies over, ``#rrggbb``, also where it does not
            reach; black when None.

    Raises:
        UsageError: it is none of these.
        CannotOpen, BadData: the image or the video cannot be used.
    """
    behind = _rgb("--bg-color", colour or "#000000")
    kind = kinds.find(spec)
    if colour and kind:
        raise UsageError(f"--bg-color: goes with an image or a video as --bg, not with {spec}")
    if kind is kinds.TRANSPARENT:
        return None
    if kind is kinds.COLOUR:
        return ImageBackground(np.full((1, 1, 3), _rgb("--bg", spec), np.uint8))
    if kind is kinds.BLUR:
        try:
            strength = float(spec.partition(":")[2] or DEFAULT_BLUR)
        except ValueError:
            strength = 0.0
        if not 0 < strength <= MAX_BLUR:
            raise UsageError(f"--bg {spec}: blur:N takes a number over 0 up to {MAX_BLUR}")
        return BlurredBackground(strength)
    path = Path(spec)
    with reading(f"--bg {spec}"):
        exists = path.exists()
    if not exists:
        raise CannotOpen(f"--bg {spec}: no such file; --bg takes {kinds.describe()}")
    if path.is_dir():
        raise CannotOpen(f"--bg {spec}: is a folder", "name one image or video")
    if not images.is_still(path):
        return VideoBackground(path, sample_aspect, fit, say, bit_depth, behind)
    rgb, alpha = images.read(path, lambda text: say(f"--bg {text}"))
    if alpha is not None:
        fmt = rgb_format(rgb.shape[1], rgb.shape[0])
        flat = over(fr.from_rgb(rgb, fmt), at_planes(alpha, fmt), behind, fmt)
        rgb = fr.RgbScaler(fmt)(flat, fmt.width, fmt.height)
    return ImageBackground(rgb, sample_aspect, fit, behind)


def _rgb(option: str, text: str) -> tuple[int, int, int]:
    if not re.fullmatch(r"#[0-9a-fA-F]{6}", text):
        raise UsageError(f"{option} {text}: a colour is written #rrggbb, as in '{GREEN_SCREEN}'")
    red, green, blue = bytes.fromhex(text[1:])
    return red, green, blue


class BackgroundCycle:
    """The background that is composited now, and those that a key brings after it.

    Args:
        spec: what ``--bg`` says.
        now: the background of `spec`, already open; None for none.
        sample_aspect: width to height of the frames' pixels, 1 when None.
        bit_depth: bits a sample of the frames, 8 or 10.
        colour: what lies behind an image or a video that is no whole frame; black when None.
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
        colour: str | None = None,
    ):
        self.now = now
        self._open = partial(
            open_background, sample_aspect=sample_aspect, fit=fit, bit_depth=bit_depth
        )
        self._colour = colour
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
                opened = self._open(spec, colour=None if kinds.find(spec) else self._colour)
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
    others: list[str] = []
    if is_image(path):
        with suppress(OSError):  # a folder that may be entered but not listed
            found = (p for p in path.parent.iterdir() if is_image(p))
            others = [str(p) for p in sorted(found, key=partial(natural_key, ignore_case=True))]
        at = next((i for i, p in enumerate(others) if Path(p).name == path.name), 0)
        others = others[at + 1 :] + others[:at]
    return [spec, *others, *(other for other in ("blur", GREEN_SCREEN) if other != spec)]
