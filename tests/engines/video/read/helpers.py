"""What tests of sources share."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from engines.video import run as job
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.frame import Frame
from engines.video.read.source import FrameSource
from engines.video.summary import Summary

LOSSLESS = Encoding(crf=0)


def frames_of(source: FrameSource) -> list[Frame]:
    """The frames of a source, without the packets between them."""
    return list(source.frames())


def image(path: Path, width: int = 32, height: int = 24, grey: int = 100) -> Path:
    """A flat image, in the format of the ending."""
    cv2.imwrite(str(path), np.full((height, width, 3), grey, np.uint8))
    return path


def run(clip: Path, out: Path, model: Path, *, part: Clip | None = None) -> Summary:
    """A run without loss, on which nothing went wrong."""
    summary = job.run(
        RunConfig(
            clip, out, "#000000", model=str(model), size=64, clip=part or Clip(), encoding=LOSSLESS
        )
    )
    assert summary.error is None
    assert summary.exit_code == 0
    return summary
