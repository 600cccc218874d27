"""``--bits 10``: what has 10 bits keeps them from the decoder to the encoder, or is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.errors import UsageError, WsshmError
from engines.video import frame as fr
from engines.video import run as job
from engines.video.compose.background import BlurredBackground
from engines.video.config import Encoding, MatteOptions, RunConfig, Save
from engines.video.matte.postprocess import MattePostprocessor
from engines.video.read.open import open_source
from engines.video.write import encoders
from tests.conftest import Wsshm
from tests.engines.video.compose.helpers import KR_KB
from tests.engines.video.outputs import decoded, run
from tests.media import noise_clip
from tests.outlines import PERSON, WALL, framed, over, reduced, soft_person, textured

FFV1 = Encoding("ffv1")
MEANINGS = [(m, r) for m in (fr.BT601, fr.BT709) for r in (fr.LIMITED, fr.FULL)]


def levels(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes of an image as (H, W) float, in levels of 10 bits."""
    found = []
    for plane, part in zip(frame.planes, frame.format.components, strict=True):
        rows = np.frombuffer(memoryview(plane), np.uint8 if part.bits == 8 else "<u2")
        rows = rows.reshape(plane.height, -1)[:, : plane.width]
        found.append(rows * 2.0 ** (10 - part.bits))
    return found


def ramp_clip(
    path: Path,
    pix_fmt: str = "yuv420p10le",
    steps: int = 1024,
    start: int = 0,
    frames: int = 3,
    **context: Any,
) -> Path:
    """Still images, 256×32, without loss; planes rise by `steps` from the left to the right."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = 256, 32, pix_fmt
        for name, value in context.items():
            setattr(video.codec_context, name, value)
        for _ in range(frames):
            image = av.VideoFrame(256, 32, pix_fmt)
            for plane in image.planes:
                wide = np.dtype("<u2" if "10" in pix_fmt else "u1")
                rows = np.frombuffer(memoryview(plane), wide).reshape(plane.height, -1)
                place = np.arange(plane.width * plane.height).reshape(plane.width, plane.height).T
                rows[:, : plane.width] = start + place * steps // place.size
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return path


def same(a: list[np.ndarray], b: list[np.ndarray], within: float = 0) -> bool:
    return all(np.abs(p - q).max() <= within for p, q in zip(a, b, strict=True))


@pytest.mark.parametrize(("matrix", "color_range"), MEANINGS)
@pytest.mark.parametrize("pix_fmt", ["yuv420p10le", "yuv422p10le", "yuv444p10le"])
def test_all_person_is_the_input(
    tmp_path: Path, ones: Path, pix_fmt: str, matrix: int, color_range: int
) -> None:
    """Every level from 0 to 1023, its matrix and its range come back; nothing is to be said."""
    clip = ramp_clip(tmp_path / "in.mkv", pix_fmt, colorspace=matrix, color_range=color_range)
    out = tmp_path / "o.mkv"
    assert run(clip, out, ones, bit_depth=10, encoding=FFV1).warnings == []
    for before, after in zip(decoded(clip), decoded(out), strict=True):
        assert after.format.name == pix_fmt
        assert (after.colorspace, after.color_range) == (matrix, color_range)
        assert same(levels(before), levels(after))


@pytest.mark.parametrize(("matrix", "color_range"), MEANINGS)
def test_a_colour_behind_is_the_standards(
    tmp_path: Path, zeros: Path, matrix: int, color_range: int
) -> None:
    """Within one and a half levels of 10 bits, of which one of 8 bits is four."""
    clip = ramp_clip(tmp_path / "in.mkv", colorspace=matrix, color_range=color_range)
    kr, kb = KR_KB[matrix]
    for colour in ("3366cc", "00b140", "fefe01", "000000", "ffffff"):
        run(
            clip,
            tmp_path / f"{colour}.mkv",
            zeros,
            bit_depth=10,
            background=f"#{colour}",
            encoding=FFV1,
        )
        red, green, blue = np.array(list(bytes.fromhex(colour))) / 255
        y = kr * red + (1 - kr - kb) * green + kb * blue
        parts = y, (blue - y) / (2 - 2 * kb), (red - y) / (2 - 2 * kr)
        expected = [64 + 876 * y, 512 + 896 * parts[1], 512 + 896 * parts[2]]
        if color_range == fr.FULL:
            expected = [1023 * y, *(min(1023, 512 + 1023 * c) for c in parts[1:])]
        assert same(levels(decoded(tmp_path / f"{colour}.mkv")[0]), expected, 1.5)


def test_a_video_behind_keeps_its_ten_bits(tmp_path: Path, zeros: Path) -> None:
    """Where nobody is, its levels, also when it begins again, and under a clip of 8 bits."""
    behind = ramp_clip(tmp_path / "behind.mkv", frames=2)
    clip = ramp_clip(tmp_path / "in.mkv", "yuv420p", 200)
    run(clip, tmp_path / "o.mkv", zeros, bit_depth=10, background=str(behind), encoding=FFV1)
    for frame in decoded(tmp_path / "o.mkv"):
        assert same(levels(decoded(behind)[0]), levels(frame))


@pytest.mark.parametrize("color_range", [fr.LIMITED, fr.FULL])
def test_eight_bits_become_ten_and_that_is_said(
    tmp_path: Path, ones: Path, color_range: int
) -> None:
    """Four levels for each, white included."""
    clip = ramp_clip(tmp_path / "in.mkv", "yuv420p", 256, color_range=color_range)
    (said,) = run(clip, tmp_path / "o.mkv", ones, bit_depth=10, encoding=FFV1).warnings
    assert said == "yuv420p video is processed as 10-bit yuv420p10le"
    before, after = levels(decoded(clip)[0]), levels(decoded(tmp_path / "o.mkv")[0])
    assert same(before, after, 3 if color_range == fr.FULL else 0)
    assert after[0].max() == (1023 if color_range == fr.FULL else 1020)


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_a_blurred_sky_has_no_bands(tmp_path: Path, zeros: Path, pix_fmt: str) -> None:
    """A gentle slope is as fine as 10 bits are, also where 8 came in; with 8 it has wide steps."""
    steps, start = (12, 100) if pix_fmt == "yuv420p" else (48, 400)
    clip = ramp_clip(tmp_path / "in.mkv", pix_fmt, steps, start)
    sky, widest = levels(decoded(clip)[0])[0][16, 60:-60], {}
    for bit_depth in (8, 10):
        out = tmp_path / f"{bit_depth}.mkv"
        run(clip, out, zeros, bit_depth=bit_depth, background="blur:10", encoding=FFV1)
        row = levels(decoded(out)[0])[0][16, 60:-60]
        assert (np.diff(row) >= 0).all()
        assert np.abs(row - sky).max() <= 4
        widest[bit_depth] = np.diff(row).max()
    assert widest == {8: 4, 10: 1}


def test_blurred_white_stays_white() -> None:
    """Weights are rounded; no level comes out over 1023."""
    fmt = fr.FrameFormat(64, 48, "yuv444p10le", range=fr.FULL)
    image, alpha = fmt.new_image(), np.full((48, 64), 191, np.uint8)
    for plane in fr.planes(image):
        plane[:] = 1023
    frame = fr.Frame(image, fmt, 0, Fraction(1))
    for plane in BlurredBackground(3).planes(frame, [alpha] * 3):
        assert (plane == 1023).all()


@pytest.mark.parametrize(
    ("name", "codec", "given", "pix_fmt"),
    [
        ("o.mp4", None, "yuv420p10le", "yuv420p10le"),
        ("o.mp4", "hevc", "yuv422p10le", "yuv422p10le"),
        ("o.mov", "prores", "yuv420p10le", "yuv422p10le"),
        ("o.mkv", "av1", "yuv444p10le", "yuv420p10le"),
        ("o.webm", None, "yuv420p10le", "yuv420p10le"),
        ("o.y4m", None, "yuv420p10le", "yuv420p10le"),
    ],
)
def test_every_encoder_that_can_is_given_ten(
    tmp_path: Path, ones: Path, name: str, codec: str | None, given: str, pix_fmt: str
) -> None:
    """What is in the file has them: it is nearer the input than 8 bits can be."""
    clip = ramp_clip(tmp_path / "in.mkv", given, steps=256, start=400)
    crf = None if name in ("o.mov", "o.y4m") else 4
    run(clip, tmp_path / name, ones, bit_depth=10, encoding=Encoding(codec, crf))
    frame = decoded(tmp_path / name)[1]
    assert frame.format.name == pix_fmt
    luma, *_ = levels(decoded(clip)[1])
    assert np.abs(levels(frame)[0] - luma).mean() < 0.7
    assert np.abs(4 * np.rint(luma / 4) - luma).mean() == 1


@pytest.mark.parametrize(("name", "within"), [("o.mov", 0.5), ("o.mkv", 0)])
def test_foreground_keeps_ten_bits_of_colour(
    tmp_path: Path, ones: Path, zeros: Path, name: str, within: float
) -> None:
    """ProRes 4444 nearly, FFV1 exactly; alpha of 8 bits reaches both ends of theirs."""
    clip = ramp_clip(tmp_path / "in.mkv", "yuv444p10le", steps=256, start=400)
    for model, alpha in ((ones, 1023), (zeros, 0)):
        run(clip, tmp_path / name, model, save=(Save.foreground,), bit_depth=10, overwrite=True)
        frame = decoded(tmp_path / name)[0]
        assert frame.format.name.startswith("yuva444p1")
        for before, after in zip(levels(decoded(clip)[0]), levels(frame)[:3], strict=True):
            assert np.abs((before if alpha else 512) - after).mean() <= within  # or plain grey
        assert np.abs(levels(frame)[3] - alpha).max() < 1


def test_outputs_of_one_run(tmp_path: Path, ones: Path) -> None:
    """Each has its bits: the matte 8, the others 10, in files that can hold them."""
    clip = ramp_clip(tmp_path / "in.mkv", start=300, steps=20)
    wanted = Save.composite, Save.alpha, Save.foreground
    run(clip, tmp_path / "o.mp4", ones, save=wanted, bit_depth=10)
    formats = {p.name: decoded(p)[0].format.name for p in tmp_path.glob("o*")}
    assert formats["o.mp4"] == "yuv420p10le"
    assert formats["o_alpha.mp4"] in ("yuv420p", "yuvj420p")
    assert formats["o_foreground.mov"].startswith("yuva444p1")


def test_edges_are_as_in_eight_bits() -> None:
    """The same head in either: the same alpha, the same colour on its outline."""
    alpha = soft_person()
    height, width = alpha.shape
    rgb = over(alpha, textured(PERSON, width, height, 0), textured(WALL, width, height, 1))
    small = reduced(alpha, 3)
    seen = cv2.resize(rgb, small.shape[::-1], interpolation=cv2.INTER_AREA)
    eight, ten = (
        MattePostprocessor(MatteOptions())(framed(rgb, pix_fmt), seen, small)
        for pix_fmt in ("yuv444p", "yuv444p10le")
    )
    assert np.abs(eight.alphas[0].astype(int) - ten.alphas[0]).mean() < 0.2
    for a, b in zip(levels(eight.foreground), levels(ten.foreground), strict=True):
        assert np.abs(a - b).mean() < 1.5


def test_images_make_a_video_of_ten_bits(tmp_path: Path) -> None:
    """``--fps``: a grey has its own level of 10 bits, not four times that of 8."""
    cv2.imwrite(str(tmp_path / "1.png"), np.full((48, 64, 3), 101, np.uint8))
    with open_source(tmp_path, fps=Fraction(25), bit_depth=10) as source:
        (frame,) = source.items()
    assert isinstance(frame, fr.Frame)
    assert frame.image.format.name == "yuv420p10le"
    expected = [np.array(level) for level in (64 + 876 * 101 / 255, 512, 512)]
    assert same(levels(frame.image), expected, 1)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("o.mp4", {"encoding": Encoding("mpeg4")}, "mpeg4: no 10 bits in a .mp4 .*h264, hevc"),
        ("o.webm", {"encoding": Encoding("libvpx")}, "libvpx: no 10 bits in a .webm .*use .*av1"),
        ("o.webm", {"background": "transparent"}, "in 10 bits; use .mov .mkv$"),
        (
            "o.mkv",
            {"save": (Save.foreground,), "encoding": Encoding("vp9")},
            "vp9: no transparency in 10 bits in a .mkv file; use ffv1, prores",
        ),
        ("frames", {}, "PNG files have 8 bits; for --bits 10 use -o NAME.mkv"),
    ],
)
def test_what_cannot_hold_ten_bits_is_refused(
    tmp_path: Path, ones: Path, name: str, options: dict[str, Any], said: str
) -> None:
    """In a line that names what can, before anything is written."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    with pytest.raises(UsageError, match=said):
        run(clip, tmp_path / name, ones, bit_depth=10, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_hardware_and_images_are_refused(tmp_path: Path, ones: Path) -> None:
    """Encoders in hardware are asked for theirs: Quick Sync's H.264 has 8, NVIDIA's HEVC p010."""
    fmt = fr.FrameFormat(64, 48, "yuv420p10le")
    for name in ("h264_qsv", "hevc_nvenc"):
        if name not in av.codecs_available:
            pytest.skip(f"this FFmpeg has no {name}")
    with pytest.raises(UsageError, match="h264_qsv: no 10 bits"):
        encoders.choose(Encoding("h264_qsv"), ".mp4", False, 10)
    nvenc = encoders.choose(Encoding("hevc_nvenc"), ".mp4", False, 10)
    assert nvenc.pixels(fmt) == "p010le"
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((48, 64, 3), np.uint8))
    with pytest.raises(WsshmError, match="--bits 10 needs a video"):
        job.run(RunConfig(tmp_path / "in.png", model=str(ones), bit_depth=10))


def test_the_command(tmp_path: Path, ones: Path, wsshm: Wsshm) -> None:
    """From a pipe too; the first line says how many bits."""
    clip = ramp_clip(tmp_path / "in.mkv")
    with clip.open("rb") as pipe:
        result = wsshm(
            "run", "-", "-o", "o.mkv", "--bits", 10, "--codec", "ffv1", "--model", ones, stdin=pipe
        )
    assert result.returncode == 0, result.stderr
    assert "256x32 in 10 bits" in result.stderr
    assert same(levels(decoded(clip)[0]), levels(decoded(tmp_path / "o.mkv")[0]))
