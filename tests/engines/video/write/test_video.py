"""Video files as outputs: frames, times, tags, sound and mattes, read back from the files."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engines.errors import Unavailable, UsageError
from engines.video import frame as fr
from engines.video.config import Encoding, Save
from tests.engines.video.outputs import LOSSLESS, PLAIN, decoded, ramp_clip, run
from tests.media import heard, noise_clip, probe, sound_clip

VIDEOS = ["mp4", "mkv", "mov", "webm"]


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


@pytest.mark.parametrize("frames", [1, 2, 3])
@pytest.mark.parametrize(
    ("codec", "ending"),
    [("h264", "mp4"), ("hevc", "mp4"), ("hevc", "mov"), ("hevc", "mkv"), ("av1", "mp4")],
)
def test_the_shortest_clips_are_whole(
    tmp_path: Path, ones: Path, codec: str, ending: str, frames: int
) -> None:
    """They end before the encoder knows by how much it reorders frames."""
    clip, out = noise_clip(tmp_path / "in.mp4", frames), tmp_path / f"out.{ending}"
    run(clip, out, ones, encoding=Encoding(codec))
    before, after = probe(clip), probe(out)
    assert after.frames == frames
    tick = max(before.time_base, after.time_base)
    assert all(abs(a - b) <= tick / 2 for a, b in zip(before.times, after.times, strict=True))
    with av.open(str(out)) as container:
        assert container.duration is not None
        assert abs(container.duration - frames * 1e6 / 30) < 2000


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
    """4:2:2 and 4:4:4 stay what they are, without loss to the last bit."""
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


@pytest.mark.parametrize("ending", ["mp4", "mkv", "mov"])
@pytest.mark.parametrize(("width", "height", "error"), [(64, 64, 1), (160, 120, 2), (66, 200, 2)])
def test_alpha_video_is_the_matte(
    tmp_path: Path, brightness: Path, ending: str, width: int, height: int, error: int
) -> None:
    """Grey, full range by tag and by its samples, and right against a matte that is known."""
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
    for model, level in ((ones, 255), (zeros, 0)):
        run(clip, tmp_path / f"{level}.mp4", model, save=(Save.alpha,), encoding=LOSSLESS)
        assert (fr.planes(decoded(tmp_path / f"{level}.mp4")[0])[0] == level).all()


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
