"""Videos behind the person: which of their frames is seen when, and where in the frame."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import BadData, CannotOpen
from engines.video import frame as fr
from engines.video.config import BackgroundFit, Encoding
from tests.engines.video.outputs import LOSSLESS, decoded, run
from tests.media import noise_clip, probe

STEP = 20  # levels between the greys of two frames


def counting_clip(path: Path, times: list[Fraction], last: Fraction | None = None) -> Path:
    """Frame k is grey of 20 + k · STEP and shown at times[k], in full range."""
    width, height, base = 64, 48, Fraction(1, 12000)
    ends = [*times[1:], last or times[-1] + (times[-1] - times[-2] if len(times) > 1 else 1)]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0", "bf": "0"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.color_range = fr.FULL
        video.codec_context.time_base = base
        durations = {}
        packets = []
        for k, (time, end) in enumerate(zip(times, ends, strict=True)):
            image = fr.FrameFormat(width, height, range=fr.FULL).new_image()
            for plane, level in zip(fr.planes(image), (20 + k * STEP, 128, 128), strict=True):
                plane[:] = level
            image.pts, image.time_base = round(time / base), base
            durations[image.pts] = round((end - time) / base)
            packets += video.encode(image)
        for packet in [*packets, *video.encode(None)]:
            packet.duration = durations[packet.pts]
            container.mux(packet)
    return path


def seen(path: Path) -> list[int]:
    """Which frame of the background each frame of an output, of limited range, shows."""
    greys = [(fr.planes(f)[0].mean() - 16) * 255 / 219 for f in decoded(path)]
    return [round((grey - 20) / STEP) for grey in greys]


@pytest.mark.parametrize(("count", "rate"), [(4, 30), (5, 15), (8, 10), (12, 60), (3, 240), (2, 1)])
def test_background_runs_at_its_own_rate(
    tmp_path: Path, zeros: Path, count: int, rate: int
) -> None:
    """Shorter or longer, slower or faster: at t the frame shown at t modulo its length."""
    clip = noise_clip(tmp_path / "in.mp4", 30)
    counting_clip(tmp_path / "bg.mp4", [Fraction(k, rate) for k in range(count)])
    run(clip, tmp_path / "o.mkv", zeros, background=str(tmp_path / "bg.mp4"), encoding=LOSSLESS)
    assert seen(tmp_path / "o.mkv") == [i * rate // 30 % count for i in range(30)]
    assert probe(tmp_path / "o.mkv").frames == 30


def test_uneven_background_behind_uneven_clip(tmp_path: Path, zeros: Path) -> None:
    """Times are times on both sides; a background that begins late begins with the clip."""
    at = [0, 40, 160, 200, 400, 440, 480, 900]
    clip = noise_clip(tmp_path / "in.mkv", len(at), pts=at, time_base=Fraction(1, 1000))
    changes = [Fraction(x, 1000) for x in (500, 650, 700)]
    counting_clip(tmp_path / "bg.mp4", changes, last=Fraction(1))
    run(clip, tmp_path / "o.mkv", zeros, background=str(tmp_path / "bg.mp4"), encoding=LOSSLESS)
    expected = [sum(c <= t % 500 for c in (0, 150, 200)) - 1 for t in at]
    assert seen(tmp_path / "o.mkv") == expected


def test_background_of_one_frame_stays(tmp_path: Path, zeros: Path) -> None:
    """And is not read again and again."""
    clip = noise_clip(tmp_path / "in.mp4", 10)
    counting_clip(tmp_path / "bg.mp4", [Fraction(0)])
    run(clip, tmp_path / "o.mkv", zeros, background=str(tmp_path / "bg.mp4"), encoding=LOSSLESS)
    assert seen(tmp_path / "o.mkv") == [0] * 10


def test_background_behind_part_of_a_clip_and_an_image(tmp_path: Path, zeros: Path) -> None:
    """It begins with the first frame of ``--start``; behind an image, its first frame."""
    from engines.video.config import Clip

    clip = noise_clip(tmp_path / "in.mp4", 30)
    bg = str(counting_clip(tmp_path / "bg.mp4", [Fraction(k, 30) for k in range(6)]))
    run(clip, tmp_path / "o.mkv", zeros, background=bg, encoding=LOSSLESS, clip=Clip(0.5, 0.2))
    assert seen(tmp_path / "o.mkv") == [0, 1, 2, 3, 4, 5]
    cv2.imwrite(str(tmp_path / "in.png"), np.zeros((40, 40, 3), np.uint8))
    run(tmp_path / "in.png", tmp_path / "o.png", zeros, background=bg)
    assert np.abs(cv2.imread(str(tmp_path / "o.png")).astype(int) - 20).max() <= 1


@pytest.mark.parametrize(
    ("matrix", "full"), [(fr.BT709, True), (fr.BT709, False), (fr.BT601, True), (fr.BT601, False)]
)
def test_colours_of_the_background_are_its_own(
    tmp_path: Path, zeros: Path, matrix: int, full: bool
) -> None:
    """Whatever matrix and range the two are in, within 2 levels."""
    colour = (200, 60, 120)
    fmt = fr.FrameFormat(64, 48, "yuv444p", fr.BT709 + fr.BT601 - matrix, fr.LIMITED)
    with av.open(str(tmp_path / "bg.mkv"), "w") as container:
        video = container.add_stream("ffv1", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv444p"
        fmt.tag(video.codec_context)
        image = fr.from_rgb(np.full((48, 64, 3), colour, np.uint8), fmt)
        container.mux([*video.encode(image), *video.encode(None)])
    clip = noise_clip(
        tmp_path / "in.mkv",
        2,
        codec="ffv1",
        colorspace=matrix,
        color_range=fr.FULL if full else fr.LIMITED,
    )
    run(clip, tmp_path / "o.mp4", zeros, background=str(tmp_path / "bg.mkv"), encoding=LOSSLESS)
    frame = decoded(tmp_path / "o.mp4")[0]
    rgb = fr.RgbScaler(fr.FrameFormat(64, 48, matrix=matrix, range=int(frame.color_range)))
    assert np.abs(rgb(frame, 64, 48).astype(int) - colour).max() <= 2


def marked(path: Path, width: int, height: int, **options: Any) -> Path:
    """White, with a black square of a quarter of the height in the middle."""
    side = height // 4
    rgb = np.full((height, width, 3), 255, np.uint8)
    top, left = (height - side) // 2, (width - side) // 2
    rgb[top : top + side, left : left + side] = 0
    if path.suffix == ".png":
        cv2.imwrite(str(path), rgb)
        return path
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for name, value in options.items():
            setattr(video.codec_context, name, value)
        for _ in range(2):
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("kind", ["mp4", "png"])
@pytest.mark.parametrize("size", [(160, 80), (80, 160), (128, 96)])
@pytest.mark.parametrize("fit", BackgroundFit)
def test_shape_of_the_background(
    tmp_path: Path, zeros: Path, fit: BackgroundFit, size: tuple[int, int], kind: str
) -> None:
    """The middle stays in the middle; a square is a square but for stretch; bars are black."""
    clip = noise_clip(tmp_path / "in.mkv", 2, 128, 96, codec="ffv1")
    bg = marked(tmp_path / f"bg.{kind}", *size)
    run(
        clip,
        tmp_path / "o.mkv",
        zeros,
        background=str(bg),
        background_fit=fit,
        encoding=Encoding("ffv1"),
    )
    luma = fr.planes(decoded(tmp_path / "o.mkv")[1])[0]
    across, down = 128 / size[0], 96 / size[1]
    if fit is not BackgroundFit.stretch:
        across = down = (max if fit is BackgroundFit.cover else min)(across, down)
    shown = min(96, size[1] * down), min(128, size[0] * across)
    bars = luma.size - shown[0] * shown[1]
    left, top = round((128 - shown[1]) / 2), round((96 - shown[0]) / 2)
    inside = luma[top : 96 - top, left : 128 - left]
    assert luma.size - inside.size == pytest.approx(bars, abs=2 * 128)
    if bars:
        outside = luma.astype(float).sum() - inside.sum()
        assert outside / (luma.size - inside.size) == pytest.approx(16, abs=1)
    black = np.argwhere(inside < 125)
    height, width = np.ptp(black, axis=0) + 1
    side = size[1] // 4
    assert height == pytest.approx(side * down, abs=2)
    assert width == pytest.approx(side * across, abs=2)
    middle = black.mean(0) + np.array([top, left])
    assert middle == pytest.approx((47.5, 63.5), abs=1.5)


@pytest.mark.parametrize("kind", ["mp4", "png"])
def test_anamorphic_clip(tmp_path: Path, zeros: Path, kind: str) -> None:
    """Where a player shows pixels twice as wide, the square is half as wide in the frame."""
    clip = noise_clip(tmp_path / "in.mp4", 2, 64, 96, sample_aspect_ratio=Fraction(2, 1))
    bg = marked(tmp_path / f"bg.{kind}", 128, 96)
    run(clip, tmp_path / "o.mkv", zeros, background=str(bg), encoding=Encoding("ffv1"))
    black = np.argwhere(fr.planes(decoded(tmp_path / "o.mkv")[1])[0] < 125)
    height, width = np.ptp(black, axis=0) + 1
    assert height == pytest.approx(24, abs=1)
    assert width == pytest.approx(12, abs=1)


def test_turned_background_stands_upright(tmp_path: Path, zeros: Path) -> None:
    """The display matrix of a telephone's video is followed."""
    upright = np.zeros((96, 64, 3), np.uint8)
    upright[:24] = 255  # its top is white
    turned = np.ascontiguousarray(np.rot90(upright, -1))
    with av.open(str(tmp_path / "bg.mov"), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0"})
        video.height, video.width = turned.shape[:2]
        video.pix_fmt = "yuv420p"
        for _ in range(2):
            container.mux(video.encode(av.VideoFrame.from_ndarray(turned, "rgb24")))
        container.mux(video.encode(None))
    data = (tmp_path / "bg.mov").read_bytes()
    clip = noise_clip(tmp_path / "in.mkv", 2, 64, 96, codec="ffv1")

    def brightest(path: Path) -> str:
        run(
            clip,
            tmp_path / "o.mkv",
            zeros,
            background=str(path),
            encoding=Encoding("ffv1"),
            overwrite=True,
            background_fit=BackgroundFit.stretch,
        )
        luma = fr.planes(decoded(tmp_path / "o.mkv")[0])[0]
        edges = {"top": luma[:8], "bottom": luma[-8:], "left": luma[:, :8], "right": luma[:, -8:]}
        return max(edges, key=lambda name: edges[name].mean())

    assert brightest(tmp_path / "bg.mov") == "right"
    at = data.index(b"tkhd") + 4 + 40  # of version 0: the matrix, ISO/IEC 14496-12, 8.3.2
    one = (1 << 16).to_bytes(4, "big")
    none, minus = bytes(4), (-(1 << 16)).to_bytes(4, "big", signed=True)
    for matrix in ((none, one, none, minus, none), (none, minus, none, one, none)):
        turned_file = tmp_path / "turned.mov"
        turned_file.write_bytes(data[:at] + b"".join(matrix) + data[at + 20 :])
        with av.open(str(turned_file)) as reread:
            rotation = next(reread.decode(video=0)).rotation
        expected = {90: "top", -90: "bottom"}[round(rotation)]
        assert brightest(turned_file) == expected


def test_background_that_cannot_be_used(tmp_path: Path, zeros: Path) -> None:
    """Missing, no video, or sound only: refused by name before anything is written."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "junk.mp4").write_bytes(b"no video at all" * 100)
    (tmp_path / "words.txt").write_text("hello")
    for name, kind in (("none.mp4", CannotOpen), ("junk.mp4", BadData), ("words.txt", BadData)):
        with pytest.raises(kind, match=name):
            run(clip, tmp_path / "o.mp4", zeros, background=str(tmp_path / name))
    assert not (tmp_path / "o.mp4").exists()


def test_background_that_ends_early_is_said(tmp_path: Path, zeros: Path) -> None:
    """What could be read of it is repeated; one warning names it."""
    clip = noise_clip(tmp_path / "in.mp4", 30)
    whole = noise_clip(tmp_path / "whole.mp4", 40, 160, 120, options={"g": "5"})
    with (
        av.open(str(whole)) as container,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as front,
    ):
        stream = front.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                front.mux(packet)
    data = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "bg.mp4").write_bytes(data[: len(data) // 3])
    summary = run(clip, tmp_path / "o.mkv", zeros, background=str(tmp_path / "bg.mp4"))
    assert summary.frames == 30
    (warning,) = [w for w in summary.warnings if "bg.mp4" in w]
    assert "--bg" in warning
    assert "bg.mp4: ends early" in warning


@pytest.mark.parametrize("suffix", ["gif", "png", "webp", "avif"])
def test_an_animated_image_moves(tmp_path: Path, zeros: Path, suffix: str) -> None:
    """In its own time, repeated as a video is; what is transparent in it shows the colour."""
    pictures = [Image.new("RGBA", (64, 48), (g, g, g, 255)) for g in (20, 40, 60)]
    pictures.append(Image.new("RGBA", (64, 48), (0, 255, 0, 0)))
    pictures[-1].putpixel((0, 0), (160, 160, 160, 255))  # an empty picture is not written as it is
    for picture in pictures:  # in a GIF a picture is removed to what is transparent in it
        picture.putpixel((1, 0), (0, 0, 0, 0))
    how: dict[str, Any] = {"webp": {"lossless": True}, "gif": {"disposal": 2}}
    path = tmp_path / f"bg.{suffix}"
    pictures[0].save(
        path, save_all=True, append_images=pictures[1:], duration=100, loop=0, **how.get(suffix, {})
    )
    clip = noise_clip(tmp_path / "in.mp4", 15)  # half a second
    run(
        clip,
        tmp_path / "o.mkv",
        zeros,
        background=str(path),
        background_colour="#a0a0a0",  # the eighth grey
        encoding=LOSSLESS,
    )
    assert seen(tmp_path / "o.mkv") == [0] * 3 + [1] * 3 + [2] * 3 + [7] * 3 + [0] * 3
