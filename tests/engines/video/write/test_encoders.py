"""Which encoder is taken, what it is told, and what is said when it cannot be used."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engines.errors import Unavailable, UsageError
from engines.video import frame as fr
from engines.video.config import Encoding, Save
from engines.video.pipeline import Stop
from engines.video.write import encoders
from engines.video.write.codecs import CONTAINERS
from engines.video.write.video import VideoSink
from tests.conftest import Wsshm, one_error_line
from tests.engines.video.outputs import LOSSLESS, decoded, ramp_clip, run
from tests.engines.video.write.helpers import PlainSource
from tests.media import heard, noise_clip, probe, sound_clip

FAMILIES = {"nvenc", "qsv", "amf", "videotoolbox"}


def encodes(name: str) -> bool:
    """Whether FFmpeg has an encoder of this name, and not only a decoder."""
    try:
        return av.Codec(name, "w").is_encoder
    except ValueError:
        return False


HARDWARE = [
    n for n in sorted(av.codecs_available) if n.rpartition("_")[2] in FAMILIES and encodes(n)
]


def works(name: str) -> bool:
    """Whether an encoder can be opened here, by its own word, in a process of its own."""
    code = (
        "import av, sys; c = av.CodecContext.create(sys.argv[1], 'w'); "
        "c.width, c.height, c.pix_fmt = 640, 360, c.codec.video_formats[0].name; "
        "c.time_base = '1/25'; c.open()"
    )
    return subprocess.run([sys.executable, "-c", code, name], capture_output=True).returncode == 0


@pytest.mark.skipif(not HARDWARE, reason="this FFmpeg has no encoder in hardware")
def test_hardware_that_is_not_there(wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    """69 and one line with FFmpeg's own reason and what works instead; nothing is written."""
    missing = next((n for n in HARDWARE if n.startswith("h264_") and not works(n)), None)
    if missing is None:
        pytest.skip("every encoder in hardware works here")
    clip = noise_clip(tmp_path / "in.mp4", 3, 640, 360)
    result = wsshm("run", clip, "--model", ones, "--codec", missing)
    assert result.returncode == 69
    line = one_error_line(result, f"--codec {missing}", "does not work on this machine (")
    assert "use --codec h264" in line
    assert "no reason is given" not in line
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.parametrize("name", HARDWARE)
def test_every_encoder_in_hardware_is_tried_first(name: str) -> None:
    """It either starts or is refused in words; `av1` and so on are named for what they replace."""
    encoder = encoders.choose(Encoding(name), ".mp4", False)
    to = fr.FrameFormat(640, 360), Fraction(25), Fraction(1, 25), CONTAINERS[".mp4"], ".mp4"
    if works(name):
        encoders.check_starts(encoder, *to)
        return
    with pytest.raises(Unavailable, match=rf"--codec {name}: .*; use --codec (h264|hevc|vp9|av1)"):
        encoders.check_starts(encoder, *to)


@pytest.mark.parametrize(
    ("size", "preset", "says"),
    [
        ((640, 480), None, {b"rc_lookahead=15", b"me=dia", b"bframes=3"}),
        ((2304, 2048), None, {b"rc_lookahead=5", b"me=dia", b"bframes=1"}),
        ((640, 480), "superfast", {b"analyse=0x3:0x3", b"me=dia", b"bframes=3"}),
        ((640, 480), "medium", {b"rc_lookahead=30", b"me=hex", b"bframes=3"}),
    ],
)
def test_x264_is_tuned_unless_a_preset_is_asked_for(
    tmp_path: Path, size: tuple[int, int], preset: str | None, says: set[bytes]
) -> None:
    """By what x264 itself writes into the file; of large frames it holds fewer back."""
    path, source = tmp_path / "out.mp4", PlainSource(Fraction(1, 30), size=size)
    encoding = Encoding(preset=preset)
    sink = VideoSink(
        path, ".mp4", Save.composite, source, encoding, alpha=False, copies=False, stop=Stop()
    )
    sink.write(source.plain(0))
    sink.close(whole=True)
    written = path.read_bytes()
    told = written[written.index(b"x264 - core") :].split(b"\0")[0].split()
    assert says <= set(told), told


def test_quality_is_spelt_as_each_encoder_has_it() -> None:
    """``--crf`` reaches nvenc and Quick Sync under their names; others say that they have none."""

    def options(name: str, crf: float | None) -> dict[str, str]:
        if name not in av.codecs_available:
            pytest.skip(f"this FFmpeg has no {name}")
        return encoders.choose(Encoding(name, crf), ".mp4", False).options

    assert options("libx264", 18)["crf"] == "18"
    assert options("h264_nvenc", 18)["cq"] == "18"
    assert options("h264_qsv", None)["global_quality"] == "23"
    assert options("h264_amf", None) == {}
    with pytest.raises(UsageError, match="--crf: h264_amf"):
        options("h264_amf", 18)


@pytest.mark.parametrize(
    ("codec", "ending", "crf", "says"),
    [
        (None, "mp4", 52, "--crf 52: h264 takes 0 to 51"),
        (None, "mp4", -1, "--crf -1: h264 takes 0 to 51"),
        ("hevc", "mp4", 60, "--crf 60: hevc takes 0 to 51"),
        (None, "webm", 64, "--crf 64: vp9 takes 0 to 63"),
        ("ffv1", "mkv", 20, "--crf: ffv1 has no constant quality"),
        ("prores", "mov", 20, "--crf: prores has no constant quality"),
        (None, "y4m", 20, "--crf: rawvideo has no constant quality"),
    ],
)
def test_quality_that_an_encoder_does_not_take(
    tmp_path: Path, ones: Path, codec: str | None, ending: str, crf: float, says: str
) -> None:
    """One line that names the range, or says that there is none; nothing is written."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    with pytest.raises(UsageError, match=says):
        run(clip, tmp_path / f"o.{ending}", ones, encoding=Encoding(codec, crf))
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_the_best_of_av1_is_not_its_default(tmp_path: Path, ones: Path) -> None:
    """0 is more than 1, though FFmpeg takes it for nothing said."""
    clip, sizes = noise_clip(tmp_path / "in.mp4", 3, 128, 96), []
    for crf in (0, 1, None):
        run(clip, tmp_path / "o.mkv", ones, encoding=Encoding("av1", crf), overwrite=True)
        sizes.append((tmp_path / "o.mkv").stat().st_size)
    assert sizes[0] >= sizes[1] > sizes[2]


@pytest.mark.parametrize(
    ("encoding", "says"), [(Encoding("hevc"), "--codec"), (Encoding(crf=0), "--crf")]
)
def test_images_take_no_encoder(tmp_path: Path, ones: Path, encoding: Encoding, says: str) -> None:
    """What is said of video while none is written is a mistake."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    with pytest.raises(UsageError, match=f"{says}: is for video"):
        run(clip, tmp_path / "o", ones, encoding=encoding)


def test_quality_is_for_the_outputs_that_take_it(tmp_path: Path, ones: Path) -> None:
    """``--crf`` with ProRes beside H.264 is for H.264; with nothing but ProRes it is a mistake."""
    clip = noise_clip(tmp_path / "in.mp4", 3)
    both = (Save.composite, Save.foreground)
    sizes = []
    for crf in (5, 45):
        out = tmp_path / f"{crf}.mov"
        summary = run(clip, out, ones, save=both, encoding=Encoding(crf=crf))
        sizes.append([p.stat().st_size for p in summary.outputs])
    assert sizes[0][0] > 2 * sizes[1][0]
    assert sizes[0][1] == sizes[1][1]
    with pytest.raises(UsageError, match="--crf: prores"):
        run(
            clip,
            tmp_path / "o.mov",
            ones,
            save=both,
            background="transparent",
            encoding=Encoding(crf=20),
        )


def test_opaque_prores(tmp_path: Path, ones: Path) -> None:
    """``--codec prores`` without alpha: 4:2:2 or 4:4:4 in 10 bits, the colours kept, and said."""
    grey = ramp_clip(tmp_path / "in.mkv", 64, 48)
    (warning,) = run(
        tmp_path / "in.mkv", tmp_path / "o.mov", ones, encoding=Encoding("prores")
    ).warnings
    assert "encoded as yuv444p10le" in warning
    for frame in decoded(tmp_path / "o.mov"):
        assert frame.format.name.startswith("yuv444p1")
        assert np.abs(deep_luma(frame) - (16 + grey * (219 / 255))).mean() < 1


def test_prores_of_any_width_is_whole(tmp_path: Path, ones: Path) -> None:
    """A still image is the same in every frame, where rows do not end on 16 pixels too."""
    still = np.random.default_rng(0).integers(0, 256, (50, 854, 3), np.uint8)
    with av.open(str(tmp_path / "in.mkv"), "w") as container:
        video = container.add_stream("ffv1", rate=30)
        video.width, video.height, video.pix_fmt = 854, 50, "yuv420p"
        for _ in range(30):
            container.mux(video.encode(av.VideoFrame.from_ndarray(still, "rgb24")))
        container.mux(video.encode(None))
    run(tmp_path / "in.mkv", tmp_path / "o.mov", ones, encoding=Encoding("prores"))
    first, *others = (deep_luma(frame) for frame in decoded(tmp_path / "o.mov"))
    for other in others:
        np.testing.assert_array_equal(first, other)


def deep_luma(frame: av.VideoFrame) -> np.ndarray:
    """(H, W) float, in levels of 8 bits."""
    plane, bit_depth = frame.planes[0], frame.format.components[0].bits
    rows = np.frombuffer(memoryview(plane), "<u2").reshape(plane.height, -1)
    return rows[:, : plane.width] / (1 << bit_depth - 8)


def test_matte_in_prores_reaches_both_ends(tmp_path: Path, ones: Path, zeros: Path) -> None:
    """ProRes has no full range: 0 and 255 are written as the levels that mean black and white."""
    clip = noise_clip(tmp_path / "in.mp4", 2)
    for model, level in ((ones, 235), (zeros, 16)):
        out = tmp_path / f"{level}.mov"
        run(clip, out, model, save=(Save.alpha,), encoding=Encoding("prores"))
        assert np.abs(deep_luma(decoded(out)[0]) - level).max() <= 1


def test_y4m(tmp_path: Path, ones: Path) -> None:
    """Uncompressed, to the last bit; without sound and times, which the format does not have."""
    clip = noise_clip(tmp_path / "in.mkv", 5, 67, 49, codec="ffv1", options={"slices": "1"})
    assert run(clip, tmp_path / "o.y4m", ones).warnings == []
    for before, after in zip(decoded(clip), decoded(tmp_path / "o.y4m"), strict=True):
        for a, b in zip(fr.planes(before), fr.planes(after), strict=True):
            np.testing.assert_array_equal(a, b)
    assert (tmp_path / "o.y4m").read_bytes().startswith(b"YUV4MPEG2 W67 H49 F30:1 ")


def test_lossless_stays_lossless(tmp_path: Path, ones: Path) -> None:
    """The one encoder by which other tests look at pixels gives them back."""
    clip = noise_clip(tmp_path / "in.mkv", 5, codec="ffv1")
    run(clip, tmp_path / "o.mp4", ones, encoding=LOSSLESS)
    assert probe(tmp_path / "o.mp4").hashes == probe(clip).hashes


def test_y4m_says_that_it_is_silent(tmp_path: Path, ones: Path) -> None:
    """Sound is left out with a warning; the second output has it."""
    clip = sound_clip(tmp_path / "in.mkv", "libopus", 0.2)
    summary = run(clip, tmp_path / "o.y4m", ones, save=(Save.composite, Save.foreground))
    assert summary.warnings == [".y4m cannot hold sound: left out"]
    assert [bool(heard(path)) for path in summary.outputs] == [False, True]
    muted = Encoding(audio=False)
    assert run(clip, tmp_path / "o.y4m", ones, encoding=muted, overwrite=True).warnings == []


MILLI = Fraction(1, 1000)
EVEN = {
    "rounded": ([round(n * 1001 / 24) for n in range(60)], MILLI),
    "NTSC": (list(range(0, 60 * 1001, 1001)), Fraction(1, 30000)),
    "pulldown": ([(5 * n + 1) // 2 for n in range(60)], Fraction(1, 60)),
    "late start": ([500 + 40 * n for n in range(60)], MILLI),
}
UNEVEN = {
    "gap": ([40 * n + 200 * (n > 30) for n in range(60)], MILLI),
    "one missing": ([40 * n + 40 * (n > 30) for n in range(60)], MILLI),
    "slower and slower": ([30 * n + n * n // 4 for n in range(60)], MILLI),
}


@pytest.mark.parametrize("case", [*EVEN, *UNEVEN])
def test_y4m_says_that_it_has_one_rate(tmp_path: Path, ones: Path, case: str) -> None:
    """Once, where frames would be seen at another time; no frame is left out or repeated."""
    pts, time_base = (EVEN | UNEVEN)[case]
    clip = noise_clip(tmp_path / "in.mp4", len(pts), 32, 24, pts=pts, time_base=time_base)
    summary = run(clip, tmp_path / "o.y4m", ones)
    assert len(decoded(tmp_path / "o.y4m")) == len(pts)
    if case in EVEN:
        assert summary.warnings == []
    else:
        (warning,) = summary.warnings
        assert ".y4m cannot hold uneven times" in warning
        assert "-o o.mkv keeps their times" in warning
