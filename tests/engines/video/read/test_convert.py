"""The meaning of pixels: formats, bit depths, colour. RGB and alpha have tests of their own."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from engines.errors import BadData
from engines.video import frame as fr
from engines.video.config import Clip
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, run
from tests.media import noise_clip, probe


@pytest.mark.parametrize(
    ("name", "size"),
    [("tricky/with-gps.mov", (320, 568)), ("derived/person_rotate90_audio.mp4", (720, 1280))],
)
def test_real_turned_video_is_upright(
    tmp_path: Path, ones: Path, name: str, size: tuple[int, int], shared_data: Path
) -> None:
    """A real phone's file: turned, with sound and with streams that are no video."""
    clip = shared_data / "video" / name
    run(clip, tmp_path / "out.mp4", ones, part=Clip(0, 0.2))
    result = probe(tmp_path / "out.mp4")
    assert result.size == size
    assert result.frames == 6


@pytest.mark.parametrize(
    ("pix_fmt", "becomes", "shift"),
    [
        ("yuv420p10le", "yuv420p", 2),
        ("yuv422p10le", "yuv422p", 2),
        ("yuv444p10le", "yuv444p", 2),
        ("yuv420p12le", "yuv420p", 4),
    ],
)
def test_deeper_video_is_made_8_bit_and_said(
    tmp_path: Path, pix_fmt: str, becomes: str, shift: int
) -> None:
    """10 and 12 bits become 8, nothing else changes, and a warning names both formats."""
    clip = noise_clip(tmp_path / "in.mkv", 3, pix_fmt=pix_fmt, codec="ffv1")
    with av.open(str(clip)) as container:
        deep = next(container.decode(video=0))
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        assert source.format.pix_fmt == becomes
        assert source.format.range == fr.LIMITED
        found = frames_of(source)
        warned = [w for w in warnings if pix_fmt in w and f"8-bit {becomes}" in w]
        assert len(warned) == 1
        assert "--bits 10 keeps 10" in warned[0]
    for plane, wide in zip(fr.planes(found[0].image), deep.planes, strict=True):
        rows = np.frombuffer(memoryview(wide), np.uint16).reshape(wide.height, -1)
        levels = rows[:, : wide.width]
        assert np.abs(plane - levels / (1 << shift)).max() <= 1


@pytest.mark.parametrize("pix_fmt", ["gray", "nv12", "yuv411p", "yuv440p", "yuyv422", "yuva420p"])
def test_other_formats_are_converted(tmp_path: Path, pix_fmt: str) -> None:
    """Grey, packed and odd subsamplings come out planar, luma untouched, with a warning."""
    clip = noise_clip(tmp_path / "in.nut", 3, pix_fmt=pix_fmt, codec="rawvideo")
    with av.open(str(clip)) as container:
        before = next(container.decode(video=0)).reformat(format="yuv444p")
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        assert len(found) == 3
        assert source.format.pix_fmt in fr.PLANAR
        assert any(pix_fmt in w for w in warnings)
    luma = fr.planes(found[0].image)[0].astype(int)
    assert np.abs(luma - fr.planes(before)[0]).max() <= 1


def test_full_range_is_kept(tmp_path: Path) -> None:
    """yuvj420p is 4:2:0 at full range: not converted, no warning."""
    clip = noise_clip(tmp_path / "in.avi", 3, pix_fmt="yuvj420p", codec="mjpeg")
    with av.open(str(clip)) as container:
        before = [p.copy() for p in fr.planes(next(container.decode(video=0)))]
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        assert (source.format.pix_fmt, source.format.range) == ("yuv420p", fr.FULL)
        assert warnings == []
        for a, b in zip(before, fr.planes(frames_of(source)[0].image), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("height", "matrix"), [(480, fr.BT601), (720, fr.BT709)])
def test_untagged_matrix_goes_by_height(tmp_path: Path, height: int, matrix: int) -> None:
    """Without a tag, 720 lines and more are BT.709, fewer BT.601."""
    clip = noise_clip(tmp_path / "in.mkv", 1, 32, height, options={"preset": "ultrafast"})
    with open_source(clip) as source:
        assert source.format.matrix == matrix


def test_hdr_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """PQ and HLG would come out washed out; the message says how to convert."""
    for transfer in (16, 18):
        clip = noise_clip(
            tmp_path / f"{transfer}.mkv",
            2,
            pix_fmt="yuv420p10le",
            codec="ffv1",
            color_trc=transfer,
            color_primaries=9,
            colorspace=9,
        )
        with pytest.raises(BadData, match=r"HDR.*ffmpeg"):
            open_source(clip)
