"""The meaning of pixels: formats, bit depths, colour, orientation."""

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

MATRICES = {  # ISO/IEC 14496-12: x' = ax + cy, y' = bx + dy, y downwards
    "90 clockwise": ((0, 1, -1, 0), -1),
    "180": ((-1, 0, 0, -1), 2),
    "90 counterclockwise": ((0, -1, 1, 0), 1),
}


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("turn", MATRICES)
def test_turned_video_is_upright(tmp_path: Path, ones: Path, turn: str, pix_fmt: str) -> None:
    """As phones store it: the display matrix is applied, and not written again."""
    (a, b, c, d), turns = MATRICES[turn]
    clip = tmp_path / "in.mp4"
    base = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "0"})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.set_display_matrix([v * 65536 for v in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30])
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(base, "rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(clip)) as container:
        stored = next(container.decode(video=0))
        assert stored.rotation != 0
    upright = [np.rot90(p, turns) for p in fr.planes(stored)]
    width, height = (64, 48) if turn == "180" else (48, 64)
    with open_source(clip) as source:
        assert (source.format.width, source.format.height) == (width, height)
        found = frames_of(source)
        assert len(found) == 3
        planes = fr.planes(found[1].image)
    same = source.format.pix_fmt == pix_fmt
    assert same or (pix_fmt == "yuv422p" and source.format.pix_fmt == "yuv420p")
    for seen, expected in zip(planes if same else planes[:1], upright, strict=same):
        np.testing.assert_array_equal(seen, expected)
    run(clip, tmp_path / "out.mp4", ones)
    with av.open(str(tmp_path / "out.mp4")) as container:
        result = next(container.decode(video=0))
        assert result.rotation == 0
        assert (result.width, result.height) == (width, height)
        np.testing.assert_array_equal(fr.planes(result)[0], upright[0])


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


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "name"),
    [
        ("bgr0", "ffv1", "in.mkv"),
        ("rgb24", "png", "in.mov"),
        ("rgba", "png", "in.mov"),
        ("bgr24", "libx264rgb", "in.mp4"),
    ],
)
def test_rgb_video_keeps_its_colours_and_says_so(
    tmp_path: Path, pix_fmt: str, codec: str, name: str
) -> None:
    """RGB is converted once, by the matrix the format names; flat patches come back within 3."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32], rgb[:24, 32:], rgb[24:, :32] = (200, 30, 40), (20, 180, 60), (10, 20, 230)
    rgb[24:, 32:] = 255
    with av.open(str(tmp_path / name), "w") as container:
        options = {"qp": "0"} if codec == "libx264rgb" else {}
        stream = container.add_stream(codec, rate=30, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    warnings: list[str] = []
    with open_source(tmp_path / name, warn=warnings.append) as source:
        (found,) = frames_of(source)
        fmt = source.format
        assert any("processed as 8-bit" in w for w in warnings)
    assert fmt.pix_fmt in fr.PLANAR
    seen = fr.RgbScaler(fmt)(found.image, 64, 48).astype(int)
    for y, x in ((12, 16), (12, 48), (36, 16), (36, 48)):
        assert np.abs(seen[y, x] - rgb[y, x]).max() <= 3


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
