"""Make a clip to measure with: a portrait of a real person, seen by a drifting camera."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from engines.arrays import U8
from engines.assets import PORTRAIT

FPS = 30
PERIOD_SECONDS = 10  # of the camera's movement
NOISE_SIGMA = 2.0  # of 255: without a sensor's noise, encoders have too little to do
NOISE_MARGIN = 64  # pixels by which the noise is larger than a frame; each frame gets another crop


def write(path: Path, seconds: float, width: int, height: int) -> int:
    """Write a clip in H.264 without sound; the same arguments give the same frames.

    Args:
        width, height: in pixels, both even.

    Returns:
        The number of frames.
    """
    portrait: Any = cv2.imdecode(np.fromfile(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)
    rng = np.random.default_rng(0)
    noise = (
        rng.normal(0, NOISE_SIGMA, (height + NOISE_MARGIN, width + NOISE_MARGIN, 3))
        .round()
        .astype(np.int16)
    )
    frames = max(1, round(seconds * FPS))
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "18"}
        video = container.add_stream("libx264", rate=FPS, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            y, x = rng.integers(0, NOISE_MARGIN, 2)
            seen = _camera(portrait, i / FPS / PERIOD_SECONDS, width, height)
            bgr = cv2.add(seen, noise[y : y + height, x : x + width], dtype=cv2.CV_8U)
            container.mux(video.encode(av.VideoFrame.from_ndarray(bgr, "bgr24")))
        container.mux(video.encode(None))
    return frames


def _camera(portrait: U8, t: float, width: int, height: int) -> U8:
    """Return the camera's view (height, width, 3) at the time `t`, in periods."""
    side = portrait.shape[0]
    scale = max(width, height) / side * (1.15 - 0.1 * np.cos(2 * np.pi * t))
    x = (side * scale - width) * (0.5 + 0.4 * np.sin(2 * np.pi * t))
    y = (side * scale - height) * (0.05 + 0.05 * np.sin(4 * np.pi * t))
    move = np.array([[scale, 0, -x], [0, scale, -y]], np.float32)
    frame: U8 = cv2.warpAffine(portrait, move, (width, height), borderMode=cv2.BORDER_REPLICATE)
    return frame
