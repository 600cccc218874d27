"""RGB video: exact from decoder to encoder where the output holds RGB, else converted once."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.config import Encoding, Save
from engines.video.read.open import open_source
from tests.engines.video.outputs import LOSSLESS, PLAIN, decoded, run
from tests.engines.video.read.helpers import frames_of
from tests.media import noise_clip

WIDTH, HEIGHT = 65, 49


def noise() -> Plane:
    """(H, W, 3) RGB in which every level of every channel is found, in patches and in noise."""
    rng = np.random.default_rng(5)
    rgb = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    patches = rng.integers(0, 256, (3, 8, 3), np.uint8)
    rgb[:24, :64] = patches.repeat(8, 0).repeat(8, 1)
    return rgb


def write(
    path: Path, codec: str, pix_fmt: str, rgb: Plane, options: dict[str, str] | None = None
) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = rgb.shape[:2]
        stream.pix_fmt = pix_fmt
        for i in range(2):
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


KINDS = {
    "ffv1": ("in.mkv", "ffv1", "bgr0"),
    "png": ("in.mov", "png", "rgb24"),
    "png with alpha": ("in.mov", "png", "rgba"),
    "qtrle": ("in.mov", "qtrle", "rgb24"),
    "huffyuv": ("in.avi", "huffyuv", "rgb24"),
    "ffvhuff": ("in.avi", "ffvhuff", "gbrp"),
    "utvideo": ("in.avi", "utvideo", "gbrp"),
    "magicyuv": ("in.avi", "magicyuv", "gbrp"),
    "h264": ("in.mp4", "libx264rgb", "bgr24"),
    "vp9": ("in.mkv", "libvpx-vp9", "gbrp"),
    "avi": ("in.avi", "rawvideo", "bgr24"),
    "avi of 32 bits": ("in.avi", "rawvideo", "bgra"),
    "mov": ("in.mov", "rawvideo", "rgb24"),
    "nut": ("in.nut", "rawvideo", "0bgr"),
    "48 bits": ("in.mov", "png", "rgb48be"),
    "12 bits": ("in.mkv", "ffv1", "gbrp12le"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_read_as_it_is(tmp_path: Path, kind: str) -> None:
    """Every sample of packed and planar RGB, and of deeper RGB that was made of 8 bits."""
    name, codec, pix_fmt = KINDS[kind]
    options = {"qp": "0"} if codec == "libx264rgb" else {"lossless": "1"} if "vp9" in codec else {}
    rgb = noise()
    clip = write(tmp_path / name, codec, pix_fmt, rgb, options)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found, fmt = frames_of(source), source.format
    assert (fmt.pix_fmt, fmt.range, fmt.width, fmt.height) == ("gbrp", fr.FULL, WIDTH, HEIGHT)
    assert len(found) == 2
    for frame in found:
        green, blue, red = fr.planes(frame.image)
        np.testing.assert_array_equal(np.dstack([red, green, blue]), rgb)
        assert frame.alpha is None
    assert len(warnings) == (kind in ("48 bits", "12 bits"))  # their depth is said


@pytest.mark.parametrize("codec", ["ffv1", "png", "qtrle"])
def test_it_is_written_as_it_is(tmp_path: Path, ones: Path, codec: str) -> None:
    """By encoders without loss, at odd sizes; nothing is warned of."""
    rgb = noise()
    clip = write(tmp_path / "in.mkv", "ffv1", "bgr0", rgb)
    out = tmp_path / ("out.mkv" if codec == "ffv1" else "out.mov")
    summary = run(clip, out, ones, encoding=Encoding(codec))
    made = decoded(out)
    assert summary.warnings == []
    assert len(made) == 2
    for frame in made:
        np.testing.assert_array_equal(frame.to_ndarray(format="rgb24"), rgb)


def test_its_pictures_are_as_it_is(tmp_path: Path, ones: Path) -> None:
    """A folder of PNG files."""
    rgb = noise()
    clip = write(tmp_path / "in.avi", "utvideo", "gbrp", rgb)
    run(clip, tmp_path / "out", ones)
    files = sorted((tmp_path / "out").iterdir())
    assert len(files) == 2
    for file in files:
        np.testing.assert_array_equal(cv2.imread(str(file))[..., ::-1], rgb)


def test_it_is_composited_in_rgb(tmp_path: Path, brightness: Path) -> None:
    """αF + (1 - α)B of RGB values, rounded once."""
    rgb = noise()
    clip = write(tmp_path / "in.mkv", "ffv1", "bgr0", rgb)
    run(
        clip,
        tmp_path / "out.mkv",
        brightness,
        background="#3060c0",
        save=(Save.composite, Save.alpha),
        encoding=Encoding("ffv1"),
        matte=PLAIN,
    )
    alpha = fr.planes(decoded(tmp_path / "out_alpha.mkv")[0])[0][..., np.newaxis].astype(int)
    behind = np.array([0x30, 0x60, 0xC0])
    expected = (alpha * rgb + (255 - alpha) * behind + 127) // 255
    seen = decoded(tmp_path / "out.mkv")[0].to_ndarray(format="rgb24")
    np.testing.assert_array_equal(seen, expected)
    assert 0.1 < alpha.mean() / 255 < 0.9


LUMA_OF_RGB = {fr.BT601: (0.299, 0.587, 0.114), fr.BT709: (0.2126, 0.7152, 0.0722)}


@pytest.mark.parametrize(("height", "matrix"), [(48, fr.BT601), (720, fr.BT709)])
@pytest.mark.parametrize("name", ["out.mp4", "out.webm", "out.mov", "out.y4m"])
def test_where_it_must_become_yuv_it_is_rounded_right(
    tmp_path: Path, ones: Path, height: int, matrix: int, name: str
) -> None:
    """By the matrix of its size, which is named in the file, in limited range; and that is said."""
    rng = np.random.default_rng(2)
    rgb = rng.integers(0, 256, (height // 16, 16, 3), np.uint8).repeat(16, 0).repeat(16, 1)
    clip = write(tmp_path / "in.mkv", "ffv1", "bgr0", rgb)
    codec = "prores" if name == "out.mov" else None
    crf = None if name in ("out.mov", "out.y4m") else 0
    summary = run(clip, tmp_path / name, ones, encoding=Encoding(codec, crf))
    assert [w for w in summary.warnings if "RGB video is encoded as yuv" in w]
    made = decoded(tmp_path / name)[0]
    if name != "out.y4m":
        assert int(made.colorspace) == matrix
        assert int(made.color_range) == fr.LIMITED
    r, g, b = (rgb[..., i] / 255 for i in range(3))
    of_r, of_g, of_b = LUMA_OF_RGB[matrix]
    y = of_r * r + of_g * g + of_b * b
    ideal = 16 + 219 * y, 128 + 112 * (b - y) / (1 - of_b), 128 + 112 * (r - y) / (1 - of_r)
    tolerance = 0.01 if name in ("out.mp4", "out.y4m") else 2.5  # besides that of rounding
    for i, (plane, wanted) in enumerate(zip(fr.planes(made), ideal, strict=True)):
        levels = plane / (4 if "10le" in made.format.name else 1)
        step = wanted.shape[0] // plane.shape[0], wanted.shape[1] // plane.shape[1]
        middle = tuple(slice(8 // s, None, 16 // s) for s in step)
        error = levels[middle] - wanted[8::16, 8::16]
        if i == 0:
            assert np.abs(error).max() <= 0.5 + tolerance
        assert abs(error.mean()) <= (0.1 if tolerance < 1 else 0.5)


@pytest.mark.parametrize("ending", ["mkv", "mov", "webm"])
def test_foreground_with_alpha(tmp_path: Path, brightness: Path, ending: str) -> None:
    """FFV1 holds RGB and alpha to the bit; the others what their YUV can."""
    rgb = np.full((48, 64, 3), (200, 60, 90), np.uint8)
    rgb[:, 32:] = (220, 210, 250)
    clip = write(tmp_path / "in.mkv", "ffv1", "bgr0", rgb)
    run(
        clip,
        tmp_path / f"f.{ending}",
        brightness,
        save=(Save.foreground, Save.alpha),
        encoding=Encoding("ffv1") if ending == "mkv" else Encoding(),
        matte=PLAIN,
    )
    out = tmp_path / f"f.{ending}"
    matte = fr.planes(decoded(next(tmp_path.glob("f_alpha.*")))[0])[0].astype(int)
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        if ending == "webm":
            context = av.CodecContext.create("libvpx-vp9", "r")
        frame = next(f for p in container.demux(video=0) for f in context.decode(p))
    seen = frame.to_ndarray(format="rgba").astype(int)
    off = np.abs(seen[..., :3] - rgb), np.abs(seen[..., 3] - matte)
    if ending == "mkv":
        assert frame.format.name == "bgra"
        assert (off[0].max(), off[1].max()) == (0, 0)
    assert np.median(off[0]) <= 3
    assert np.median(off[1]) <= 3


def columns(height: int = 48) -> Plane:
    """(H, 64, 3) RGB: red and blue columns of one pixel, which 4:2:0 makes purple."""
    rgb = np.zeros((height, 64, 3), np.uint8)
    rgb[:, ::2], rgb[:, 1::2] = (255, 20, 0), (0, 40, 255)
    return rgb


def assert_columns(frame: av.VideoFrame, matrix: int, bits: int = 10) -> None:
    """That an image has every column's own colour, in limited range."""
    r, g, b = (columns()[0, ..., i] / 255 for i in range(3))
    of_r, of_g, of_b = LUMA_OF_RGB[matrix]
    y = of_r * r + of_g * g + of_b * b
    ideal = 64 + 876 * y, 512 + 448 * (b - y) / (1 - of_b), 512 + 448 * (r - y) / (1 - of_r)
    for plane, wanted in zip(frame.planes, ideal, strict=False):  # alpha is not looked at
        rows = np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)[:, :64]
        assert np.abs(rows / (1 << bits - 10) - wanted).max() <= 3.5  # FFmpeg's white is 943


TEN_BIT_KINDS = ["ffv1", "48 bits", "12 bits", "10 bits", "10 bits with alpha"]


@pytest.mark.parametrize(("height", "matrix"), [(48, fr.BT601), (720, fr.BT709)])
@pytest.mark.parametrize("kind", TEN_BIT_KINDS)
def test_in_ten_bits_it_keeps_all_chroma(
    tmp_path: Path, ones: Path, kind: str, height: int, matrix: int
) -> None:
    """As YUV by the matrix of its size, which is named in the file; and that is said."""
    ten_bits = ("in.mkv", "ffv1", "gbrap10le" if "alpha" in kind else "gbrp10le")
    name, codec, pix_fmt = KINDS.get(kind, ten_bits)
    clip = write(tmp_path / name, codec, pix_fmt, columns(height))
    summary = run(clip, tmp_path / "out.mkv", ones, bit_depth=10, encoding=Encoding("ffv1"))
    assert summary.warnings == [f"{pix_fmt} video is processed as 10-bit yuv444p10le"]
    for frame in decoded(tmp_path / "out.mkv"):
        assert frame.format.name == "yuv444p10le"
        assert (frame.colorspace, frame.color_range) == (matrix, fr.LIMITED)
        assert_columns(frame, matrix)


@pytest.mark.parametrize(
    ("name", "codec", "pixels"),
    [
        ("out.mp4", "h264", "yuv420p10le"),
        ("out.mkv", "hevc", "yuv420p10le"),
        ("out.webm", "av1", "yuv420p10le"),
        ("out.mov", "prores", "yuv444p12le"),  # as FFmpeg decodes it
        ("out.y4m", None, "yuv444p10le"),
    ],
)
def test_in_ten_bits_it_loses_chroma_where_players_show_no_other(
    tmp_path: Path, ones: Path, name: str, codec: str | None, pixels: str
) -> None:
    """And that is said."""
    clip = write(tmp_path / "in.mkv", "ffv1", "gbrp10le", columns())
    summary = run(clip, tmp_path / name, ones, bit_depth=10, encoding=Encoding(codec))
    said = [w for w in summary.warnings if w.startswith("RGB video is encoded as yuv420p10le by")]
    made = decoded(tmp_path / name)[0]
    assert made.format.name == pixels
    assert len(said) == ("420" in pixels)
    if "444" in pixels:
        assert_columns(made, fr.BT601, made.format.components[0].bits)


def test_a_foreground_in_ten_bits_keeps_all_chroma(tmp_path: Path, brightness: Path) -> None:
    """And its matte is YUV that players show, in 8 bits."""
    clip = write(tmp_path / "in.mkv", "ffv1", "gbrp10le", columns())
    for name, codec, pixels, matte in (
        ("f.mkv", "ffv1", "yuva444p10le", "yuv420p"),
        ("f.mov", None, "yuva444p12le", "yuvj420p"),
    ):
        summary = run(
            clip,
            tmp_path / name,
            brightness,
            bit_depth=10,
            save=(Save.foreground, Save.alpha),
            encoding=Encoding(codec),
            matte=PLAIN,
        )
        assert not [w for w in summary.warnings if "RGB" in w]
        made = decoded(tmp_path / name)[0]
        assert made.format.name == pixels
        assert_columns(made, fr.BT601, made.format.components[0].bits)
        beside = decoded(tmp_path / name.replace("f.", "f_alpha."))[0]
        assert beside.format.name == matte


def test_an_animation_in_ten_bits_keeps_all_chroma(tmp_path: Path, ones: Path) -> None:
    still, other = Image.fromarray(columns()), Image.fromarray(columns()[:, ::-1])
    clip, out = tmp_path / "in.png", tmp_path / "out.mkv"
    still.save(clip, save_all=True, append_images=[other], duration=40)
    run(clip, out, ones, bit_depth=10, encoding=Encoding("ffv1"))
    first = decoded(out)[0]
    assert first.format.name == "yuv444p10le"
    assert_columns(first, fr.BT601)


def test_rgb_before_yuv_and_yuv_before_rgb(tmp_path: Path, zeros: Path) -> None:
    """A background of the other kind keeps its colours."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32], rgb[:24, 32:], rgb[24:, :32] = (200, 30, 40), (20, 180, 60), (10, 20, 230)
    rgb[24:, 32:] = 255
    as_rgb = write(tmp_path / "rgb.mkv", "ffv1", "bgr0", rgb)
    fmt = fr.FrameFormat(64, 48, "yuv444p")
    as_yuv = tmp_path / "yuv.mkv"
    with av.open(str(as_yuv), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        fmt.tag(stream.codec_context)
        out.mux(stream.encode(fr.from_rgb(rgb, fmt)))
        out.mux(stream.encode(None))
    for clip, behind in ((as_rgb, as_yuv), (as_yuv, as_rgb)):
        out_path = tmp_path / f"o_{clip.stem}.mkv"
        run(clip, out_path, zeros, background=str(behind), encoding=Encoding("ffv1"))
        seen = decoded(out_path)[0].to_ndarray(format="rgb24").astype(int)
        assert np.abs(seen - rgb).max() <= 3
    noise_clip(tmp_path / "in.mp4", 2)
    run(tmp_path / "in.mp4", tmp_path / "o.mp4", zeros, background=str(as_rgb), encoding=LOSSLESS)
    seen = decoded(tmp_path / "o.mp4")[0].to_ndarray(format="rgb24").astype(int)
    assert np.median(np.abs(seen - rgb)) <= 3
