"""Video with straight alpha, decoded again: the matte that was written, the person's own colour."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.errors import UsageError
from engines.video import frame as fr
from engines.video import run as job
from engines.video.compose.composite import HAZE_ALPHA, SOLID_ALPHA
from engines.video.config import Encoding, MatteOptions, RunConfig, Save
from tests.engines.video.outputs import LOSSLESS, PLAIN, decoded, ramp_clip, run
from tests.media import grey_clip, heard, noise_clip, probe, sound_clip, write_clip

MOVIES = ["mov", "webm", "mkv"]


def with_alpha(path: Path) -> list[av.VideoFrame]:
    """All frames; of VP9 by libvpx, FFmpeg's own decoder has no alpha."""
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        context: Any = video.codec_context
        if context.name == "vp9":
            assert video.metadata["alpha_mode"] == "1"  # what browsers look for
            context = av.CodecContext.create("libvpx-vp9", "r")
        packets = container.demux(video)
        return [f for p in packets for f in context.decode(p if p.size else None)]


def planes(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes as floats, in levels of 8 bits."""
    found: list[np.ndarray] = []
    for plane, component in zip(frame.planes, frame.format.components, strict=True):
        rows = np.frombuffer(memoryview(plane), "<u2" if component.bits > 8 else np.uint8)
        rows = rows.reshape(plane.height, -1)[:, : plane.width]
        most = (1 << component.bits) - 1
        found.append(rows * (255 / most) if len(found) == 3 else rows / (1 << component.bits - 8))
    return found


def mattes(path: Path) -> np.ndarray:
    """(N, H, W): a matte that was saved beside, without loss."""
    return np.stack([fr.planes(f)[0] for f in decoded(path)]).astype(float)


@pytest.mark.parametrize("ending", MOVIES)
def test_alpha_of_a_person_survives(tmp_path: Path, ending: str) -> None:
    """At the default quality: within 1 level on average, and 6 in 99 of 100 pixels."""
    clip = tmp_path / "in.mp4"
    write_clip(clip, seconds=0.4, width=320, height=240)
    for save, name, encoding in (
        (Save.foreground, f"f.{ending}", Encoding()),
        (Save.alpha, "a.mkv", LOSSLESS),
    ):
        summary = job.run(
            RunConfig(
                clip,
                tmp_path / name,
                save=(save,),
                model="fast",
                precision="fp32",
                size=160,
                encoding=encoding,
            )
        )
        assert summary.exit_code == 0, summary.error
    frames = with_alpha(tmp_path / f"f.{ending}")
    times, wanted = [f.pts * f.time_base for f in frames], probe(clip).times
    assert [float(t - times[0]) for t in times] == pytest.approx(
        [float(t - wanted[0]) for t in wanted], abs=0.001
    )
    seen, written = np.stack([planes(f)[3] for f in frames]), mattes(tmp_path / "a.mkv")
    soft = (written > 25) & (written < 230)
    assert 0.001 < soft.mean() < 0.5, "this clip says nothing about edges"
    error = np.abs(seen - written)
    assert error.mean() <= 1
    assert np.percentile(error, 99) <= 6
    assert error[soft].mean() <= 6
    person = written > 250
    originals = [fr.planes(f)[0] for f in decoded(clip)]
    lumas = np.stack([planes(f)[0] for f in frames])
    assert np.abs(lumas - np.stack(originals))[person].mean() <= 3


@pytest.mark.parametrize("ending", MOVIES)
@pytest.mark.parametrize("full", [False, True])
def test_colour_and_matte_are_known(
    tmp_path: Path, brightness: Path, ending: str, full: bool
) -> None:
    """A ramp that is its own matte; its grey is still that grey, as far as it is seen."""
    if full:
        matte = ramp_clip(tmp_path / "in.mkv", 160, 120)
        grey = matte
    else:
        matte = ramp_clip(tmp_path / "full.mkv", 160, 120)
        with av.open(str(tmp_path / "in.mkv"), "w") as out:
            video = out.add_stream("ffv1", rate=30)
            video.width, video.height, video.pix_fmt = 160, 120, "yuv444p"
            fmt = fr.FrameFormat(160, 120, "yuv444p", fr.BT709, fr.LIMITED)
            fmt.tag(video.codec_context)
            for _ in range(3):
                out.mux(video.encode(fr.from_rgb(np.dstack([matte] * 3), fmt)))
            out.mux(video.encode(None))
        grey = 16 + matte * (219 / 255)
    made, is_prores = tmp_path / f"f.{ending}", ending == "mov"
    run(
        tmp_path / "in.mkv",
        made,
        brightness,
        save=(Save.foreground,),
        encoding=Encoding(crf=None if is_prores else 4),
        matte=PLAIN,
    )
    frames = with_alpha(made)
    assert len(frames) == 3
    for frame in frames:
        if is_prores:
            assert int(frame.color_range) != fr.FULL
        elif full:
            assert int(frame.color_range) == fr.FULL
        luma, u, v, alpha = planes(frame)
        assert alpha.shape == luma.shape == (120, 160)
        assert np.abs(alpha - matte).mean() <= 1
        wanted = 16 + grey * (219 / 255) if is_prores and full else grey
        assert np.abs(luma - wanted).mean() <= 1.5
        assert np.abs(u - 128).mean() <= 1
        assert np.abs(v - 128).mean() <= 1
        assert int(frame.colorspace) == fr.BT709


@pytest.mark.parametrize("ending", MOVIES)
def test_alpha_reaches_both_ends(tmp_path: Path, ones: Path, zeros: Path, ending: str) -> None:
    """Opaque is opaque, and nothing shows where nobody is."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    for model, level in ((ones, 255), (zeros, 0)):
        out = tmp_path / f"{level}.{ending}"
        run(clip, out, model, background="transparent")
        for frame in with_alpha(out):
            assert np.abs(planes(frame)[3] - level).max() <= (0.1 if ending == "mov" else 2)


@pytest.mark.parametrize("ending", MOVIES)
@pytest.mark.parametrize(("width", "height"), [(67, 49), (2, 2), (64, 50)])
def test_any_size(tmp_path: Path, ones: Path, ending: str, width: int, height: int) -> None:
    """Exactly the input's, odd or even, and nothing to be warned of."""
    clip = noise_clip(tmp_path / "in.mkv", 2, width, height, codec="ffv1", options={"slices": "1"})
    out = tmp_path / f"f.{ending}"
    assert run(clip, out, ones, save=(Save.foreground,)).warnings == []
    assert [(f.width, f.height) for f in with_alpha(out)] == [(width, height)] * 2


@pytest.mark.parametrize("output", ["o.mov", "o.webm", "o.mkv", "o"])
def test_nothing_of_the_room_is_left(tmp_path: Path, brightness: Path, output: str) -> None:
    """Stripes over which the matte has a haze are not in the file."""
    stripes = np.zeros((120, 160), np.uint8)
    stripes[:, :60:4] = HAZE_ALPHA
    stripes[:, 100:] = 200
    clip = grey_clip(tmp_path / "in.mp4", [stripes] * 3)
    both = (Save.foreground, Save.alpha)
    _, matte = run(clip, tmp_path / output, brightness, save=both, size=128, matte=PLAIN).outputs
    if output == "o":
        seen = [cv2.imread(str(p), cv2.IMREAD_UNCHANGED) for p in (tmp_path / "o").iterdir()]
        lumas = [f[..., 1].astype(float) for f in seen]
    else:
        lumas = [planes(f)[0] for f in with_alpha(tmp_path / output)]
    assert mattes(matte)[:, :, :60].max() > 0
    assert len(lumas) == 3
    person = 200 if output != "o.mov" else 16 + 200 * 219 / 255
    for luma in lumas:
        assert np.abs(luma[:, :60] - 128).max() <= 3  # as limited range 126
        assert np.abs(luma[:, 104:] - person).max() <= 2


def test_lossless_alpha(tmp_path: Path, brightness: Path) -> None:
    """FFV1 in Matroska: the matte and the person's colours to the last bit."""
    matte = ramp_clip(tmp_path / "in.mkv", 64, 64)
    run(
        tmp_path / "in.mkv",
        tmp_path / "f.mkv",
        brightness,
        save=(Save.foreground, Save.alpha),
        encoding=Encoding("ffv1"),
        matte=PLAIN,
    )
    written = mattes(tmp_path / "f_alpha.mkv")
    for frame, alpha in zip(with_alpha(tmp_path / "f.mkv"), written, strict=True):
        luma, _, _, seen = planes(frame)
        np.testing.assert_array_equal(seen, alpha)
        np.testing.assert_array_equal(luma[alpha >= SOLID_ALPHA], matte[alpha >= SOLID_ALPHA])


# What cannot be


@pytest.mark.parametrize("options", [{"save": (Save.foreground,)}, {"background": "transparent"}])
@pytest.mark.parametrize("ending", ["mp4", "m4v", "y4m"])
def test_container_without_alpha_is_refused(
    tmp_path: Path, ones: Path, ending: str, options: dict[str, Any]
) -> None:
    """In one line that names those that can, before anything is written."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    with pytest.raises(UsageError, match=rf"\.{ending} cannot hold.*\.webm \.mov \.mkv.*PNG"):
        run(clip, tmp_path / f"o.{ending}", ones, **options)
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize(
    ("codec", "ending", "able"),
    [
        ("h264", "mov", "prores"),
        ("av1", "webm", "vp9"),
        ("vp9", "mov", "prores"),
        ("hevc", "mkv", "vp9, ffv1, prores"),
    ],
)
def test_codec_without_alpha_is_refused(
    tmp_path: Path, ones: Path, codec: str, ending: str, able: str
) -> None:
    """VP9 in QuickTime too: its alpha would be lost in silence."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    with pytest.raises(UsageError, match=f"{codec}.*use {able}"):
        run(clip, tmp_path / f"o.{ending}", ones, save=(Save.foreground,), encoding=Encoding(codec))


# Several outputs of one pass


@pytest.mark.parametrize("ending", [".mp4", ".webm", ""])
@pytest.mark.parametrize("background", ["#00ff00", "transparent"])
@pytest.mark.parametrize(
    "saves",
    [s for n in (1, 2, 3) for s in itertools.permutations(Save, n)][3:],
    ids=lambda s: "-".join(x.value for x in s),
)
def test_outputs_in_any_combination(
    tmp_path: Path, ones: Path, saves: tuple[Save, ...], background: str, ending: str
) -> None:
    """Each is there and whole, with alpha where it belongs; sound goes into exactly one."""
    first_rgba = saves[0] is Save.foreground or (saves[0], background) == (
        Save.composite,
        "transparent",
    )
    clip = sound_clip(tmp_path / "in.mkv", "libopus", 0.2)
    out = tmp_path / f"o{ending}"
    if first_rgba and ending == ".mp4":
        with pytest.raises(UsageError, match="cannot hold"):
            run(clip, out, ones, save=saves, background=background)
        return
    outputs = run(clip, out, ones, save=saves, background=background).outputs
    assert len(outputs) == len(saves)
    assert outputs[0] == out
    sounding = []
    for path, save in zip(outputs, saves, strict=True):
        has_alpha = save is Save.foreground or (save, background) == (Save.composite, "transparent")
        if path.is_dir():
            assert path == out
            assert len(list(path.glob("*.png"))) == 6
            continue
        frames = with_alpha(path) if has_alpha else decoded(path)
        assert len(frames) == 6
        assert (len(frames[0].format.components) == 4) == has_alpha
        if heard(path):
            sounding.append(save)
    could = [s for s, p in zip(saves, outputs, strict=True) if s is not Save.alpha and p.suffix]
    assert sounding == could[:1]


def test_codec_is_for_the_outputs_that_can(tmp_path: Path, ones: Path) -> None:
    """``--codec hevc`` with a foreground beside: that one keeps its container's own."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    outputs = run(
        clip, tmp_path / "o.mp4", ones, save=tuple(Save), encoding=Encoding("hevc", 30)
    ).outputs
    names = []
    for path in outputs:
        with av.open(str(path)) as container:
            names.append((path.name, container.streams.video[0].codec_context.name))
    assert names == [("o.mp4", "hevc"), ("o_alpha.mp4", "hevc"), ("o_foreground.webm", "vp9")]


def test_decontaminated_colour_is_written(tmp_path: Path) -> None:
    """The foreground has the person's own colour on the edge: not the frame's mixture."""
    clip = tmp_path / "in.mp4"
    write_clip(clip, seconds=0.1, width=320, height=240)
    lumas = []
    for clean in (True, False):
        out = tmp_path / f"{clean}.mov"
        summary = job.run(
            RunConfig(
                clip,
                out,
                save=(Save.foreground,),
                model="fast",
                precision="fp32",
                size=160,
                matte=MatteOptions(smooth=0, decontaminate=clean),
            )
        )
        assert summary.exit_code == 0
        lumas.append([planes(f) for f in with_alpha(out)])
    for cleaned, plain in zip(*lumas, strict=True):
        alpha = plain[3]
        soft, solid = (alpha > 30) & (alpha < 225), alpha > 253
        changed = np.abs(cleaned[0] - plain[0])
        assert changed[soft].mean() > 3
        assert changed[solid].mean() < 1
