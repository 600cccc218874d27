"""What comes out: frames, tags, sound, mattes and names, read back from the files themselves."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.errors import CannotCreate, Unavailable, UsageError
from engines.video import frame as fr
from engines.video import run as job
from engines.video.compose.composite import OWN
from engines.video.config import Clip, Encoding, MatteOptions, RunConfig, Save
from engines.video.summary import Summary
from tests.conftest import Wsshm
from tests.media import heard, noise_clip, probe, sound_clip

VIDEOS = ["mp4", "mkv", "mov", "webm"]
LOSSLESS = Encoding(crf=0)
PLAIN = MatteOptions(smooth=0, refine=False, decontaminate=False)


def run(source: Path, out: Path | None, model: Path, **options: Any) -> Summary:
    """A run on a black background, on which nothing went wrong."""
    options = {"background": "#000000", "size": 64} | options
    summary = job.run(RunConfig(source, out, model=str(model), **options))
    assert summary.error is None
    assert summary.exit_code == 0
    assert summary.left == []
    return summary


def decoded(path: Path) -> list[av.VideoFrame]:
    """All frames of a file."""
    with av.open(str(path)) as container:
        return list(container.decode(video=0))


# Video files


@pytest.mark.parametrize("ending", VIDEOS)
def test_every_container_has_every_frame(tmp_path: Path, ones: Path, ending: str) -> None:
    """Frames, size and times are the input's; the header of the file knows their number."""
    clip = noise_clip(tmp_path / "in.mp4", 40)
    out = tmp_path / f"out.{ending}"
    summary = run(clip, out, ones)
    before, after = probe(clip), probe(out)
    assert summary.frames == before.frames == after.frames == 40
    assert summary.outputs == [out]
    assert after.size == before.size
    tick = max(before.time_base, after.time_base)
    assert all(abs(a - b) <= tick / 2 for a, b in zip(before.times, after.times, strict=True))
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert video.codec_context.name == ("vp9" if ending == "webm" else "h264")
        if ending in ("mp4", "mov"):
            assert video.frames == 40
        assert abs(video.average_rate - 30) < Fraction(1, 10)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["in.mp4", out.name])


@pytest.mark.parametrize("ending", VIDEOS)
@pytest.mark.parametrize(
    ("matrix", "full", "primaries", "transfer"),
    [(fr.BT709, False, 1, 1), (fr.BT601, False, 6, 6), (fr.BT709, True, 1, 13), (5, True, 5, 4)],
)
def test_colour_tags_are_copied(
    tmp_path: Path, ones: Path, ending: str, matrix: int, full: bool, primaries: int, transfer: int
) -> None:
    """Matrix, range, primaries and transfer of the output are those of the input."""
    color_range = fr.FULL if full else fr.LIMITED
    clip = noise_clip(
        tmp_path / "in.mp4",
        2,
        colorspace=matrix,
        color_range=color_range,
        color_primaries=primaries,
        color_trc=transfer,
    )
    run(clip, tmp_path / f"out.{ending}", ones)
    frame = decoded(tmp_path / f"out.{ending}")[0]
    assert int(frame.color_range) == color_range
    assert int(frame.colorspace) == matrix
    if ending != "webm" or matrix == fr.BT709:  # VP9 names matrices, Matroska the rest
        assert (int(frame.color_primaries), int(frame.color_trc)) == (primaries, transfer)


@pytest.mark.parametrize(
    ("codec", "ending"),
    [
        *((c, e) for c in ("aac", "libmp3lame", "ac3") for e in ("mp4", "mkv", "mov")),
        *((c, e) for c in ("libopus", "flac") for e in ("mp4", "mkv")),
        ("libopus", "webm"),
    ],
)
def test_sound_is_copied_to_the_byte(tmp_path: Path, ones: Path, ending: str, codec: str) -> None:
    """Every packet of the sound, unchanged and as far from the image as before."""
    clip = sound_clip(tmp_path / "in.mkv", codec)
    out = tmp_path / f"out.{ending}"
    assert run(clip, out, ones).warnings == []
    before, after = heard(clip), heard(out)
    assert len(before) > 5
    assert [data for _, data in after] == [data for _, data in before]
    first, now = probe(clip).times[0], probe(out).times[0]
    for (t, _), (u, _) in zip(before, after, strict=True):
        assert abs((t - first) - (u - now)) <= Fraction(1, 1000)


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_raw_sound_is_copied(tmp_path: Path, ones: Path, ending: str) -> None:
    """PCM, in packets of whatever length, is the same sound."""
    clip = sound_clip(tmp_path / "in.mov", "pcm_s16le")
    out = tmp_path / f"out.{ending}"
    run(clip, out, ones)
    assert b"".join(d for _, d in heard(out)) == b"".join(d for _, d in heard(clip))


def test_sound_can_be_left_out(tmp_path: Path, ones: Path) -> None:
    """``--no-audio``; and mattes have none."""
    clip = sound_clip(tmp_path / "in.mp4")
    run(clip, tmp_path / "out.mp4", ones, encoding=Encoding(audio=False))
    assert heard(tmp_path / "out.mp4") == []
    run(clip, tmp_path / "alpha.mp4", ones, save=(Save.alpha,))
    assert heard(tmp_path / "alpha.mp4") == []


@pytest.mark.parametrize(
    ("codec", "ending", "name"),
    [
        ("hevc", "mp4", "hevc"),
        ("hevc", "mkv", "hevc"),
        ("vp9", "webm", "vp9"),
        ("vp9", "mp4", "vp9"),
        ("av1", "mkv", "av1"),
        ("av1", "mp4", "av1"),
        ("ffv1", "mkv", "ffv1"),
        ("mpeg4", "mp4", "mpeg4"),
    ],
)
def test_other_codecs_work(tmp_path: Path, ones: Path, codec: str, ending: str, name: str) -> None:
    """Frames and times are kept with any of them, and it is the codec that was asked for."""
    clip, out = noise_clip(tmp_path / "in.mp4", 12), tmp_path / f"out.{ending}"
    run(clip, out, ones, encoding=Encoding(codec))
    before, after = probe(clip), probe(out)
    assert after.frames == 12
    tick = max(before.time_base, after.time_base)
    assert all(abs(a - b) <= tick / 2 for a, b in zip(before.times, after.times, strict=True))
    with av.open(str(out)) as container:
        context = container.streams.video[0].codec_context
        assert name in (context.codec.canonical_name, context.name)
        if (codec, ending) == ("hevc", "mp4"):
            assert context.codec_tag == "hvc1"


@pytest.mark.parametrize(
    ("codec", "ending", "error", "says"),
    [
        ("h269", "mp4", Unavailable, "--codec h269"),
        ("aac", "mp4", Unavailable, "--codec aac"),
        ("h264", "webm", UsageError, "out.webm: .webm cannot hold h264 video"),
        ("prores", "mp4", UsageError, "out.mp4: .mp4 cannot hold prores video"),
        ("vp9", "mov", UsageError, "out.mov: .mov cannot hold vp9 video.*NAME.mkv"),
        ("h264", "y4m", UsageError, "out.y4m: .y4m cannot hold h264 video"),
        ("mpeg2video", "mp4", Unavailable, "64x48 at 30 a second .MPEG-1/2 does not support"),
    ],
)
def test_codec_that_cannot_be_written_is_refused_first(
    tmp_path: Path, ones: Path, codec: str, ending: str, error: type[Exception], says: str
) -> None:
    """Before a frame is seen: FFmpeg lacks it, the container refuses it, or it does not start."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    with pytest.raises(error, match=says):
        run(clip, tmp_path / f"out.{ending}", ones, encoding=Encoding(codec))
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
def test_odd_size_is_padded_and_said(tmp_path: Path, ones: Path, ending: str) -> None:
    """H.264 in 4:2:0 is even: one column and row are repeated, and a warning says so."""
    clip = noise_clip(
        tmp_path / "in.mkv", 3, 67, 49, codec="ffv1", color_range=fr.LIMITED, colorspace=fr.BT601
    )
    out = tmp_path / f"out.{ending}"
    summary = run(clip, out, ones, encoding=LOSSLESS)
    (warning,) = summary.warnings
    assert "67x49" in warning
    assert "68x50" in warning
    before, after = fr.planes(decoded(clip)[0]), fr.planes(decoded(out)[0])
    np.testing.assert_array_equal(after[0][:49, :67], before[0])
    np.testing.assert_array_equal(after[0][:49, 67], before[0][:, 66])
    np.testing.assert_array_equal(after[0][49, :67], before[0][48])
    for a, b in zip(before[1:], after[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(
    ("codec", "ending", "pix_fmt", "size"),
    [
        ("vp9", "webm", "yuv420p", (67, 49)),
        ("ffv1", "mkv", "yuv420p", (67, 49)),
        (None, "mp4", "yuv444p", (67, 49)),
        (None, "mp4", "yuv422p", (66, 49)),
        (None, "mp4", "yuv420p", (2, 2)),
    ],
)
def test_sizes_that_fit_are_not_padded(
    tmp_path: Path, ones: Path, codec: str | None, ending: str, pix_fmt: str, size: tuple[int, int]
) -> None:
    """Where the encoder takes the size, the output has exactly the input's."""
    clip = noise_clip(
        tmp_path / "in.mkv", 3, *size, codec="ffv1", pix_fmt=pix_fmt, options={"slices": "1"}
    )
    out = tmp_path / f"out.{ending}"
    assert run(clip, out, ones, encoding=Encoding(codec)).warnings == []
    assert [(f.width, f.height) for f in decoded(out)] == [size] * 3


@pytest.mark.parametrize("pix_fmt", ["yuv422p", "yuv444p"])
def test_chroma_is_not_thinned(tmp_path: Path, ones: Path, pix_fmt: str) -> None:
    """4:2:2 and 4:4:4 stay what they are, without loss to the last code."""
    clip = noise_clip(tmp_path / "in.mkv", 3, codec="ffv1", pix_fmt=pix_fmt)
    run(clip, tmp_path / "out.mp4", ones, encoding=LOSSLESS)
    assert decoded(tmp_path / "out.mp4")[0].format.name == pix_fmt
    assert probe(tmp_path / "out.mp4").hashes == probe(clip).hashes


def test_shape_of_pixels_is_kept(tmp_path: Path, ones: Path) -> None:
    """Anamorphic video is shown as wide as before."""
    clip = noise_clip(tmp_path / "in.mp4", 3, sample_aspect_ratio=Fraction(64, 45))
    for ending in ("mp4", "mkv"):
        run(clip, tmp_path / f"out.{ending}", ones)
        with av.open(str(tmp_path / f"out.{ending}")) as container:
            assert container.streams.video[0].sample_aspect_ratio == Fraction(64, 45)


def uneven_clip(path: Path) -> Path:
    """Frames of 40, 120, 40, … ms, the last shown for 700 ms."""
    shown = [40, 120, 40, 200, 40, 40, 80, 40, 360, 700]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"bf": "0"})
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        at, durations, packets = 0, {}, []
        for i, length in enumerate(shown):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 20 * i, np.uint8), "rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            durations[at] = length
            at += length
            packets += video.encode(frame)
        for packet in [*packets, *video.encode(None)]:
            packet.duration = durations[packet.pts]
            container.mux(packet)
    return path


@pytest.mark.parametrize("after", ["mp4", "mov", "mkv"])
@pytest.mark.parametrize("before", ["mp4", "mkv"])
def test_last_frame_is_shown_as_long(tmp_path: Path, ones: Path, before: str, after: str) -> None:
    """With uneven frames too, the output lasts as long as the input, to a tick."""

    def length(path: Path) -> Fraction:
        with av.open(str(path)) as container:
            video = container.streams.video[0]
            if video.duration:
                return Fraction(video.duration * video.time_base)
            return Fraction(container.duration, av.time_base)

    clip = uneven_clip(tmp_path / f"in.{before}")
    assert length(clip) == Fraction(166, 100)
    run(clip, tmp_path / f"out.{after}", ones)
    source, result = probe(clip), probe(tmp_path / f"out.{after}")
    tick = max(source.time_base, result.time_base, Fraction(1, 1000))
    assert abs(length(tmp_path / f"out.{after}") - length(clip)) <= tick
    assert all(abs(a - b) <= tick / 2 for a, b in zip(source.times, result.times, strict=True))


# Mattes


def ramp(width: int, height: int) -> np.ndarray:
    """A grey image that is its own matte under the brightness model."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    return np.dstack([(255 * (x + y) / 2).round().astype(np.uint8)] * 3)


def ramp_clip(path: Path, width: int, height: int) -> np.ndarray:
    """Three such frames in full-range 4:4:4; returns the matte."""
    grey = ramp(width, height)
    with av.open(str(path), "w") as container:
        video = container.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = width, height, "yuv444p"
        video.codec_context.color_range, video.codec_context.colorspace = fr.FULL, fr.BT709
        for _ in range(3):
            image = fr.FrameFormat(width, height, "yuv444p", fr.BT709, fr.FULL).new_image()
            for plane, values in zip(fr.planes(image), (grey[..., 0], 128, 128), strict=True):
                plane[:] = values
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return grey[..., 0]


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(("width", "height", "error"), [(64, 64, 1), (160, 120, 2), (66, 200, 2)])
def test_alpha_video_is_the_matte(
    tmp_path: Path, brightness: Path, ending: str, width: int, height: int, error: int
) -> None:
    """Grey, full range by tag and by codes, and right against a matte that is known."""
    matte = ramp_clip(tmp_path / "in.mkv", width, height)
    out = tmp_path / f"alpha.{ending}"
    run(tmp_path / "in.mkv", out, brightness, save=(Save.alpha,), encoding=LOSSLESS)
    frames = decoded(out)
    assert len(frames) == 3
    for frame in frames:
        assert int(frame.color_range) == fr.FULL
        luma, *chroma = fr.planes(frame)
        assert luma.shape == (height, width)
        assert np.abs(luma.astype(int) - matte).max() <= 2 * error
        assert np.abs(luma.astype(int) - matte).mean() <= error / 2
        assert all((plane == 128).all() for plane in chroma)


def test_alpha_reaches_black_and_white(tmp_path: Path, ones: Path, zeros: Path) -> None:
    """Person is 255 and not 235, nobody is 0 and not 16."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    for model, code in ((ones, 255), (zeros, 0)):
        run(clip, tmp_path / f"{code}.mp4", model, save=(Save.alpha,), encoding=LOSSLESS)
        assert (fr.planes(decoded(tmp_path / f"{code}.mp4")[0])[0] == code).all()


def test_alpha_as_images_is_the_matte(tmp_path: Path, brightness: Path) -> None:
    """As PNG, of an image and of a video, in one channel."""
    cv2.imwrite(str(tmp_path / "in.png"), ramp(64, 64))
    run(tmp_path / "in.png", tmp_path / "a.png", brightness, save=(Save.alpha,))
    seen = cv2.imread(str(tmp_path / "a.png"), cv2.IMREAD_UNCHANGED)
    assert seen.shape == (64, 64)
    np.testing.assert_array_equal(seen, ramp(64, 64)[..., 0])
    matte = ramp_clip(tmp_path / "in.mkv", 64, 64)
    run(tmp_path / "in.mkv", tmp_path / "a", brightness, save=(Save.alpha,))
    files = sorted((tmp_path / "a").iterdir())
    assert [p.name for p in files] == ["000001.png", "000002.png", "000003.png"]
    for path in files:
        seen = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert np.abs(seen.astype(int) - matte).max() <= 1


@pytest.mark.parametrize(
    "options", [{"save": (Save.foreground,)}, {"background": "transparent"}], ids=["save", "bg"]
)
def test_foreground_has_straight_alpha(
    tmp_path: Path, brightness: Path, options: dict[str, Any]
) -> None:
    """Colours are those of the image, alpha is the matte."""
    rgb = np.random.default_rng(5).integers(0, 256, (64, 64, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), rgb[..., ::-1])
    for name in ("out.png", "out.webp"):
        run(tmp_path / "in.png", tmp_path / name, brightness, matte=PLAIN, **options)
        seen = cv2.imread(str(tmp_path / name), cv2.IMREAD_UNCHANGED)
        assert seen.shape == (64, 64, 4)
        if name == "out.png":
            person = seen[..., 3] >= OWN
            assert person.mean() > 0.9
            np.testing.assert_array_equal(seen[person][:, 2::-1], rgb[person])
            assert np.abs(seen[..., 3] - rgb.mean(2)).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "bmp", "mp4"])
def test_transparency_is_not_lost_in_silence(tmp_path: Path, ones: Path, ending: str) -> None:
    """A file that cannot hold it is refused."""
    cv2.imwrite(str(tmp_path / "in.png"), ramp(32, 32))
    with pytest.raises(UsageError, match=ending):
        run(tmp_path / "in.png", tmp_path / f"o.{ending}", ones, background="transparent")


def test_composite_of_an_image_is_exact(tmp_path: Path, ones: Path, zeros: Path) -> None:
    """Through the whole run: the image itself, or the colour, to the last code."""
    rgb = np.random.default_rng(6).integers(0, 256, (49, 67, 3), np.uint8)
    cv2.imwrite(str(tmp_path / "in.png"), rgb)
    run(tmp_path / "in.png", tmp_path / "person.png", ones)
    np.testing.assert_array_equal(cv2.imread(str(tmp_path / "person.png")), rgb)
    run(tmp_path / "in.png", tmp_path / "nobody.png", zeros, background="#102030")
    assert (cv2.imread(str(tmp_path / "nobody.png")) == (0x30, 0x20, 0x10)).all()


# Names


def test_names_by_default(tmp_path: Path, ones: Path) -> None:
    """Beside the input, under its name and what it is."""
    clip = noise_clip(tmp_path / "in.mkv", 2)
    every = (Save.composite, Save.alpha, Save.foreground)
    summary = run(clip, None, ones, save=every)
    names = [str(p.relative_to(tmp_path)) for p in summary.outputs]
    assert names == ["in_wsshm.mp4", "in_alpha.mp4", "in_foreground.webm"]
    cv2.imwrite(str(tmp_path / "me.jpg"), ramp(32, 32))
    summary = run(tmp_path / "me.jpg", None, ones, save=every)
    names = [p.name for p in summary.outputs]
    assert names == ["me_wsshm.png", "me_alpha.png", "me_foreground.png"]
    for overwrite in (False, True):
        summary = run(tmp_path / "me.jpg", tmp_path / "out", ones, save=every, overwrite=overwrite)
        names = [str(p.relative_to(tmp_path)) for p in summary.outputs]
        assert names == ["out/me.png", "out/me_alpha.png", "out/me_foreground.png"]
    (tmp_path / "set").mkdir()
    for name in ("b2.png", "b10.png"):
        cv2.imwrite(str(tmp_path / "set" / name), ramp(32, 32))
    summary = run(tmp_path / "set", None, ones)
    assert [p.name for p in summary.outputs] == ["set_wsshm"]
    assert sorted(p.name for p in (tmp_path / "set_wsshm").iterdir()) == ["b10.png", "b2.png"]


@pytest.mark.parametrize("name", ["takes.v2", "takes.mp4", "takes"])
def test_folder_of_any_name(wsshm: Wsshm, tmp_path: Path, ones: Path, name: str) -> None:
    """A slash at the end, or a folder that is there: PNG files go into it, whatever its name."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    for n, slash in enumerate(("/", "")):  # first it is not there yet
        result = wsshm(
            "run",
            clip,
            "--model",
            ones,
            "-o",
            f"{name}{slash}",
            "--save",
            "composite",
            "--save",
            "alpha",
            *["--overwrite"] * n,
        )
        assert result.returncode == 0, result.stderr
        assert len(list((tmp_path / name).glob("*.png"))) == 2
        assert (tmp_path / f"{name}_alpha.mp4").is_file()


def test_folder_where_a_file_would_be(tmp_path: Path, ones: Path) -> None:
    """A name that was not given stays that of a file."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "in_wsshm.mp4").mkdir()
    with pytest.raises(CannotCreate, match=r"in_wsshm\.mp4: is a folder"):
        run(clip, None, ones)


def test_file_where_an_images_folder_would_be(tmp_path: Path, ones: Path) -> None:
    cv2.imwrite(str(tmp_path / "me.jpg"), ramp(32, 32))
    (tmp_path / "notes").write_text("precious")
    with pytest.raises(CannotCreate, match=r"notes: is a file; name another folder"):
        run(tmp_path / "me.jpg", tmp_path / "notes", ones)
    with pytest.raises(UsageError, match="--format webm"):
        run(tmp_path / "me.jpg", tmp_path / "out", ones, encoding=Encoding(format="webm"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["me.jpg", "notes"]


def test_name_that_may_mean_a_folder(tmp_path: Path, ones: Path) -> None:
    """An unknown ending is refused in a line that says how a folder is written."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    with pytest.raises(UsageError, match=r"unknown kind of output \.v2; .*takes\.v2/ for a folder"):
        run(clip, tmp_path / "takes.v2", ones)
    (tmp_path / "2024.05.beach").mkdir()
    cv2.imwrite(str(tmp_path / "2024.05.beach" / "1.png"), ramp(32, 32))
    assert run(tmp_path / "2024.05.beach", None, ones).outputs == [tmp_path / "2024.05.beach_wsshm"]


def test_names_beside_a_named_output(tmp_path: Path, ones: Path) -> None:
    """``-o`` names the first; the others stand beside it, in the same kind of file."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    summary = run(clip, tmp_path / "out.mkv", ones, save=(Save.composite, Save.alpha))
    assert [p.name for p in summary.outputs] == ["out.mkv", "out_alpha.mkv"]
    cv2.imwrite(str(tmp_path / "me.png"), ramp(32, 32))
    (tmp_path / "there").mkdir()
    summary = run(tmp_path / "me.png", tmp_path / "there", ones)
    assert summary.outputs == [tmp_path / "there" / "me.png"]


def test_two_outputs_of_one_pass_agree(tmp_path: Path, brightness: Path) -> None:
    """Composite on white and matte, of the same frames: C = αF + (1 - α)·white."""
    clip = noise_clip(tmp_path / "in.mkv", 4, 64, 64, codec="ffv1", pix_fmt="yuv444p")
    both = (Save.composite, Save.alpha)
    run(
        clip,
        tmp_path / "o.mp4",
        brightness,
        save=both,
        background="#ffffff",
        encoding=LOSSLESS,
        matte=PLAIN,
    )
    alphas, results = decoded(tmp_path / "o_alpha.mp4"), decoded(tmp_path / "o.mp4")
    for source, alpha, result in zip(decoded(clip), alphas, results, strict=True):
        a = fr.planes(alpha)[0] / 255
        expected = a * fr.planes(source)[0] + (1 - a) * 235
        assert np.abs(fr.planes(result)[0] - expected).max() <= 0.51


def test_existing_output_is_not_replaced_unasked(tmp_path: Path, ones: Path) -> None:
    """73, the file untouched; ``--overwrite`` replaces it whole."""
    clip = noise_clip(tmp_path / "in.mp4", 5)
    out = tmp_path / "out.mp4"
    out.write_bytes(b"precious")
    with pytest.raises(CannotCreate, match=r"out\.mp4.*--overwrite") as caught:
        run(clip, out, ones)
    assert caught.value.exit_code == 73
    assert out.read_bytes() == b"precious"
    run(clip, out, ones, overwrite=True)
    assert probe(out).frames == 5
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_every_output_is_checked_before_any_is_begun(tmp_path: Path, ones: Path) -> None:
    """The second of two exists: nothing is written for the first either."""
    clip = noise_clip(tmp_path / "in.mp4", 5)
    (tmp_path / "o_alpha.mp4").write_bytes(b"precious")
    with pytest.raises(CannotCreate, match=r"o_alpha\.mp4"):
        run(clip, tmp_path / "o.mp4", ones, save=(Save.composite, Save.alpha))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.mp4", "o_alpha.mp4"]


def test_folder_in_use_is_not_written_into_unasked(tmp_path: Path, ones: Path) -> None:
    """A folder with files in it is refused; with ``--overwrite`` they are added to."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(CannotCreate, match="not empty"):
        run(clip, tmp_path / "out", ones)
    run(clip, tmp_path / "out", ones, overwrite=True)
    names = sorted(p.name for p in (tmp_path / "out").iterdir())
    assert names == ["000001.png", "000002.png", "mine.txt"]


def test_output_where_none_can_be_is_refused(tmp_path: Path, ones: Path) -> None:
    """A missing folder, and the input itself even with ``--overwrite``."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    data = clip.read_bytes()
    with pytest.raises(CannotCreate, match="does not exist"):
        run(clip, tmp_path / "none" / "out.mp4", ones)
    (tmp_path / "link.mp4").symlink_to(clip)
    for same in (clip, tmp_path / "." / "in.mp4", tmp_path / "link.mp4"):
        with pytest.raises(UsageError, match="is the input"):
            run(clip, same, ones, overwrite=True)
    assert clip.read_bytes() == data


def test_part_of_a_killed_run_is_named_and_kept(tmp_path: Path, ones: Path) -> None:
    """What another run left is neither used nor lost, and a warning names it."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    left = tmp_path / "out.part.mp4"
    left.write_bytes(b"half of a film")
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert any("out.part.mp4" in w for w in summary.warnings)
    assert left.read_bytes() == b"half of a film"
    assert probe(tmp_path / "out.mp4").frames == 3


def test_names_with_strange_letters_work(tmp_path: Path, ones: Path) -> None:
    """Spaces, brackets, percent signs, colons and other scripts are only names."""
    for stem in ("a b", "[x]*?", "100%d", "file:pipe:1", "Ünï—人", "-dash", "it's"):
        clip = noise_clip(tmp_path / "in.mp4", 2)
        named = clip.rename(tmp_path / f"{stem}.mp4")
        out = tmp_path / f"{stem} out.mkv"
        run(named, out, ones)
        assert probe(Path(f"file:{out}")).frames == 2
        folder = tmp_path / f"{stem} out"
        run(named, folder, ones, save=(Save.alpha,), clip=Clip(0, 0.03))
        assert len(list(folder.iterdir())) == 1
