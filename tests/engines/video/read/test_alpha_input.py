"""Video that has alpha of its own: the alpha is read, and what it hides is not in the picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.blend import NEUTRAL
from engines.video.config import Clip
from engines.video.frame import Frame
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of

WIDTH, HEIGHT = 66, 50
GREEN, SKIN = (0, 255, 0), (200, 150, 130)
LOSSLESS = {"lossless": "1"}


def pattern() -> Plane:
    """(H, W, 4) RGBA: a third hidden, over green; a third in part; the rest opaque."""
    rgba = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    rgba[...] = (*SKIN, 255)
    rgba[:, 22:44, 3] = np.linspace(100, 255, 22).astype(np.uint8)
    rgba[10:20, 22:44, 3] = 60
    rgba[:, :22] = (*GREEN, 0)
    return rgba


def write(
    path: Path,
    codec: str,
    pix_fmt: str,
    images: list[Plane] | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Write (H, W, 4) RGBA images as a film with alpha."""
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25, options=options or {})
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, pix_fmt
        for i, rgba in enumerate(images or [pattern()] * 3):
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


VP = {"auto-alt-ref": "0", "crf": "4", "b": "0"}
CODECS: dict[str, tuple[str, str, str, dict[str, str], int]] = {  # the last: error of alpha
    "vp9.webm": ("libvpx-vp9", "webm", "yuva420p", VP, 12),
    "vp9.mkv": ("libvpx-vp9", "mkv", "yuva420p", VP, 12),
    "vp8.webm": ("libvpx", "webm", "yuva420p", VP | {"b": "2000000"}, 12),
    "vp8.mkv": ("libvpx", "mkv", "yuva420p", VP | {"b": "2000000"}, 12),
    "prores.mov": ("prores_ks", "mov", "yuva444p10le", {"alpha_bits": "16"}, 1),
    "prores 8 bits.mkv": ("prores_ks", "mkv", "yuva444p10le", {"alpha_bits": "8"}, 1),
    "qtrle": ("qtrle", "mov", "argb", {}, 0),
    "png": ("png", "mov", "rgba", {}, 0),
    "png 16": ("png", "mov", "rgba64be", {}, 0),
    "ffv1 420": ("ffv1", "mkv", "yuva420p", {}, 1),
    "ffv1 422 10": ("ffv1", "mkv", "yuva422p10le", {}, 1),
    "ffv1 444 16": ("ffv1", "mkv", "yuva444p16le", {}, 1),
    "ffv1 rgb": ("ffv1", "mkv", "bgra", {}, 0),
    "ffv1 rgb 12": ("ffv1", "mkv", "gbrap12le", {}, 1),
    "utvideo": ("utvideo", "avi", "gbrap", {}, 0),
    "ffvhuff": ("ffvhuff", "avi", "rgb32", {}, 0),
    "jpeg 2000": ("jpeg2000", "mkv", "rgba", {"pred": "1"}, 0),
}


@pytest.mark.parametrize("codec", CODECS)
def test_alpha_of_every_codec(tmp_path: Path, codec: str) -> None:
    """As it was encoded, straight, at the size of the frame; and that is said once."""
    encoder, ending, pix_fmt, options, error = CODECS[codec]
    rgba = pattern()
    clip = write(tmp_path / f"in.{ending}", encoder, pix_fmt, options=options)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found, fmt = frames_of(source), source.format
    assert len(found) == 3
    assert sum("alpha of its own" in w for w in warnings) == 1
    inner = np.ones((HEIGHT, WIDTH), bool)  # not where a lossy codec or chroma mixes two parts
    inner[:, 16:28] = inner[6:24, 20:46] = inner[:, 40:48] = False
    if error <= 1:
        inner = np.ones_like(inner)
    for frame in found:
        assert frame.alpha is not None
        assert (frame.alpha.shape, frame.alpha.dtype) == ((HEIGHT, WIDTH), np.uint8)
        off = np.abs(frame.alpha.astype(int) - rgba[..., 3])
        assert off[inner].max() <= error
        rgb = fr.RgbScaler(fmt)(frame.image, WIDTH, HEIGHT).astype(int)
        assert np.abs(rgb[:, :16] - NEUTRAL).max() <= 3
        assert np.abs(rgb[22:, 48:] - SKIN).max() <= 8
        assert np.abs(rgb[22:, 28:40] - SKIN).max() <= 10  # straight: not darkened


FORMATS = [
    *("rgba", "bgra", "argb", "abgr", "gbrap", "gbrap10le", "gbrap12be", "gbrap16le", "rgba64le"),
    *("bgra64be", "gbrapf32le", "yuva420p", "yuva422p", "yuva444p", "yuva420p9le", "yuva420p10be"),
    *("yuva422p12le", "yuva444p12le", "yuva444p16be", "vuya", "ya8"),
]


@pytest.mark.parametrize("bit_depth", [8, 10])
@pytest.mark.parametrize("pix_fmt", FORMATS)
def test_alpha_of_every_pixel_format(tmp_path: Path, pix_fmt: str, bit_depth: int) -> None:
    """Packed and planar, 8 to 32 bits, both byte orders."""
    rgba = pattern()
    clip = write(tmp_path / "in.nut", "rawvideo", pix_fmt)
    with open_source(clip, bit_depth=bit_depth) as source:
        found, fmt = frames_of(source), source.format
    assert fmt.bit_depth == bit_depth
    for frame in found:
        assert frame.alpha is not None
        assert np.abs(frame.alpha.astype(int) - rgba[..., 3]).max() <= 1
        rgb = fr.RgbScaler(fmt)(frame.image, WIDTH, HEIGHT).astype(int)
        assert np.abs(rgb[:, :19] - NEUTRAL).max() <= 3
        if pix_fmt != "ya8":
            assert np.abs(rgb[:, 26:] - SKIN).max() <= 4


def test_transparency_of_a_gif(tmp_path: Path) -> None:
    """Pixels that are there or not, in a palette."""
    images = []
    for i in range(3):
        rgba = pattern()
        rgba[..., 3] = np.where(rgba[..., 3] < 80, 0, 255)
        rgba[30:, 50 + i :] = (*GREEN, 0)
        images.append(rgba)
    path = tmp_path / "in.gif"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("gif", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "pal8"
        graph = av.filter.Graph()
        buffer = graph.add_buffer(
            width=WIDTH,
            height=HEIGHT,
            format=av.VideoFormat("rgba"),
            time_base=Fraction(1, 25),
        )
        split, palette = graph.add("split"), graph.add("palettegen", "reserve_transparent=1")
        use, sink = graph.add("paletteuse", "new=0"), graph.add("buffersink")
        buffer.link_to(split)
        split.link_to(palette, 0)
        palette.link_to(use, 0, 1)
        split.link_to(use, 1, 0)
        use.link_to(sink)
        graph.configure()
        for i, rgba in enumerate(images):
            frame = av.VideoFrame.from_ndarray(rgba, "rgba")
            frame.pts, frame.time_base = i, Fraction(1, 25)
            graph.push(frame)
        graph.push(None)
        for _ in images:
            made: Any = graph.pull()
            out.mux(stream.encode(made))
        out.mux(stream.encode(None))
    with open_source(path) as source:
        shown: list[Frame] = frames_of(source)
    assert len(shown) == 3
    for item, rgba in zip(shown, images, strict=True):
        assert item.alpha is not None
        np.testing.assert_array_equal(item.alpha, rgba[..., 3])
        seen = fr.planes(item.image)[0][rgba[..., 3] == 0]
        assert (seen == NEUTRAL[1]).all()


@pytest.mark.parametrize("pix_fmt", ["bgra", "yuva420p", "yuva444p10le", "gbrap12le"])
def test_alpha_that_hides_nothing_is_none(tmp_path: Path, pix_fmt: str) -> None:
    """Opaque throughout, as editing programs export it: nothing to multiply, nothing to say."""
    rgba = pattern()
    rgba[..., 3] = 255
    warnings: list[str] = []
    clip = write(tmp_path / "in.mkv", "ffv1", pix_fmt, [rgba] * 2)
    with open_source(clip, warn=warnings.append) as source:
        assert [f.alpha for f in frames_of(source)] == [None, None]
    assert not [w for w in warnings if "alpha of its own" in w]


def test_the_fourth_byte_of_uncompressed_avi_is_no_alpha(tmp_path: Path) -> None:
    """It has no meaning there, and most programs write 0."""
    rgba = pattern()
    rgba[..., 3] = 0
    clip = write(tmp_path / "in.avi", "rawvideo", "bgra", [rgba] * 2)
    with open_source(clip) as source:
        for frame in frames_of(source):
            assert frame.alpha is None
            rgb = fr.RgbScaler(source.format)(frame.image, WIDTH, HEIGHT)
            np.testing.assert_array_equal(rgb, rgba[..., :3])


@pytest.mark.parametrize("codec", ["libvpx-vp9", "libvpx"])
def test_a_part_of_webm_with_alpha(tmp_path: Path, codec: str) -> None:
    """Decoded by another decoder than FFmpeg's own, seeking works and every frame has its time."""
    images = []
    for i in range(60):
        rgba = pattern()
        rgba[..., 3] = 4 * i
        images.append(rgba)
    clip = write(tmp_path / "in.webm", codec, "yuva420p", images, VP | {"g": "10", "b": "1000000"})
    for start in (0.0, 0.48, 1.0, 2.2):
        with open_source(clip, Clip(start, 0.2)) as source:
            found = frames_of(source)
        first = round(start * 25)
        assert [round(f.pts * f.time_base * 25) for f in found] == list(range(5))
        levels = [float(f.alpha.mean()) for f in found if f.alpha is not None]
        assert levels == pytest.approx([4 * (first + i) for i in range(5)], abs=3)


def test_turned_alpha_is_upright(tmp_path: Path) -> None:
    """The display matrix holds for the alpha as for the picture."""
    clip = tmp_path / "in.mov"
    with av.open(str(clip), "w") as out:
        stream = out.add_stream("png", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "rgba"
        stream.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
        frame = av.VideoFrame.from_ndarray(pattern(), "rgba")
        out.mux([*stream.encode(frame), *stream.encode(None)])
    with open_source(clip) as source:
        (found,) = frames_of(source)
    np.testing.assert_array_equal(found.alpha, np.rot90(pattern()[..., 3], -1))
    assert (found.format.width, found.format.height) == (HEIGHT, WIDTH)
    rgb = fr.RgbScaler(found.format)(found.image, HEIGHT, WIDTH)
    assert (rgb[:22] == NEUTRAL).all()
