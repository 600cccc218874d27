"""Write a short clip of a real person: ``python examples/portrait_clip.py FOLDER``.

The subject is the public-domain portrait of the astronaut Eileen Collins that scikit-image ships,
under a slow camera move; the background is the Hubble deep field. The clip has a soft tone as its
sound, so that one can hear that sound is kept.
"""

from __future__ import annotations

import argparse
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from skimage import data

RATE, SAMPLE_RATE = 30, 48000


def portrait_frame(t: float, width: int, height: int) -> NDArray[np.uint8]:
    """The portrait seen by a camera that drifts and moves in; t from 0 to 1.

    Returns:
        (height, width, 3) uint8 RGB.
    """
    portrait = data.astronaut()
    side = 512 / (1.05 + 0.25 * t)  # of the square of the portrait that is as wide as the frame
    scale = width / side
    x = (512 - side) * (0.5 + 0.5 * np.sin(2 * np.pi * t) * 0.8)
    y = (512 - side * height / width) * (0.02 + 0.15 * t)
    move = np.array([[scale, 0, -x * scale], [0, scale, -y * scale]], np.float32)
    frame: NDArray[np.uint8] = cv2.warpAffine(
        portrait, move, (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REPLICATE
    )
    return frame


def write_clip(
    path: Path, seconds: float = 3.0, width: int = 640, height: int = 480, audio: bool = True
) -> int:
    """Write H.264 and AAC to `path`; returns the number of frames."""
    frames = round(seconds * RATE)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        if audio:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
            wave = 0.05 * np.sin(
                2 * np.pi * 220 * np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
            )
            tone = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
            tone.sample_rate, tone.pts, tone.time_base = SAMPLE_RATE, 0, Fraction(1, SAMPLE_RATE)
            container.mux([*sound.encode(tone), *sound.encode(None)])
        for i in range(frames):
            rgb = portrait_frame(i / max(1, frames - 1), width, height)
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(video.encode(None))
    return frames


def main() -> None:
    parser = argparse.ArgumentParser(description="Write portrait.mp4 and stars.jpg.")
    parser.add_argument("folder", type=Path, help="where to; made if it is not there")
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    write_clip(folder / "portrait.mp4")
    stars = cv2.cvtColor(data.hubble_deep_field(), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "stars.jpg"), stars)


if __name__ == "__main__":
    main()
