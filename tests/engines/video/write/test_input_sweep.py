"""Every kind of video file as an input, into each kind of output.

A sample by default; all with ``-m long``.
"""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.errors import WsshmError
from engines.video import run as job
from engines.video.config import RunConfig
from engines.video.write.codecs import CONTAINERS

FRAMES, RATE = 20, 25
CODECS = [
    *("libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "prores_ks", "dnxhd"),
    *("ffv1", "huffyuv", "libsvtav1", "libvpx", "libvpx-vp9", "wmv1", "wmv2", "msmpeg4", "flv"),
    *("h263p", "dvvideo", "utvideo", "cfhd", "rawvideo", "snow", "vc2", "cinepak", "png", "qtrle"),
]
WITH_B_FRAMES = {"libx264", "libx265", "mpeg4", "mpeg2video", "mpeg1video"}
SIZES = {"dnxhd": (1280, 720), "dvvideo": (720, 576), "cfhd": (320, 240)}
# Files whose times FFmpeg itself reads unevenly; they are to keep their frames and their order.
UNEVEN = {
    *((codec, "asf") for codec in ("mpeg1video", "mpeg2video")),
    ("mpeg2video", "mpg"),
}
SUFFIXES = ["avi", "mkv", "mov", "mp4", "ts", "mpg", "asf", "mxf", "flv", "webm", "ogv", "nut"]


@dataclass(frozen=True)
class Input:
    """A file to read; `b_frames` in a row."""

    codec: str
    suffix: str
    b_frames: int

    def __str__(self) -> str:
        return f"{self.codec} {self.suffix} {self.b_frames} B-frames"


def inputs() -> list[Input]:
    return [
        Input(codec, suffix, b_frames)
        for codec in CODECS
        for suffix in SUFFIXES
        for b_frames in ((0, 2) if codec in WITH_B_FRAMES else (0,))
    ]


def grey(i: int) -> int:
    return 40 + 9 * i


def made(kind: Input, folder: Path) -> Path | None:
    """Write a clip; return None where PyAV cannot, or cannot read it back."""
    path = folder / f"in.{kind.suffix}"
    width, height = SIZES.get(kind.codec, (64, 48))
    options = {"bf": str(kind.b_frames)} if kind.codec in WITH_B_FRAMES else {}
    if kind.codec == "libx265":
        options = {"x265-params": f"log-level=error:bframes={kind.b_frames}"}
    if kind.codec == "mjpeg":
        options = {"strict": "-1"}
    try:
        with av.open(str(path), "w") as container:
            video: Any = container.add_stream(kind.codec, rate=RATE, options=options)
            video.width, video.height = width, height
            formats = [f.name for f in video.codec_context.codec.video_formats or ()]
            wanted = ("yuv420p", "yuv422p", "yuv422p10le", "rgb24")
            pixels = next((p for p in wanted if not formats or p in formats), formats[0])
            video.pix_fmt = pixels
            if kind.codec == "dnxhd":
                video.bit_rate = 60_000_000
            if kind.codec == "dvvideo":
                video.pix_fmt = pixels = "yuv420p"
            video.codec_context.time_base = Fraction(1, RATE)
            for i in range(FRAMES):
                rgb = np.full((height, width, 3), grey(i), np.uint8)
                image = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
                image.pts, image.time_base = i, Fraction(1, RATE)
                container.mux(video.encode(image))
            container.mux(video.encode(None))
        with av.open(str(path)) as container:
            frames = len(list(container.decode(video=0)))
    except (av.error.FFmpegError, ValueError, IndexError):
        return None
    return path if frames == FRAMES else None


def judged(kind: Input, path: Path, suffix: str, model: Path) -> str:
    """Run a clip into a file and judge that; return the line that refuses it, or nothing."""
    out = path.with_name(f"out{suffix}")
    config = RunConfig(path, out, "#000000", model=str(model), size=64)
    try:
        summary = job.run(config)
    except WsshmError as e:
        return f"{suffix[1:]}: {e}"
    assert summary.error is None, summary.error
    assert summary.frames == FRAMES, (summary.frames, summary.warnings)
    assert summary.outputs == [out]
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        video.codec_context.options = {"err_detect": "explode"}
        frames = list(container.decode(video))
    out.unlink()
    assert len(frames) == FRAMES
    is_even = (kind.codec, kind.suffix) not in UNEVEN
    # What has no times of its own says so, as MPEG-1 whose rate FFmpeg takes for twice as high.
    is_even &= not any("uneven times" in text for text in summary.warnings)
    times = [frame.pts * frame.time_base for frame in frames]
    assert times == sorted(set(times))
    for i, frame in enumerate(frames):
        if is_even:
            assert abs(times[i] - times[0] - Fraction(i, RATE)) <= Fraction(1, 500), (i, times)
        level = frame.to_ndarray(format="gray").mean()
        assert abs(level - grey(i)) <= 12, (i, level, grey(i))
    return ""


def sample(every: list[Input], count: int) -> list[Input]:
    """A selection that is the same each time, and has each kind of file."""
    rng = random.Random(1)
    first = [next(k for k in every if k.suffix == s and k.b_frames) for s in ("mkv", "mp4", "ts")]
    return [*first, *rng.sample(every, count)]


@pytest.mark.parametrize("kind", sample(inputs(), 22), ids=str)
def test_inputs_into_outputs(kind: Input, tmp_path: Path, ones: Path) -> None:
    """Every frame at its time and in its grey, or one line before the first frame."""
    path = made(kind, tmp_path)
    if path is None:
        return
    assert judged(kind, path, random.Random(str(kind)).choice([".mp4", ".mkv", ".mov"]), ones) == ""


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_all_inputs_into_all_outputs(tmp_path: Path, ones: Path) -> None:
    counts: Counter[str] = Counter()
    faults = []
    for kind in inputs():
        path = made(kind, tmp_path)
        if path is None:
            counts["PyAV writes no such file"] += 1
            continue
        for suffix in CONTAINERS:
            try:
                counts[judged(kind, path, suffix, ones).replace(str(tmp_path), "")] += 1
            except AssertionError as e:
                faults.append(f"{kind} into {suffix}: {str(e).splitlines()[0]}")
        path.unlink()
    print(f"{counts.pop('')} written; {dict(counts)}")
    assert faults == []
