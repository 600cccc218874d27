"""A clip to measure with where none is given: a real person under a camera that drifts.

``portrait.jpg`` is NASA's portrait of the astronaut Eileen Collins, in the public domain, as
scikit-image ships it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray

PORTRAIT = Path(__file__).parents[2] / "assets" / "portrait.jpg"
RATE = 30  # frames a second
PERIOD = 10  # seconds: then the camera is back where it was
GRAIN = 2.0  # standard deviation of a sensor's noise; without it encoders have too little to do
SLACK = 64  # pixels by which the noise is larger than a frame, to be cut anew for each


def write(path: Path, seconds: float, width: int, height: int) -> int:
    """Write H.264 without sound, `width` and `height` even; returns the number of frames.

    The same arguments give the same frames.
    """
    portrait: Any = cv2.imdecode(np.fromfile(PORTRAIT, np.uint8), cv2.IMREAD_COLOR)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, GRAIN, (height + SLACK, width + SLACK, 3)).round().astype(np.int16)
    frames = max(1, round(seconds * RATE))
    with av.open(str(path), "w") as container:
        options = {"preset": "veryfast", "crf": "18"}
        video = container.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for i in range(frames):
            y, x = rng.integers(0, SLACK, 2)
            seen = _camera(portrait, i / RATE / PERIOD, width, height)
            bgr = cv2.add(seen, noise[y : y + height, x : x + width], dtype=cv2.CV_8U)
            container.mux(video.encode(av.VideoFrame.from_ndarray(bgr, "bgr24")))
        container.mux(video.encode(None))
    return frames


def _camera(portrait: NDArray[np.uint8], t: float, width: int, height: int) -> NDArray[np.uint8]:
    """What it sees at `t` of its period, which is 1: (height, width, 3) uint8."""
    side = portrait.shape[0]
    scale = max(width, height) / side * (1.15 - 0.1 * np.cos(2 * np.pi * t))
    x = (side * scale - width) * (0.5 + 0.4 * np.sin(2 * np.pi * t))
    y = (side * scale - height) * (0.05 + 0.05 * np.sin(4 * np.pi * t))
    move = np.array([[scale, 0, -x], [0, scale, -y]], np.float32)
    frame: NDArray[np.uint8] = cv2.warpAffine(
        portrait, move, (width, height), borderMode=cv2.BORDER_REPLICATE
    )
    return frame
