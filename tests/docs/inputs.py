"""The files that the examples of README and docs name, made on the spot and small."""

from __future__ import annotations

import shutil
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from skimage import data

from tests import graphs
from tests.media import noise_clip, portrait_frame, write_clip

WIDTH, HEIGHT = 160, 120
LECTURE_SECONDS = 104  # the example cuts ten seconds from 1:30 on


def make(folder: Path, dataset: Path) -> Path:
    """Fill `folder`, and return it.

    Args:
        dataset: labelled images, as training takes them.
    """
    person = cv2.cvtColor(portrait_frame(0.5, WIDTH, HEIGHT), cv2.COLOR_RGB2BGR)
    place = cv2.cvtColor(cv2.resize(data.coffee(), (WIDTH, HEIGHT)), cv2.COLOR_RGB2BGR)
    write_clip(folder / "clip.mp4", 0.5, WIDTH, HEIGHT)
    for name in ("clip.mov", "clip.ts", "a.mp4", "b/1.mov", "shoot/take.mp4"):
        (folder / name).parent.mkdir(exist_ok=True)
        write_clip(folder / name, 0.2, WIDTH, HEIGHT)
    lecture(folder / "lecture.mp4")
    noise_clip(folder / "waves.mp4", 5)
    images = ("photo.jpg", "portrait.jpg", "shoot/still.jpg", "holiday/1.jpg", "holiday/2.jpg")
    for name in (*images, "shots/a1.png", "shots/a2.png", "shots/b1.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(folder / name), person)
    cv2.imwrite(str(folder / "beach.jpg"), place)
    hole = np.full((HEIGHT, WIDTH), 255, np.uint8)
    cv2.circle(hole, (WIDTH // 2, HEIGHT // 2), HEIGHT // 3, 0, -1)
    cv2.imwrite(str(folder / "frame.png"), np.dstack([place, hole]))
    graphs.brightness(folder / "model.onnx")
    shutil.copytree(dataset, folder / "DATA")
    for i in range(20, 32):  # int8 is calibrated on ten images at least
        for place in ("seg/a/images/1.jpg", "seg/a/masks/1.png", "matte/b/rgba/1.png"):
            source = folder / "DATA" / place
            shutil.copy(source, source.with_stem(str(i)))
    (folder / "DATA/val.txt").write_text("seg/a/images/10.jpg\nmatte/b/rgba/1.png\n")
    return folder


def lecture(path: Path) -> None:
    """Write a long clip of few frames: two a second, a key frame every ten seconds."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=2, options={"g": "20", "preset": "ultrafast"})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        video.codec_context.time_base = Fraction(1, 2)
        rgb = portrait_frame(0.5, WIDTH, HEIGHT)
        for i in range(2 * LECTURE_SECONDS):
            frame = av.VideoFrame.from_ndarray(np.roll(rgb, i % 8, axis=1), "rgb24")
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
