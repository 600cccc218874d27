"""Runs whose outputs tests look at, and clips with a known matte."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import numpy as np

from engines.video import frame as fr
from engines.video import run as job
from engines.video.config import Encoding, MatteOptions, RunConfig
from engines.video.summary import Summary

LOSSLESS = Encoding(crf=0)

PLAIN = MatteOptions(smooth=0, refine=False, decontaminate=False)


def run(source: Path, out: Path | None, model: Path, **options: Any) -> Summary:
    """A run on a black background, on which nothing went wrong."""
    options.setdefault("background", "#000000")
    options.setdefault("size", 64)
    summary = job.run(RunConfig(source, out, model=str(model), **options))
    assert summary.error is None
    assert summary.exit_code == 0
    assert summary.left == []
    return summary


def decoded(path: Path) -> list[av.VideoFrame]:
    """All frames of a file."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


def ramp(width: int, height: int) -> np.ndarray:
    """A grey image that is its own matte under the brightness model."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.dstack([(255 * (x + y) / 2).round().astype(np.uint8)] * 3)


def ramp_clip(path: Path, width: int, height: int) -> np.ndarray:
    """Three such frames in full-range 4:4:4; returns the matte."""
    grey = ramp(width, height)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = width, height, "yuv444p"
        video.codec_context.color_range, video.codec_context.colorspace = fr.FULL, fr.BT709
        for _ in range(3):
            image = fr.FrameFormat(width, height, "yuv444p", fr.BT709, fr.FULL).new_image()
            luma, *chroma = fr.planes(image)
            luma[:] = grey[..., 0]
            for plane in chroma:
                plane[:] = 128
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return grey[..., 0]
