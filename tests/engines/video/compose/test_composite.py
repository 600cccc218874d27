"""The compositing rule is exact: before any encoder, through the parts a real run is made of."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.reformatter import ColorRange, Interpolation
from onnx import TensorProto as T
from onnx import helper as h

from engines.arrays import Plane
from engines.engine import open_engine
from engines.video import frame as fr
from engines.video import run as job
from engines.video.compose.background import place
from engines.video.compose.composite import Composited, blend, composite
from engines.video.compose.open import open_background
from engines.video.config import Encoding, MatteOptions, RunConfig
from engines.video.matte.network import Network
from engines.video.matte.postprocess import MattePostprocessor
from engines.video.read.open import open_source
from tests import graphs
from tests.media import noise_clip

NOTHING = MatteOptions(smooth=0, refine=False, decontaminate=False)
KR_KB = {fr.BT601: (0.299, 0.114), fr.BT709: (0.2126, 0.0722)}  # ITU-R BT.601, BT.709


def composites(
    path: Path, model: Path, background: str, size: int = 64, bit_depth: int = 8
) -> Iterator[Composited]:
    """Every frame of `path` through source, network and composite."""
    network, finish = Network(open_engine(model), size), MattePostprocessor(NOTHING)
    behind = open_background(background)
    with open_source(path, bit_depth=bit_depth) as source:
        for item in source.items():
            yield composite(finish(*network.infer(network.scale(item))), behind)


def originals(path: Path, bit_depth: int = 8) -> Iterator[list[Plane]]:
    """The planes of every frame of `path`."""
    with open_source(path, bit_depth=bit_depth) as source:
        for item in source.items():
            yield fr.planes(item.image)


def noise_image(path: Path, width: int, height: int) -> Path:
    """A PNG of seeded noise."""
    rgb = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    cv2.imwrite(str(path), rgb)
    return path


def noise(folder: Path, pix_fmt: str, width: int, height: int, full: bool) -> Path:
    """Three frames of noise without loss, in any planar format and size."""
    if pix_fmt == "gbrp":
        return noise_image(folder / "in.png", width, height)
    return noise_clip(
        folder / "in.mkv",
        3,
        width,
        height,
        pix_fmt=pix_fmt,
        codec="ffv1",
        options={"slices": "1"},
        color_range=fr.FULL if full else fr.LIMITED,
        colorspace=fr.BT709,
    )


YUV = [f"yuv{s}p{deep}" for s in (420, 422, 444) for deep in ("", "10le")]
FORMATS = [*((f, full) for f in YUV for full in (False, True)), ("gbrp", True)]
SIZES = [(64, 48), (67, 49), (33, 80), (2, 2), (3, 5)]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("pix_fmt", "full"), FORMATS)
def test_all_person_is_the_input(
    tmp_path: Path, ones: Path, pix_fmt: str, full: bool, width: int, height: int
) -> None:
    """Alpha 1 everywhere: every code of every plane is the input's."""
    clip, shown = noise(tmp_path, pix_fmt, width, height, full), 0
    bit_depth = fr.FrameFormat(1, 1, pix_fmt).bit_depth
    results = composites(clip, ones, "#ff0000", bit_depth=bit_depth)
    for before, result in zip(originals(clip, bit_depth), results, strict=True):
        fmt = result.frame.format
        assert (fmt.width, fmt.height, fmt.pix_fmt) == (width, height, pix_fmt)
        assert fmt.range == (fr.FULL if full else fr.LIMITED)
        assert result.alpha.min() == 255
        assert result.composite is not None
        for a, b in zip(before, fr.planes(result.composite), strict=True):
            np.testing.assert_array_equal(a, b)
        shown += 1
    assert shown == (1 if pix_fmt == "gbrp" else 3)


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize(("pix_fmt", "full"), FORMATS)
def test_nobody_is_the_background(
    tmp_path: Path, zeros: Path, pix_fmt: str, full: bool, width: int, height: int
) -> None:
    """Alpha 0 everywhere: every code of every plane is the background image's."""
    clip = noise(tmp_path, pix_fmt, width, height, full)
    behind = noise_image(tmp_path / "behind.png", width, height)
    rgb = np.ascontiguousarray(cv2.imread(str(behind))[..., ::-1])
    how = {} if pix_fmt == "gbrp" else {"dst_colorspace": fr.BT709}
    expected = av.VideoFrame.from_ndarray(rgb, format="rgb24").reformat(
        format=pix_fmt,
        src_color_range=ColorRange.JPEG,
        interpolation=Interpolation.BICUBIC,
        dst_color_range=ColorRange.JPEG if full else ColorRange.MPEG,
        threads=1,
        **how,
    )
    for result in composites(
        clip, zeros, str(behind), bit_depth=fr.FrameFormat(1, 1, pix_fmt).bit_depth
    ):
        assert result.alpha.max() == 0
        assert result.composite is not None
        for a, b in zip(fr.planes(expected), fr.planes(result.composite), strict=True):
            np.testing.assert_array_equal(a, b)
        if pix_fmt != "gbrp":
            fmt, (kr, kb) = result.frame.format, KR_KB[fr.BT709]
            luma = rgb @ np.array([kr, 1 - kr - kb, kb])
            steps = fmt.peak if full else 219 * (fmt.peak + 1) / 256
            codes = luma * steps / 255 + (0 if full else (fmt.peak + 1) / 16)
            assert np.abs(fr.planes(result.composite)[0] - codes).max() <= 1


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "gbrp"])
def test_nobody_on_a_colour_is_flat(tmp_path: Path, zeros: Path, pix_fmt: str, full: bool) -> None:
    """A colour is the standard's codes, to the last column and row of an odd size."""
    clip = noise(tmp_path, pix_fmt, 67, 49, full)
    red, green, blue = 0x33, 0x66, 0xCC
    kr, kb = KR_KB[fr.BT709]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    if pix_fmt == "gbrp":
        codes = [green, blue, red]
    elif full:
        codes = [luma, 128 + cb, 128 + cr]
    else:
        codes = [16 + luma * 219 / 255, 128 + cb * 224 / 255, 128 + cr * 224 / 255]
    for result in composites(clip, zeros, "#3366cc"):
        assert result.composite is not None
        for plane, code in zip(fr.planes(result.composite), codes, strict=True):
            assert np.abs(plane - code).max() <= 1


def test_decoded_frames_are_not_written_to(tmp_path: Path, brightness: Path) -> None:
    """The composite is a new image; the decoder's own stays as it was."""
    clip = noise(tmp_path, "yuv420p", 64, 48, full=False)
    network, finish = Network(open_engine(brightness), 64), MattePostprocessor(NOTHING)
    behind = open_background("blur")
    with open_source(clip) as source:
        for item in source.items():
            before = [p.copy() for p in fr.planes(item.image)]
            composite(finish(*network.infer(network.scale(item))), behind)
            for a, b in zip(before, fr.planes(item.image), strict=True):
                np.testing.assert_array_equal(a, b)


def test_blend_is_exact_for_every_code() -> None:
    """All 256³ of foreground, background and alpha, against integers, rounded to nearest."""
    foreground, background = np.meshgrid(*[np.arange(256, dtype=np.uint8)] * 2)
    out = np.empty_like(foreground)
    bias = 0.0
    for code in range(256):
        blend(foreground, background, np.full_like(foreground, code), out)
        sums = foreground.astype(np.int32) * code + background.astype(np.int32) * (255 - code)
        np.testing.assert_array_equal(out, (2 * sums + 255) // 510)
        bias += float((out - sums / 255).mean()) / 256
    assert abs(bias) <= 0.01


def test_blend_is_exact_in_ten_bits() -> None:
    """1024² of foreground and background under alphas from end to end, likewise."""
    foreground, background = np.meshgrid(*[np.arange(1024, dtype=np.uint16)] * 2)
    out = np.empty_like(foreground)
    for code in (0, 1, 64, 127, 128, 254, 255):
        blend(foreground, background, np.full(out.shape, code, np.uint8), out)
        sums = foreground.astype(np.int32) * code + background.astype(np.int32) * (255 - code)
        np.testing.assert_array_equal(out, (2 * sums + 255) // 510)


def test_blend_takes_views_and_any_number_of_rows() -> None:
    """Planes with padded rows, and heights on either side of a strip's, are done whole."""
    rng = np.random.default_rng(2)
    for height in (1, 63, 64, 65, 200):
        a, b, alpha = rng.integers(0, 256, (3, height, 50), np.uint8)
        wide = np.zeros((height, 64), np.uint8)
        blend(a, b, alpha, wide[:, :50])
        sums = a.astype(np.int32) * alpha + b.astype(np.int32) * (255 - alpha.astype(np.int32))
        np.testing.assert_array_equal(wide[:, :50], (2 * sums + 255) // 510)
        assert not wide[:, 50:].any()


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [fr.BT601, fr.BT709])
@pytest.mark.parametrize("size", [(64, 64), (32, 32), (48, 21), (100, 70)])
@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv420p10le"])
def test_rgb_copies_have_the_standards_colours(
    pix_fmt: str, size: tuple[int, int], matrix: int, full: bool
) -> None:
    """Flat colours at any size: to the nearest code, neither rounded down nor lifted."""
    fmt = fr.FrameFormat(64, 64, pix_fmt, matrix, fr.FULL if full else fr.LIMITED)
    one = (fmt.peak + 1) // 256  # code of 8 bits
    scaler, rng, errors = fr.RgbScaler(fmt), np.random.default_rng(0), []
    kr, kb = KR_KB[matrix]
    for _ in range(100):
        image = fmt.new_image()
        codes = rng.integers(np.array([60, 112, 112]) * one, np.array([180, 145, 145]) * one)
        for plane, code in zip(fr.planes(image), codes, strict=True):
            plane[:] = code
        codes = codes - np.array([0 if full else 16, 128, 128]) * one
        y, cb, cr = codes / (fmt.peak if full else np.array([219, 224, 224]) * one)
        red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
        green = (y - kr * red - kb * blue) / (1 - kr - kb)
        rgb = scaler(image, *size)
        assert rgb.shape == (*size[::-1], 3)
        errors.append(rgb - 255 * np.array([red, green, blue]))
    assert np.abs(errors).max() <= 1
    white = 1020 if full and fmt.bit_depth == 10 else fmt.peak  # as libswscale has it
    assert np.abs(np.mean(errors, (0, 1, 2))).max() <= 0.2 + 128 * (fmt.peak / white - 1)


def test_rgb_copies_are_the_same_from_several_threads() -> None:
    """One scaler called by four threads at once gives what it gives one."""
    fmt = fr.FrameFormat(320, 240)
    images = []
    for seed in range(4):
        images.append(fmt.new_image())
        for plane in fr.planes(images[-1]):
            plane[:] = np.random.default_rng(seed).integers(16, 236, plane.shape, np.uint8)
    sizes = [(64 + 13 * i, 64 + 7 * i) for i in range(8)]
    scaler = fr.RgbScaler(fmt)
    alone = {(i, s): scaler(p, *s) for i, p in enumerate(images) for s in sizes}
    with ThreadPoolExecutor(4) as pool:
        given = [*alone] * 8
        for (i, s), rgb in zip(
            given, pool.map(lambda g: scaler(images[g[0]], *g[1]), given), strict=True
        ):
            np.testing.assert_array_equal(rgb, alone[i, s])


def redness(path: Path) -> Path:
    """A model whose alpha is red minus green: 1 on pure red, 0 on grey."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("Gather", ["x", "first"], ["red"], axis=3),
        h.make_node("Gather", ["x", "second"], ["green"], axis=3),
        h.make_node("Sub", ["red", "green"], ["difference"]),
        h.make_node("Div", ["difference", "white"], ["raw"]),
        h.make_node("Clip", ["raw", "zero", "one"], ["alpha"]),
    ]
    constants = {
        "first": np.array(0),
        "second": np.array(1),
        "white": np.float32(250),
        "zero": np.float32(0),
        "one": np.float32(1),
    }
    return graphs.build(path, nodes, constants)


@pytest.mark.parametrize("strength", ["blur:1", "blur", "blur:10", "blur:20", "blur:50"])
@pytest.mark.parametrize("pix_fmt", ["gbrp", "yuv444p", "yuv420p"])
def test_blur_keeps_the_persons_colour_out(tmp_path: Path, pix_fmt: str, strength: str) -> None:
    """A red person before grey: right beside them the blurred background is still grey."""
    grey, red = (
        ((128, 128, 128), (0, 0, 255)) if pix_fmt == "gbrp" else ((126, 128, 128), (81, 90, 240))
    )
    image = av.VideoFrame(128, 128, pix_fmt)
    for plane, outside, inside in zip(fr.planes(image), grey, red, strict=True):
        plane[:] = outside
        step = 128 // plane.shape[0]
        plane[38 // step : 94 // step, 38 // step : 94 // step] = inside
    if pix_fmt == "gbrp":
        clip = tmp_path / "in.png"
        cv2.imwrite(str(clip), image.to_ndarray(format="bgr24"))
    else:
        clip = tmp_path / "in.mkv"
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("ffv1", rate=30)
            stream.width, stream.height, stream.pix_fmt = 128, 128, pix_fmt
            container.mux([*stream.encode(image), *stream.encode(None)])
    (result,) = composites(clip, redness(tmp_path / "red.onnx"), strength, size=128)
    assert result.alpha[64, 64] == 255
    assert result.alpha[:34].max() == 0
    assert result.composite is not None
    for plane, outside, inside in zip(fr.planes(result.composite), grey, red, strict=True):
        step = 128 // plane.shape[0]
        nobody = cv2.dilate(result.alpha, np.ones((3, 3), np.uint8))[::step, ::step] == 0
        assert nobody.mean() > 0.7
        assert np.abs(plane[nobody].astype(int) - outside).max() <= 3
        assert (
            np.abs(
                plane[44 // step : 88 // step, 44 // step : 88 // step].astype(int) - inside
            ).max()
            <= 2
        )


@pytest.mark.parametrize(("width", "height"), [(2, 2), (3, 5), (2, 200), (201, 2)])
def test_blur_takes_any_size(tmp_path: Path, brightness: Path, width: int, height: int) -> None:
    """The smallest and the thinnest images are blurred like any other."""
    clip = noise(tmp_path, "yuv420p", width, height, full=False)
    for strength in ("blur:0.1", "blur:50"):
        assert len(list(composites(clip, brightness, strength))) == 3


def test_blur_blurs(tmp_path: Path, zeros: Path) -> None:
    """Noise gets flatter with strength; its mean stays."""
    clip, spread, means = noise(tmp_path, "yuv420p", 64, 48, full=False), [], []
    for strength in ("blur:1", "blur:5", "blur:20"):
        result = next(composites(clip, zeros, strength))
        assert result.composite is not None
        spread.append(fr.planes(result.composite)[0].std())
        means.append(fr.planes(result.composite)[0].mean())
    original = next(originals(clip))[0]
    assert original.std() > spread[0] > spread[1] > spread[2]
    assert max(abs(m - original.mean()) for m in means) < 3


def decoded_rgb(path: Path) -> np.ndarray:
    """The mean colour of the first frame, by the standard's formula and the file's own tags."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    y, cb, cr = (float(p.mean()) for p in fr.planes(frame))
    if int(frame.color_range) == fr.FULL:
        y, cb, cr = y / 255, (cb - 128) / 255, (cr - 128) / 255
    else:
        y, cb, cr = (y - 16) / 219, (cb - 128) / 224, (cr - 128) / 224
    kr, kb = KR_KB[int(frame.colorspace)]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return 255 * np.array([red, green, blue])


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("matrix", [fr.BT601, fr.BT709])
def test_colour_comes_back(tmp_path: Path, zeros: Path, matrix: int, full: bool) -> None:
    """``--bg #rrggbb`` is that colour, within 2 of 255, in a file decoded by its own tags."""
    color_range = fr.FULL if full else fr.LIMITED
    clip = noise_clip(tmp_path / "in.mp4", 2, colorspace=matrix, color_range=color_range)
    for colour in ("00b140", "ff0000", "0000ff", "fefe01", "c88264", "000000", "ffffff", "808080"):
        out = tmp_path / f"{colour}.mp4"
        summary = job.run(
            RunConfig(clip, out, f"#{colour}", model=str(zeros), size=64, encoding=Encoding(crf=0))
        )
        assert summary.exit_code == 0
        with av.open(str(out)) as container:
            context = container.streams.video[0].codec_context
            assert (context.colorspace, context.color_range) == (matrix, color_range)
        seen = decoded_rgb(out)
        assert np.abs(seen - list(bytes.fromhex(colour))).max() <= 2, (colour, seen)


@pytest.mark.parametrize(
    ("width", "height"), [(64, 64), (100, 30), (30, 100), (640, 480), (37, 53), (1, 1)]
)
@pytest.mark.parametrize(("w", "h"), [(90, 60), (60, 90), (33, 71)])
def test_cover_keeps_aspect_and_centre(w: int, h: int, width: int, height: int) -> None:
    """The image fills the frame: centre on centre, one scale both ways, one edge to edge."""
    x, y = np.meshgrid(np.arange(w), np.arange(h))
    ramp = np.dstack([x * 255 / (w - 1), y * 255 / (h - 1), 0 * x]).round().astype(np.uint8)
    seen = place(ramp, (width, height)).astype(float)
    assert seen.shape == (height, width, 3)
    middle = seen[..., :2].mean((0, 1))
    # Half a pixel of the image is 128 / (side - 1) codes.
    assert np.abs(middle - 127.5).max() <= 130 / (min(w, h) - 1) + 1
    if min(width, height) < 30:
        return
    slope_x = (seen[:, -5, 0] - seen[:, 4, 0]).mean() / (width - 9) * (w - 1)
    slope_y = (seen[-5, :, 1] - seen[4, :, 1]).mean() / (height - 9) * (h - 1)
    assert slope_x == pytest.approx(slope_y, rel=0.06)
    filled_x, filled_y = seen[..., 0], seen[..., 1]
    edge = 255 * 2 / (min(w, h) - 1)
    whole_x = filled_x.min() <= edge and filled_x.max() >= 255 - edge
    whole_y = filled_y.min() <= edge and filled_y.max() >= 255 - edge
    assert whole_x or whole_y
