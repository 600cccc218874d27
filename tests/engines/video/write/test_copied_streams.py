"""Sound, subtitles, chapters and tags of the source, read back from what was written."""

from __future__ import annotations

import re
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from av.subtitles.subtitle import AssSubtitle

from engines.video import run as job
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.write.repair import count_frames
from tests.conftest import Wsshm
from tests.engines.video.outputs import run
from tests.media import noise_clip, sound_clip

RATE = 48_000
CUES = [(0.2, 0.7, "Hello <i>there</i>\nsecond line"), (0.8, 0.95, "Bär")]
PLAIN_CUES = [(a, b, re.sub("<.*?>", "", text)) for a, b, text in CUES]


def clicks(path: Path, codec: str, seconds: float = 1.0) -> Path:
    """A frame is white, and a click heard, at 0.4 s; else black and silent."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=50, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        sound = container.add_stream(codec, rate=RATE, layout="stereo")
        wave = np.zeros((1, 2 * int(seconds * RATE)), np.int16)
        at = int(0.4 * RATE)
        burst = 20000 * np.sin(2 * np.pi * 1000 * np.arange(480) / RATE)
        wave[0, 2 * at : 2 * at + 960] = burst.repeat(2)
        tone = av.AudioFrame.from_ndarray(wave, "s16", "stereo")
        tone.sample_rate, tone.pts, tone.time_base = RATE, 0, Fraction(1, RATE)
        assert isinstance(sound, av.AudioStream)
        context = sound.codec_context
        resampler = av.AudioResampler(
            context.format, "stereo", RATE, frame_size=context.frame_size or 1024
        )
        for part in (*resampler.resample(tone), *resampler.resample(None)):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
        for i in range(round(seconds * 50)):
            frame = av.VideoFrame.from_ndarray(
                np.full((24, 32, 3), 255 * (i == 20), np.uint8), "rgb24"
            )
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def click_after_flash(path: Path) -> float:
    """Seconds from the white frame to where the sound begins, by its envelope's middle."""
    with av.open(str(path)) as container:
        flash = next(
            f.pts * f.time_base
            for f in container.decode(video=0)
            if f.to_ndarray(format="gray").mean() > 100
        )
    times, levels = [], []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            samples = np.abs(frame.to_ndarray().astype(float))
            samples = samples.reshape(-1) if frame.format.is_planar else samples.reshape(-1, 2).T[0]
            samples = samples[: frame.samples]
            times.append(float(frame.pts * frame.time_base) + np.arange(frame.samples) / RATE)
            levels.append(samples)
    time, level = np.concatenate(times), np.concatenate(levels) ** 2
    return float((time * level).sum() / level.sum() - flash)


@pytest.mark.parametrize(
    ("codec", "holder", "ending", "new"),
    [
        ("aac", "mp4", "webm", "opus"),
        ("aac", "mkv", "webm", "opus"),
        ("pcm_s16le", "mov", "webm", "opus"),
        ("libopus", "mkv", "mov", "aac"),
        ("flac", "mkv", "mov", "aac"),
    ],
)
def test_sound_that_does_not_fit_is_re_encoded_and_said(
    tmp_path: Path, ones: Path, codec: str, holder: str, ending: str, new: str
) -> None:
    """A warning names both codecs; what is heard comes with what is seen, to a millisecond."""
    clip = clicks(tmp_path / f"in.{holder}", codec)
    out = tmp_path / f"out.{ending}"
    (warning,) = run(clip, out, ones, encoding=Encoding(crf=0)).warnings
    assert f".{ending} cannot hold {codec.removeprefix('lib')} audio" in warning
    assert f"re-encoded as {'lib' * (new == 'opus')}{new}; -o out.mkv keeps it" in warning
    with av.open(str(out)) as container:
        context = container.streams.audio[0].codec_context
        assert context.codec.canonical_name == new
        assert context.layout.name == "stereo"
        length = sum(f.samples for f in container.decode(audio=0)) / context.sample_rate
    assert length == pytest.approx(1.0, abs=0.06)
    assert click_after_flash(out) == pytest.approx(click_after_flash(clip), abs=0.001)


@pytest.mark.parametrize("ending", ["webm", "mkv", "mp4", "mov"])
def test_sound_of_a_telephone(tmp_path: Path, ones: Path, ending: str) -> None:
    """AMR in 3GP fits into .mov alone: elsewhere it is re-encoded, and no .mkv is promised."""
    clip = sound_clip(tmp_path / "in.3gp", "libopencore_amrnb")
    out = tmp_path / f"out.{ending}"
    summary = run(clip, out, ones)
    with av.open(str(out)) as container:
        sound = np.concatenate(
            [f.to_ndarray().reshape(-1).astype(float) for f in container.decode(audio=0)]
        )
        rate = container.streams.audio[0].rate
    assert np.abs(sound).mean() > 0.01
    with av.open(str(clip)) as container:
        length = sum(f.samples / f.sample_rate for f in container.decode(audio=0))
    assert len(sound) / rate == pytest.approx(length, abs=0.15)
    if ending == "mov":
        assert summary.warnings == []
        return
    (warning,) = summary.warnings
    assert f".{ending} cannot hold amr_nb audio: re-encoded" in warning
    assert "keeps it" not in warning


@pytest.mark.parametrize("start", [0.0, 0.3])
def test_new_sound_of_a_part(tmp_path: Path, ones: Path, start: float) -> None:
    """With ``--start`` and ``--duration`` too, the click comes with the flash."""
    clip = clicks(tmp_path / "in.mp4", "aac")
    out = tmp_path / "out.webm"
    run(clip, out, ones, clip=Clip(start, 0.5))
    assert click_after_flash(out) == pytest.approx(click_after_flash(clip), abs=0.001)


def titled_clip(
    folder: Path,
    subtitles: str = "srt",
    ending: str = "mkv",
    frames: int = 30,
    cues: list[tuple[float, float, str]] = CUES,
) -> Path:
    """Noise with subtitles of any text codec, two chapters and a title."""
    noise = noise_clip(folder / "noise.mp4", frames)
    text = folder / "text.srt"
    lines = [
        f"{i}\n00:00:{a:06.3f} --> 00:00:{b:06.3f}\n{t}\n".replace(".", ",")
        for i, (a, b, t) in enumerate(cues, 1)
    ]
    text.write_text("\n".join(lines))
    path = folder / f"in.{ending}"
    milli = Fraction(1, 1000)
    with av.open(str(noise)) as video, av.open(str(text)) as texts, av.open(str(path), "w") as out:
        images = out.add_stream_from_template(video.streams.video[0])
        decoder: Any = texts.streams.subtitles[0].codec_context
        decoder.open(strict=False)
        stream: Any = out.add_stream(subtitles)
        stream.time_base = stream.codec_context.time_base = milli
        stream.codec_context.subtitle_header = decoder.subtitle_header
        stream.metadata["language"] = "deu"
        out.metadata.update({"title": "A walk", "artist": "Ann"})
        out.set_chapters(
            [
                {"id": 1, "start": 0, "end": 400, "time_base": milli, "metadata": {"title": "One"}},
                {
                    "id": 2,
                    "start": 400,
                    "end": 1000,
                    "time_base": milli,
                    "metadata": {"title": "Two"},
                },
            ]
        )
        for packet in texts.demux():
            if packet.size:
                one = stream.codec_context.encode_subtitle(decoder.decode2(packet))
                one.pts = one.dts = packet.pts
                one.duration, one.time_base, one.stream = packet.duration, milli, stream
                out.mux(one)
        for packet in video.demux():
            if packet.dts is not None:
                packet.stream = images
                out.mux(packet)
    return path


def shown(path: Path) -> list[tuple[float, float, str]]:
    """Begin, end and text of each subtitle, without its style."""
    found = []
    with av.open(str(path)) as container:
        begin = container.streams.video[0].start_time * container.streams.video[0].time_base
        stream = container.streams.subtitles[0]
        stream.codec_context.open(strict=False)
        for packet in container.demux(stream):
            for cue in stream.codec_context.decode2(packet) or () if packet.size else ():
                assert isinstance(cue, AssSubtitle)
                text = re.sub(r"{.*?}", "", cue.dialogue.decode())
                start = packet.pts * packet.time_base - begin
                end = start + packet.duration * packet.time_base
                found.append((float(start), float(end), text.replace("\\N", "\n")))
    return found


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
@pytest.mark.parametrize(
    ("codec", "holder"),
    [("subrip", "mkv"), ("ass", "mkv"), ("mov_text", "mp4"), ("webvtt", "mkv")],
)
def test_subtitles_are_kept(
    tmp_path: Path, ones: Path, codec: str, holder: str, ending: str
) -> None:
    """Every line at its time, in any container; where its notation changes, that is said."""
    (tmp_path / "make").mkdir()
    made = titled_clip(tmp_path / "make", codec, holder)
    out = tmp_path / f"out.{ending}"
    warnings = run(made, out, ones).warnings
    seen = shown(out)
    assert [text for _, _, text in seen] == [text for _, _, text in PLAIN_CUES]
    for (begin, end, _), (wanted, until, _) in zip(seen, CUES, strict=True):
        assert begin == pytest.approx(wanted, abs=0.0011)
        assert end == pytest.approx(until, abs=0.0021)
    assert len(warnings) <= 1
    with av.open(str(out)) as container, av.open(str(made)) as source:
        stream, before = container.streams.subtitles[0], source.streams.subtitles[0]
        is_new = stream.codec_context.name != before.codec_context.name
        if ending != "mov":  # which has other names for languages
            assert stream.metadata["language"] == "deu"
    assert is_new == bool(warnings)
    assert all("subtitles: re-encoded as" in w for w in warnings)


@pytest.mark.parametrize("ending", ["mp4", "mov"])
def test_pauses_between_subtitles(wsshm: Wsshm, tmp_path: Path, ones: Path, ending: str) -> None:
    """In an mp4 they are empty texts, of which FFmpeg's muxer would end the process."""
    cues = [(0.8 + i, 1.2 + i, f"Line {i}") for i in range(4)]
    made = titled_clip(tmp_path, "mov_text", "mp4", 150, cues)
    result = wsshm("run", made, "-o", f"out.{ending}", "--model", ones, "--bg", "#204060")
    assert result.returncode == 0, result.stderr
    seen = [cue for cue in shown(tmp_path / f"out.{ending}") if cue[2]]
    assert [(round(a, 2), round(b, 2), text) for a, b, text in seen] == cues


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv", "webm"])
def test_title_and_chapters_are_kept(tmp_path: Path, ones: Path, ending: str) -> None:
    """As they were, and with ``--start`` by the new times."""
    (tmp_path / "make").mkdir()
    clip = titled_clip(tmp_path / "make")

    def chapters(part: Clip) -> list[tuple[str, float, float]]:
        out = tmp_path / f"out{float(part.start)}.{ending}"
        run(clip, out, ones, clip=part)
        with av.open(str(out)) as container:
            assert container.metadata["title"] == "A walk"
            tags = {k.lower(): v for k, v in container.metadata.items()}
            assert tags["artist"] == "Ann"
            return [
                (
                    c["metadata"]["title"],
                    float(c["start"] * c["time_base"]),
                    float(c["end"] * c["time_base"]),
                )
                for c in container.chapters()
            ]

    assert chapters(Clip()) == [("One", 0, 0.4), ("Two", 0.4, 1.0)]
    (one, two) = chapters(Clip(0.2, 0.4))
    assert one == ("One", pytest.approx(0, abs=1e-3), pytest.approx(0.2, abs=1e-3))
    assert two == ("Two", pytest.approx(0.2, abs=1e-3), pytest.approx(0.4, abs=1e-3))


def test_subtitles_of_a_part(tmp_path: Path, ones: Path) -> None:
    """They keep their distance to the images; what ended before is gone."""
    (tmp_path / "make").mkdir()
    clip = titled_clip(tmp_path / "make")
    run(clip, tmp_path / "out.mkv", ones, clip=Clip(0.5))
    ((begin, _, text),) = shown(tmp_path / "out.mkv")
    assert text == "Bär"
    assert begin == pytest.approx(0.3, abs=0.035)
    run(clip, tmp_path / "out.mp4", ones, clip=Clip(0.5))
    ((begin, _, text),) = shown(tmp_path / "out.mp4")
    assert text == "Bär"
    assert begin == pytest.approx(0.3, abs=0.035)


def test_rare_subtitles_do_not_hold_the_file_back(tmp_path: Path, ones: Path) -> None:
    """Frames can be read from what is on disk while the first subtitle is still to come."""
    (tmp_path / "make").mkdir()
    clip = titled_clip(tmp_path / "make", frames=120, cues=[(3.5, 3.9, "late")])
    part, copy = tmp_path / "out.part.mp4", tmp_path / "copy.mp4"

    def look(frames: int) -> None:
        if frames == 100:
            shutil.copy(part, copy)

    config = RunConfig(clip, tmp_path / "out.mp4", "#000000", model=str(ones), size=64)
    assert job.run(config, on_frame=look).exit_code == 0
    assert count_frames(copy) >= 30
    ((begin, _, text),) = shown(tmp_path / "out.mp4")
    assert (begin, text) == (pytest.approx(3.5, abs=0.002), "late")
