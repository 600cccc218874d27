"""Runs on video that has alpha of its own: every output respects it, and shows nothing hidden."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.arrays import Plane
from engines.video import frame as fr
from engines.video.config import BackgroundFit, Encoding, Save
from tests.engines.video.outputs import LOSSLESS, decoded, run
from tests.media import noise_clip
from tests.outlines import soft_person

GREEN, SKIN = (0, 255, 0), (200, 150, 130)
ALL = (Save.composite, Save.alpha, Save.foreground)


def cut_out() -> Plane:
    """(H, W, 4) RGBA: a person with soft hair, straight, and green hidden all around."""
    alpha = soft_person()
    rgba = np.zeros((*alpha.shape, 4), np.uint8)
    rgba[..., :3] = SKIN
    rgba[alpha == 0, :3] = GREEN
    rgba[..., 3] = alpha
    return rgba


def write(path: Path, images: list[Plane], codec: str = "ffv1", pix_fmt: str = "bgra") -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream(codec, rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for i, rgba in enumerate(images):
            frame = av.VideoFrame.from_ndarray(rgba, "rgba").reformat(format=pix_fmt, threads=1)
            frame.pts, frame.time_base = i, Fraction(1, 25)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def greenest(rgb: Any) -> int:
    """How much greener than red or blue a pixel is at most, of 255."""
    levels = rgb.astype(int)
    return int((levels[..., 1] - levels[..., [0, 2]].max(-1)).max())


@pytest.mark.parametrize(
    ("codec", "pix_fmt", "ending"),
    [("ffv1", "bgra", "mkv"), ("qtrle", "argb", "mov"), ("prores_ks", "yuva444p10le", "mov")],
)
def test_matte_and_composite_are_the_inputs(
    tmp_path: Path, ones: Path, codec: str, pix_fmt: str, ending: str
) -> None:
    """Where all is person, the matte is the input's alpha, and the composite lays it over."""
    rgba = cut_out()
    clip = write(tmp_path / f"in.{ending}", [rgba] * 2, codec, pix_fmt)
    summary = run(
        clip,
        tmp_path / "o.mkv",
        ones,
        background="#c020c0",
        save=ALL,
        encoding=Encoding("ffv1"),
    )
    assert sum("alpha of its own" in w for w in summary.warnings) == 1
    alpha = rgba[..., 3].astype(int)
    over = (alpha[..., None] * np.array(SKIN) + (255 - alpha[..., None]) * (0xC0, 0x20, 0xC0)) / 255
    exact = codec != "prores_ks"
    matte = fr.planes(decoded(tmp_path / "o_alpha.mkv")[1])[0]
    assert np.abs(matte - alpha).max() <= (0 if exact else 1)
    composite = decoded(tmp_path / "o.mkv")[1].to_ndarray(format="rgb24")
    off = np.abs(composite - over)
    seen = alpha > 16  # below, hardly anything of the colour is seen
    assert off[seen].max() <= (0.5 if exact else 12)
    assert off.max() <= (10 if exact else 20)
    foreground = decoded(tmp_path / "o_foreground.mkv")[1].to_ndarray(format="rgba")
    assert np.abs(foreground[..., 3] - alpha).max() <= (0 if exact else 1)
    assert greenest(foreground[..., :3]) <= 8
    assert greenest(composite) <= 0


@pytest.mark.parametrize("background", ["blur", "blur:20", "transparent"])
@pytest.mark.parametrize("model", ["ones", "zeros", "brightness"])
def test_nothing_hidden_shows(
    tmp_path: Path, request: pytest.FixtureRequest, model: str, background: str
) -> None:
    """Not in a blurred background, nor under the alpha of a transparent output."""
    clip = write(tmp_path / "in.mkv", [cut_out()] * 2)
    run(
        clip,
        tmp_path / "o.mkv",
        request.getfixturevalue(model),
        background=background,
        encoding=Encoding("ffv1"),
    )
    for frame in decoded(tmp_path / "o.mkv"):
        assert greenest(frame.to_ndarray(format="rgb24")) <= 8


def test_the_network_sees_nothing_hidden(tmp_path: Path, brightness: Path) -> None:
    """White that is hidden would be a person for this one."""
    rgba = np.zeros((120, 160, 4), np.uint8)
    rgba[:, :80] = 255, 255, 255, 0
    rgba[:, 80:] = 90, 90, 90, 255
    clip = write(tmp_path / "in.mkv", [rgba] * 2)
    run(clip, tmp_path / "a.mkv", brightness, save=(Save.alpha,), encoding=Encoding("ffv1"))
    matte = fr.planes(decoded(tmp_path / "a.mkv")[0])[0]
    assert not matte[:, :80].any()
    assert np.abs(matte[:, 90:] - 90.0).max() <= 3


def test_alpha_is_not_smoothed_over_time(tmp_path: Path, ones: Path) -> None:
    """It blinks on a picture that stands still: every frame has its own."""
    images = []
    for i in range(8):
        rgba = np.full((48, 64, 4), (*SKIN, 255), np.uint8)
        rgba[:, : 8 * i, 3] = 60 * (i % 3)
        images.append(rgba)
    clip = write(tmp_path / "in.mkv", images)
    run(clip, tmp_path / "a.mkv", ones, save=(Save.alpha,), encoding=Encoding("ffv1"))
    for frame, rgba in zip(decoded(tmp_path / "a.mkv"), images, strict=True):
        np.testing.assert_array_equal(fr.planes(frame)[0], rgba[..., 3])


def test_pictures_of_a_video_with_alpha(tmp_path: Path, ones: Path) -> None:
    rgba = cut_out()
    clip = write(tmp_path / "in.mov", [rgba] * 2, "png", "rgba")
    run(clip, tmp_path / "o", ones, background="transparent")
    for file in (tmp_path / "o").iterdir():
        made = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(made[..., 3], rgba[..., 3])
        shown = rgba[..., 3] >= 16
        np.testing.assert_array_equal(made[shown][:, 2::-1], rgba[shown][:, :3])


@pytest.mark.parametrize("fit", BackgroundFit)
@pytest.mark.parametrize(
    ("codec", "pix_fmt", "name"),
    [
        ("ffv1", "bgra", "bg.mkv"),
        ("libvpx-vp9", "yuva420p", "bg.webm"),
        ("prores_ks", "yuva444p10le", "bg.mov"),
    ],
)
def test_a_background_with_alpha_lies_over_a_colour(
    tmp_path: Path, zeros: Path, codec: str, pix_fmt: str, name: str, fit: BackgroundFit
) -> None:
    """Black, and black where it does not reach; what it hides does not show either."""
    rgba = np.zeros((48, 64, 4), np.uint8)
    rgba[:, :32] = (*GREEN, 0)
    rgba[:, 32:] = (*SKIN, 255)
    rgba[24:, 32:, 3] = 128
    behind = write(tmp_path / name, [rgba] * 2, codec, pix_fmt)
    clip = noise_clip(tmp_path / "in.mp4", 3, 64, 48)
    run(
        clip,
        tmp_path / "o.mp4",
        zeros,
        background=str(behind),
        background_fit=fit,
        encoding=LOSSLESS,
    )
    for frame in decoded(tmp_path / "o.mp4"):
        rgb = frame.to_ndarray(format="rgb24").astype(int)
        assert rgb[:, :26].max() <= 6
        assert np.abs(rgb[4:18, 40:60] - SKIN).max() <= 12
        assert np.abs(rgb[30:44, 40:60] - np.array(SKIN) * 128 / 255).max() <= 12
