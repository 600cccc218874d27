"""Sound that changes, begins late, or is not there: the whole film all the same."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

from engines.video.compose.composite import Composited
from engines.video.config import Clip, Encoding, Save
from engines.video.frame import Frame
from engines.video.pipeline import Stop
from engines.video.read.video import VideoSource
from engines.video.write.reencoded import RestOfAac, nearest_layout
from engines.video.write.video import VideoSink
from tests.engines.video.outputs import decoded, run

FPS = 10


def film(
    path: Path,
    codec: str,
    seconds: float = 1.0,
    *,
    rate: int = 48000,
    layout: str = "stereo",
    sound: tuple[float, float] | None = None,
    offset: Fraction = Fraction(0),
    format: str | None = None,
) -> Path:
    """Grey images with a tone between the two times of `sound`, everything moved by `offset`."""
    begin, end = sound or (0.0, seconds)
    with av.open(str(path), "w", format=format) as container:
        video: Any = container.add_stream("libx264", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.gop_size = FPS
        heard: Any = container.add_stream(codec, rate=rate, layout=layout)
        context = heard.codec_context
        context.open()
        packets = []
        if end > begin:
            time = np.arange(round((end - begin) * rate)) / rate
            wave = (0.4 * np.sin(2 * np.pi * 300 * time)).astype(np.float32)
            tone = av.AudioFrame.from_ndarray(
                wave.repeat(context.layout.nb_channels)[None], "flt", layout
            )
            tone.sample_rate, tone.time_base = rate, Fraction(1, rate)
            tone.pts = round(begin * rate)
            cutter = av.AudioResampler(
                context.format, layout, rate, frame_size=context.frame_size or 1024
            )
            for part in (*cutter.resample(tone), *cutter.resample(None), None):
                packets += heard.encode(part)
        for i in range(round(seconds * FPS)):
            image = av.VideoFrame.from_ndarray(np.full((72, 64), 40 + i, np.uint8), "yuv420p")
            image.pts, image.time_base = i, Fraction(1, FPS)
            packets += video.encode(image)
        packets += video.encode(None)
        for packet in sorted(packets, key=lambda p: float((p.dts or 0) * p.time_base)):
            shift = round(offset / packet.time_base)
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            container.mux(packet)
    return path


def broadcast(folder: Path, first: dict[str, Any], second: dict[str, Any]) -> Path:
    """Two recordings of a second each, one after the other in one file."""
    parts = [
        film(folder / f"{i}.ts", **part, offset=Fraction(1 + i), format="mpegts")
        for i, part in enumerate((first, second))
    ]
    path = folder / "in.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def sound_of(path: Path) -> tuple[float, float, int, int, float]:
    """Begin and length in seconds, rate, channels, and pitch in Hz at the end."""
    waves, begin = [], None
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            begin = float(frame.pts * frame.time_base) if begin is None else begin
            mono = av.AudioResampler("flt", frame.layout, frame.sample_rate)
            for part in mono.resample(frame):
                waves.append(part.to_ndarray()[0, :: frame.layout.nb_channels])
    assert begin is not None
    wave, rate = np.concatenate(waves), frame.sample_rate
    end = wave[-rate * 6 // 10 : -rate // 10]  # half a second
    pitch = 2.0 * int(np.abs(np.fft.rfft(end)).argmax())
    return begin, len(wave) / rate, rate, frame.layout.nb_channels, pitch


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize(
    ("rate", "layout"), [(44100, "stereo"), (48000, "mono"), (48000, "5.1"), (24000, "5.0")]
)
def test_rate_or_channels_change(
    tmp_path: Path, ones: Path, ending: str, rate: int, layout: str
) -> None:
    """All is heard, at its pitch, in the rate and the channels of the beginning."""
    first = {"codec": "aac"}
    clip = broadcast(tmp_path, first, {"codec": "aac", "rate": rate, "layout": layout})
    out = tmp_path / f"out.{ending}"
    assert any("re-encoded" in w for w in run(clip, out, ones).warnings)
    assert len(decoded(out)) == 2 * FPS
    _, seconds, new_rate, channels, pitch = sound_of(out)
    assert seconds == pytest.approx(2.0, abs=0.12)
    assert (new_rate, channels) == (48000, 2)
    assert pitch == 300


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_aac_that_cannot_be_encoded_on_is_left_out(tmp_path: Path, ones: Path, ending: str) -> None:
    """It began as AAC Main; what it began with is kept, and the images."""
    clip = broadcast(tmp_path, {"codec": "aac"}, {"codec": "aac", "layout": "mono"})
    low, main = b"\xff\xf1\x4c", b"\xff\xf1\x0c"
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) // 2].replace(low, main) + data[len(data) // 2 :])
    out = tmp_path / f"out.{ending}"
    (warning,) = run(clip, out, ones).warnings
    assert warning == "audio changes its rate or channels on the way, which is left out"
    assert len(decoded(out)) == 2 * FPS
    assert 0.7 < sound_of(out)[1] < 1.3


def test_he_aac_is_not_encoded_on_at_half_its_speed() -> None:
    """Its header says 24 kHz, its decoder 48."""
    stereo_at = {24000: b"\x58\x80", 48000: b"\x4c\x80"}
    RestOfAac(SimpleNamespace(time_base=Fraction(1)), stereo_at[48000], 48000, "stereo")
    with pytest.raises(ValueError, match="not AAC-LC"):
        RestOfAac(SimpleNamespace(time_base=Fraction(1)), stereo_at[24000], 48000, "stereo")


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("codecs", [("aac", "ac3"), ("ac3", "aac"), ("mp2", "ac3")])
def test_codec_changes(tmp_path: Path, ones: Path, ending: str, codecs: tuple[str, str]) -> None:
    """The whole film, with the sound of one codec, and one line."""
    clip = broadcast(tmp_path, {"codec": codecs[0]}, {"codec": codecs[1]})
    out = tmp_path / f"out.{ending}"
    warnings = run(clip, out, ones).warnings
    assert len([w for w in warnings if "another codec on the way, which is left out" in w]) == 1
    assert len(decoded(out)) == 2 * FPS
    assert sound_of(out)[1] == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("codec", ["ac3", "eac3", "aac", "flac", "libmp3lame"])
def test_track_without_a_packet(tmp_path: Path, ones: Path, codec: str, ending: str) -> None:
    """A film without it, and a line."""
    clip = film(tmp_path / "in.mkv", codec, sound=(0, 0))
    out = tmp_path / f"out.{ending}"
    (warning,) = run(clip, out, ones).warnings
    assert warning.endswith("audio), which is empty here")
    assert len(decoded(out)) == FPS


@pytest.mark.parametrize("ending", ["mp4", "webm"])
def test_part_without_sound(tmp_path: Path, ones: Path, ending: str) -> None:
    """As where the sound has ended before ``--start``."""
    clip = film(tmp_path / "in.ts", "ac3", 2.0, sound=(0, 0.5), format="mpegts")
    out = tmp_path / f"out.{ending}"
    (warning,) = run(clip, out, ones, clip=Clip(1)).warnings
    assert "empty here" in warning
    assert len(decoded(out)) == FPS


@pytest.mark.parametrize("ending", ["mp4", "mkv", "webm"])
@pytest.mark.parametrize(
    ("codec", "holder"), [("ac3", "mkv"), ("eac3", "mp4"), ("ac3", "ts"), ("aac", "ts")]
)
def test_sound_begins_late(
    tmp_path: Path, ones: Path, codec: str, holder: str, ending: str
) -> None:
    """Later than anybody looks ahead: it is heard, at its time."""
    clip = film(tmp_path / f"in.{holder}", codec, 10, sound=(9, 10))
    out = tmp_path / f"out.{ending}"
    run(clip, out, ones)
    assert len(decoded(out)) == 10 * FPS
    begin, seconds, *_, pitch = sound_of(out)
    first = decoded(out)[0]
    assert begin - float(first.pts * first.time_base) == pytest.approx(9, abs=0.1)
    assert seconds == pytest.approx(1, abs=0.1)
    assert pitch == 300


@pytest.mark.parametrize("begin", [2, 7])
@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize("codec", ["ac3", "eac3", "aac"])
def test_end_before_the_sound_begins(tmp_path: Path, codec: str, ending: str, begin: int) -> None:
    """Nothing that was done is lost."""
    clip = film(tmp_path / "in.ts", codec, 8, sound=(begin, 8), format="mpegts")
    out = tmp_path / f"out.{ending}"
    with VideoSource(clip, Clip(), threads=1) as source:
        sink = VideoSink(
            out,
            f".{ending}",
            Save.composite,
            source,
            Encoding(),
            alpha=False,
            copies=True,
            stop=Stop(),
        )
        for item in source.items():
            if isinstance(item, Frame):
                sink.write(Composited(item, np.zeros((48, 64), np.uint8), None, item.image))
            else:
                sink.packet(item)
            if sink.frames == FPS:
                break
        sink.close(whole=False)
    assert len(decoded(out)) == FPS


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_u8", "pcm_s24le", "pcm_f32le"])
@pytest.mark.parametrize("layout", ["stereo", "5.1"])
def test_pcm_without_a_layout(tmp_path: Path, ones: Path, codec: str, layout: str) -> None:
    """Matroska says how many channels there are and no more; an mp4 has the same samples."""
    clip = film(tmp_path / "in.mkv", codec, layout=layout)
    out = tmp_path / "out.mp4"
    warnings = run(clip, out, ones).warnings
    before, after = sound_of(clip), sound_of(out)
    assert after[1:4] == (pytest.approx(before[1], abs=0.02), *before[2:4])
    assert after[4] == 300
    assert all("re-encoded" in w for w in warnings)
    assert bool(warnings) == (codec == "pcm_u8")  # which an mp4 does not have


@pytest.mark.parametrize("codec", ["wmav1", "wmav2"])
@pytest.mark.parametrize("ending", ["mp4", "webm", "mkv"])
def test_windows_media(tmp_path: Path, ones: Path, codec: str, ending: str) -> None:
    """Its decoders keep the last frames until the end."""
    path = tmp_path / "in.wmv"
    film(tmp_path / "in.mkv", "pcm_s16le")
    with av.open(str(tmp_path / "in.mkv")) as source, av.open(str(path), "w") as made:
        video: Any = made.add_stream("wmv2", rate=FPS)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound: Any = made.add_stream(codec, rate=48000, layout="stereo")
        sound.codec_context.bit_rate = 128000
        images = [p for f in (*source.decode(video=0), None) for p in video.encode(f)]
        source.seek(0)
        cutter = av.AudioResampler(sound.format, "stereo", 48000, frame_size=2048)
        parts = [p for f in (*source.decode(audio=0), None) for p in cutter.resample(f)]
        packets = [p for f in (*parts, None) for p in sound.encode(f)]
        for packet in sorted(images + packets, key=lambda p: float(p.dts * p.time_base)):
            made.mux(packet)
    out = tmp_path / f"out.{ending}"
    run(path, out, ones)
    _, seconds, rate, channels, pitch = sound_of(out)
    assert len(decoded(out)) == FPS
    assert seconds == pytest.approx(1, abs=0.1)
    assert (rate, channels) == (48000, 2)
    assert pitch == 300


@pytest.mark.parametrize(
    ("layout", "aac", "opus"),
    [
        ("mono", "mono", "mono"),
        ("2 channels", "stereo", "stereo"),
        ("2.1", "5.1", "5.1"),
        ("3.0", "3.0", "3.0"),
        ("quad", "5.0", "quad"),
        ("4.0", "4.0", "5.1"),
        ("5.0", "5.0", "5.1"),
        ("5.0(side)", "5.0", "5.1"),
        ("5 channels", "5.0", "5.1"),
        ("5.1(side)", "5.1", "5.1"),
        ("6.1", "7.1", "7.1"),
        ("6.1(back)", "7.1", "7.1"),
        ("7.1", "7.1", "7.1"),
        ("hexadecagonal", "7.1", "7.1"),
    ],
)
def test_channels_are_kept(layout: str, aac: str, opus: str) -> None:
    """Where the codec has no such layout, in one with as many places."""
    given = av.AudioLayout(layout)
    assert nearest_layout("aac", given).name == aac
    assert nearest_layout("libopus", given).name == opus
