"""Muxers that refuse something: late, in the middle or at the end; and what is left then."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.video.write.codecs import CONTAINERS
from engines.video.write.muxer import Muxer
from tests.engines.video.write.helpers import PlainSource, open_video
from tests.media import probe, sound_clip

HOUR = 3600
COUNTERS = [Fraction(1, 30), Fraction(1, 1000), Fraction(1, 90_000), Fraction(1, 1_000_000)]


def muxed(path: Path, *sources: tuple[Any, list[av.Packet]], frames: int = 60) -> list[str]:
    """Write a video and copies of streams through a `Muxer`; returns its warnings."""
    kind, warnings = CONTAINERS[path.suffix], list[str]()
    options = dict(kind.options)
    container = av.open(f"file:{path}", "w", format=kind.format, container_options=options)
    video: Any = container.add_stream("libx264", rate=30, options={"bf": "2"})
    video.width, video.height, video.time_base = 64, 48, Fraction(1, 30)
    video.codec_context.time_base = Fraction(1, 30)
    packets = []
    for stream, its in sources:
        out = container.add_stream_from_template(stream)
        for packet in its:
            packet.stream = out
        packets += its
    muxer = Muxer(container, kind, options, "out.mkv", warnings)
    packets.sort(key=lambda p: p.dts * p.time_base)
    for i in range(frames):
        while packets and packets[0].dts * packets[0].time_base <= Fraction(i, 30):
            muxer.mux([packets.pop(0)])
        image = av.VideoFrame.from_ndarray(np.full((72, 64), 4 * i, np.uint8), "yuv420p")
        image.pts, image.time_base = i, Fraction(1, 30)
        muxer.mux(video.encode(image))
    muxer.mux(video.encode(None))
    muxer.mux(packets)
    muxer.close()
    assert muxer.finished
    return warnings


def copied(clip: Path) -> tuple[Any, list[av.Packet]]:
    """The sound of a clip and its packets; the file stays open as long as they are used."""
    container = av.open(str(clip))
    sound = container.streams.audio[0]
    return sound, [p for p in container.demux(sound) if p.size]


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [stream.type for stream in container.streams]


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le"])
def test_stream_refused_in_the_index_is_left_out(tmp_path: Path, codec: str) -> None:
    """PCM of a layout that nobody knows: the picture and the other sound stay, and that is said."""
    bad, good = sound_clip(tmp_path / "bad.avi", codec, layout="stereo"), tmp_path / "good.mp4"
    sound_clip(good)
    warnings = muxed(tmp_path / "out.mp4", copied(bad), copied(good))
    assert warnings == [f".mp4 cannot hold its {codec} audio: left out; -o out.mkv keeps it"]
    assert probe(tmp_path / "out.mp4").frames == 60
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert [s.codec_context.name for s in container.streams] == ["h264", "aac"]
    assert len(probe(tmp_path / "out.mp4").audio) == len(probe(good).audio)


@pytest.mark.parametrize("codec", ["ac3", "eac3"])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_stream_without_a_packet(tmp_path: Path, codec: str, suffix: str) -> None:
    """An index that needs a packet which never comes: the picture is kept."""
    sound, _ = copied(sound_clip(tmp_path / "in.mkv", codec))
    warnings = muxed(tmp_path / f"out{suffix}", (sound, []))
    assert probe(tmp_path / f"out{suffix}").frames == 60
    text = f".mp4 cannot hold its {codec} audio: left out; -o out.mkv keeps it"
    assert warnings == [text] * (suffix == ".mp4")


def test_packets_refused_on_the_way(tmp_path: Path) -> None:
    """Times that go back in a copied stream: those packets alone are left out."""
    sound, packets = copied(sound_clip(tmp_path / "in.mp4", seconds=2.0))
    packets[40].dts = packets[40].pts = packets[39].pts - 5000
    packets.insert(40, packets.pop(40))
    warnings = muxed(tmp_path / "out.mp4", (sound, packets))
    assert probe(tmp_path / "out.mp4").frames == 60
    assert all("audio" in w for w in warnings)
    assert len(probe(tmp_path / "out.mp4").audio) >= len(packets) - 2


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_pause_in_a_copied_stream(tmp_path: Path, suffix: str) -> None:
    """Half a day without sound: an mp4 ends the sound there and says so, Matroska keeps it."""
    sound, packets = copied(sound_clip(tmp_path / "in.mp4"))
    for packet in packets[20:]:
        packet.pts = packet.dts = packet.dts + round(14 * HOUR / packet.time_base)
    warnings = muxed(tmp_path / f"out{suffix}", (sound, packets))
    held = probe(tmp_path / f"out{suffix}")
    assert held.frames == 60
    if suffix == ".mkv":
        assert warnings == []
        assert len(held.audio) == len(packets)
    else:
        assert len(held.audio) == 20
        assert warnings == [
            f"{suffix} cannot hold its aac audio from a pause of 14.0 hours on: left out; "
            "-o out.mkv keeps it"
        ]


def test_rare_subtitles_in_microseconds(tmp_path: Path) -> None:
    """Two subtitles an hour apart, counted in microseconds, as programs write them into mp4."""
    with av.open(str(tmp_path / "in.mp4"), "w") as container:
        texts: Any = container.add_stream("mov_text")
        texts.time_base = texts.codec_context.time_base = Fraction(1, 1_000_000)
        texts.codec_context.subtitle_header = b"[Script Info]\nScriptType: v4.00+\n"
        texts.codec_context.open()
        packets = []
        for seconds in (1, 1 + HOUR):
            packet = av.Packet(b"\0\4text")
            packet.time_base = Fraction(1, 1_000_000)
            packet.pts = packet.dts = seconds * 1_000_000
            packet.duration = 2 * HOUR * 1_000_000
            packets.append(packet)
        warnings = muxed(tmp_path / "out.mp4", (texts, packets))
    assert warnings == []
    with av.open(str(tmp_path / "out.mp4")) as container:
        shown = [p for p in container.demux(subtitles=0) if p.size > 2]
        assert [float(p.pts * p.time_base) for p in shown] == pytest.approx([1, 1 + HOUR], abs=0.1)
    assert probe(tmp_path / "out.mp4").frames == 60


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("counter", COUNTERS, ids=str)
@pytest.mark.parametrize("at", [1, 20])
def test_pause_of_fourteen_hours(tmp_path: Path, suffix: str, counter: Fraction, at: int) -> None:
    """Each frame comes back at its time; where the steps are too long, the one before is repeated.

    x264 reorders frames over the pause.
    """
    seconds = [Fraction(i, 30) + (14 * HOUR if i >= at else 0) for i in range(40)]
    check_times(tmp_path / f"out{suffix}", None, counter, seconds)


@pytest.mark.parametrize(
    ("codec", "suffix"),
    [("hevc", ".mp4"), ("av1", ".webm"), ("av1", ".mp4"), ("vp9", ".webm"), ("ffv1", ".mkv")],
)
def test_pause_with_other_encoders(tmp_path: Path, codec: str, suffix: str) -> None:
    """Likewise, with ticks of a microsecond."""
    seconds = [Fraction(i, 30) + (14 * HOUR if i >= 20 else 0) for i in range(40)]
    check_times(tmp_path / f"out{suffix}", codec, Fraction(1, 1_000_000), seconds)


def check_times(path: Path, codec: str | None, tick: Fraction, seconds: list[Fraction]) -> None:
    source = PlainSource(tick)
    sink = open_video(path, source, codec)
    for moment in seconds:
        sink.write(source.plain(round(moment / tick)))
    sink.close(whole=True)
    assert sink.frames == len(seconds)
    assert sink.left_at is None
    held = probe(path)
    tolerance = max(tick, Fraction(1, 1000))
    for moment in seconds:
        assert min(abs(time - moment) for time in held.times) <= tolerance
    repeated = held.frames - len(seconds)
    assert bool(repeated) == bool(sink.warnings)
    if repeated:
        (text,) = sink.warnings
        assert f"a pause of 14.0 hours: the frame before it is repeated {repeated} times" in text


def test_pause_that_no_mp4_holds(tmp_path: Path) -> None:
    """A century: the film up to there is kept, and one line names what holds it."""
    source = PlainSource(Fraction(1, 1_000_000))
    sink = open_video(tmp_path / "out.mp4", source)
    for i in range(10):
        sink.write(source.plain(i * 40_000))
    with pytest.raises(Exception, match=r"pause of 87\d{4}\.\d hours; use -o out.mkv instead"):
        sink.write(source.plain(100 * 365 * 24 * HOUR * 1_000_000))
    sink.close(whole=False)
    assert sink.frames == probe(tmp_path / "out.mp4").frames == 10


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_late_begin_and_long_last_frame(tmp_path: Path, suffix: str) -> None:
    """A first frame after fourteen hours, a last one shown for fourteen."""
    source, ticks = PlainSource(Fraction(1, 1_000_000)), 14 * HOUR * 1_000_000
    sink = open_video(tmp_path / f"out{suffix}", source)
    for i in range(10):
        sink.write(source.plain(ticks + i * 40_000, duration=ticks if i == 9 else 40_000))
    sink.close(whole=True)
    assert probe(tmp_path / f"out{suffix}").frames == sink.frames == 10


def test_encoder_that_fails_at_the_end(tmp_path: Path) -> None:
    """Whatever an encoder says when it is emptied, what it gave before is a film with an index."""
    source = PlainSource(Fraction(1, 30))
    sink = open_video(tmp_path / "out.mp4", source, "mpeg4")
    for i in range(10):
        sink.write(source.plain(i))
    sink._stream.codec_context.encode(None)  # a second flush is an error
    with pytest.raises(Exception, match="writing failed"):
        sink.close(whole=True)
    assert sink.frames == probe(tmp_path / "out.mp4").frames > 0
