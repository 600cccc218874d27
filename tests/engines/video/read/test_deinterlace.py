"""Interlaced video: each two fields become one image, at its time, and that is said."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.codec.context import Flags

from engines.video import frame as fr
from engines.video.config import Clip
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, run
from tests.media import noise_clip, probe

FRAMES, WIDTH, HEIGHT = 20, 160, 64


def combed(path: Path, size: tuple[int, int] = (WIDTH, HEIGHT)) -> Path:
    """A bar that moves by 6 pixels from field to field, the upper field first."""
    width, height = size
    with av.open(str(path), "w") as container:
        options = {"x264-params": "tff=1", "crf": "1"}
        video = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.flags |= int(Flags.interlaced_dct | Flags.interlaced_me)
        for i in range(FRAMES):
            grey = np.zeros((height, width, 3), np.uint8)
            for field in (0, 1):
                x = min(6 * (2 * i + field) // 2, width - 12)
                grey[field::2, x : x + 12] = 255
            image = av.VideoFrame.from_ndarray(grey, "rgb24").reformat(format="yuv420p")
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return path


def comb(luma: np.ndarray) -> float:
    """How much neighbouring rows differ where those two apart do not."""
    rows = luma.astype(float)
    near = np.abs(rows[1:-1] - (rows[:-2] + rows[2:]) / 2)
    return float(near[np.abs(rows[:-2] - rows[2:]) < 20].mean())


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".ts"])
def test_combs_go_and_times_stay(suffix: str, tmp_path: Path, ones: Path) -> None:
    clip = combed(tmp_path / f"in{suffix}")
    with av.open(str(clip)) as container:
        before = [fr.planes(f)[0].copy() for f in container.decode(video=0)]
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        assert [w for w in warnings if "interlaced" in w]
    assert len(found) == FRAMES
    moving = range(2, FRAMES - 2)
    assert min(comb(before[n]) for n in moving) > 5
    assert max(comb(fr.planes(found[n].image)[0]) for n in moving) < 2
    summary = run(clip, tmp_path / "out.mkv", ones)
    assert summary.frames == FRAMES
    times = probe(clip).times
    first = times[0] if suffix == ".ts" else 0  # what a broadcast's clock says is taken off
    assert probe(tmp_path / "out.mkv").times == [t - first for t in times]


def test_a_part_is_exact(tmp_path: Path) -> None:
    """The frame before the part is needed to make its first one whole, and is not shown."""
    with open_source(combed(tmp_path / "in.mp4")) as source:
        whole = [fr.planes(f.image)[0].copy() for f in frames_of(source)]
    with open_source(tmp_path / "in.mp4", Clip(0.2, 0.4)) as source:
        part = frames_of(source)
    assert [f.pts * f.time_base for f in part] == [Fraction(n, 25) for n in range(10)]
    same = [np.array_equal(fr.planes(f.image)[0], whole[5 + n]) for n, f in enumerate(part)]
    assert all(same[1:])


def test_progressive_video_is_not_touched(tmp_path: Path) -> None:
    clip = noise_clip(tmp_path / "in.mkv", 10, codec="ffv1")
    with av.open(str(clip)) as container:
        before = [f.to_ndarray() for f in container.decode(video=0)]
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        after = [f.image.to_ndarray() for f in frames_of(source)]
        assert warnings == []
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))
