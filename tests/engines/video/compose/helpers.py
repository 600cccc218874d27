"""Composites of clips, without an encoder."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from engines.arrays import Plane
from engines.engine import open_engine
from engines.video import frame as fr
from engines.video.compose.composite import Composited, composite
from engines.video.compose.open import open_background
from engines.video.config import MatteOptions
from engines.video.matte.network import Network
from engines.video.matte.postprocess import MattePostprocessor
from engines.video.read.open import open_source
from tests.media import noise_clip

NOTHING = MatteOptions(smooth=0, refine=False, decontaminate=False)

KR_KB = {fr.BT601: (0.299, 0.114), fr.BT709: (0.2126, 0.0722)}  # ITU-R BT.601, BT.709


def composites(
    path: Path, model: Path, background: str, size: int = 64, bit_depth: int = 8
) -> Iterator[Composited]:
    """Every frame of `path` through source, network and composite."""
    network, postprocess = Network(open_engine(model), size), MattePostprocessor(NOTHING)
    behind = open_background(background)
    with open_source(path, bit_depth=bit_depth) as source:
        for item in source.items():
            assert isinstance(item, fr.Frame)
            yield composite(postprocess(*network.infer(network.scale(item))), behind)


def originals(path: Path, bit_depth: int = 8) -> Iterator[list[Plane]]:
    """The planes of every frame of `path`."""
    with open_source(path, bit_depth=bit_depth) as source:
        for item in source.items():
            assert isinstance(item, fr.Frame)
            yield fr.planes(item.image)


def noise_image(path: Path, width: int, height: int) -> Path:
    """A PNG of seeded noise."""
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), rgb)
    return path


def noise(folder: Path, pix_fmt: str, width: int, height: int, full: bool) -> Path:
    """Three frames of noise without loss, in any planar format and size."""
    if pix_fmt == "gbrp":
        return noise_image(folder / "in.png", width, height)
    return noise_clip(
        folder / "in.mkv",
        3,
        width,
        height,
        pix_fmt=pix_fmt,
        codec="ffv1",
        options={"slices": "1"},
        color_range=fr.FULL if full else fr.LIMITED,
        colorspace=fr.BT709,
    )


YUV = [f"yuv{s}p{deep}" for s in (420, 422, 444) for deep in ("", "10le")]

FORMATS = [*((f, full) for f in YUV for full in (False, True)), ("gbrp", True)]

SIZES = [(64, 48), (67, 49), (33, 80), (2, 2), (3, 5)]
