"""Images, colours and the blurred frame behind a person."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from engines.video import frame as fr
from engines.video import run as job
from engines.video.compose.background import place
from engines.video.config import Encoding, RunConfig
from tests import graphs
from tests.engines.video.compose.helpers import (
    KR_KB,
    composites,
    noise,
    originals,
)
from tests.media import noise_clip


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
        "white": np.array(250, np.float32),
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
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
    # Half a pixel of the image is 128 / (side - 1) levels.
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
