"""A clip by segments gives the film of one run: frames, times, sound, subtitles, chapters, tags."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from engines.batch.segments import SegmentedClip
from engines.batch.work import Begins, Ended, Event, Work
from engines.batch.worker import Engines, do
from engines.errors import WsshmError, silent
from engines.video.config import Clip, Encoding, MatteOptions, RunConfig, Save
from engines.video.pipeline import Stop
from engines.video.run import run
from tests.media import noise_clip, portrait_frame

SAMPLES = 48000


@dataclass(frozen=True)
class Kind:
    """How a clip is made: times of its frames, codec, container."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    pixels: str = "yuv420p"
    rate: Fraction = Fraction(25)
    tick: Fraction = Fraction(1, 12800)
    options: dict[str, str] = field(default_factory=dict)
    gop: int = 12
    uneven: bool = False
    turned: bool = False
    interlaced: bool = False
    sound: str = "aac"
    subtitles: str = ""
    bits: int = 8


B_FRAMES = {"preset": "ultrafast", "x264-params": "bframes=3:b-adapt=0:open-gop=0:scenecut=0"}
OPEN = {"preset": "ultrafast", "x264-params": "bframes=3:b-adapt=0:open-gop=1:scenecut=0"}
HEVC = {"preset": "ultrafast", "x265-params": "bframes=3:open-gop=1:log-level=error"}
ASS = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, \
Italic, Underline, StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, \
Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,1

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""  # what FFmpeg's encoders of subtitles want to be told first
NTSC = Fraction(24000, 1001)
KINDS = {
    "b-frames": Kind(options=B_FRAMES),
    "open gop": Kind(options=OPEN, subtitles="mov_text"),
    "uneven": Kind(
        ".mkv", options=B_FRAMES, uneven=True, tick=Fraction(1, 1000), subtitles="subrip"
    ),
    "uneven mp4": Kind(options=OPEN, uneven=True, tick=Fraction(1, 90000)),
    "23.976": Kind(".mov", rate=NTSC, tick=Fraction(1, 24000), options=OPEN),
    "turned": Kind(options=B_FRAMES, turned=True),
    "10 bits": Kind(pixels="yuv420p10le", options=OPEN, bits=10),
    "hevc": Kind(codec="libx265", options=HEVC),
    "hevc 10 bits": Kind(".mkv", "libx265", "yuv420p10le", options=HEVC, subtitles="subrip"),
    "prores": Kind(".mov", "prores_ks", "yuv422p10le", gop=1, sound="pcm_s16le"),
    "broadcast": Kind(".ts", options=OPEN, tick=Fraction(1, 90000)),
    "avi": Kind(".avi", "mpeg4", options={"bf": "2"}, sound="mp2", tick=Fraction(1, 25)),
    "interlaced": Kind(options={"x264-params": "tff=1:bframes=2:scenecut=0"}, interlaced=True),
    "vp9": Kind(
        ".webm",
        "libvpx-vp9",
        options={"deadline": "realtime", "cpu-used": "8"},
        sound="libopus",
        subtitles="webvtt",
        tick=Fraction(1, 1000),
    ),
}


def make(path: Path, kind: Kind, frames: int = 150) -> Path:
    """A person who stands still, in a little noise, while a bright bar moves; with all streams."""
    rng = np.random.default_rng(0)
    still = portrait_frame(0.5, 96, 64).astype(np.int16)
    step = 1 / kind.rate / kind.tick
    with av.open(str(path), "w") as out:
        video: Any = out.add_stream(kind.codec, rate=kind.rate, options=kind.options)
        video.width, video.height, video.pix_fmt = 96, 64, kind.pixels
        video.codec_context.gop_size, video.codec_context.time_base = kind.gop, kind.tick
        video.time_base = kind.tick
        video.metadata["language"] = "deu"
        if kind.turned:
            video.set_display_matrix([0, 65536, 0, -65536, 0, 0, 0, 0, 1 << 30])
        sound: Any = out.add_stream(kind.sound, rate=SAMPLES, layout="mono")
        sound.metadata["language"] = "fra"
        if kind.subtitles:
            texts: Any = out.add_stream(kind.subtitles)
            texts.codec_context.subtitle_header = ASS
            texts.codec_context.time_base = Fraction(1, 1000)
            texts.metadata["language"] = "ita"
            texts.time_base = Fraction(1, 1000)
        if kind.suffix not in (".ts", ".avi"):
            end = Fraction(frames) / kind.rate
            out.set_chapters(
                [
                    {
                        "id": i,
                        "start": begin,
                        "end": begin + 2000,
                        "time_base": Fraction(1, 1000),
                        "metadata": {"title": f"Part {i}"},
                    }
                    for i, begin in enumerate(range(0, int(end * 1000), 2000))
                ]
            )
        out.metadata["title"] = "A lecture"
        wave = 0.1 * np.sin(
            2 * np.pi * 220 * np.arange(int(frames / kind.rate * SAMPLES)) / SAMPLES
        )
        tone = av.AudioFrame.from_ndarray((32767 * wave[None]).astype(np.int16), "s16", "mono")
        tone.sample_rate, tone.pts, tone.time_base = SAMPLES, 0, Fraction(1, SAMPLES)
        context = sound.codec_context
        resampler = av.AudioResampler(context.format, "mono", SAMPLES, context.frame_size or 1024)
        for part in (*resampler.resample(tone), *resampler.resample(None)):
            out.mux(sound.encode(part))
        out.mux(sound.encode(None))
        for i in range(frames):
            image = still + rng.integers(-2, 3, still.shape)
            image[:, (7 * i) % 80 : (7 * i) % 80 + 16] += 60
            rgb = np.clip(image, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=kind.pixels)
            late = (0, 0.3, -0.2, 0.45)[i % 4] if kind.uneven else 0
            frame.pts, frame.time_base = (
                round((i + late) * step) + (i > 90) * round(20 * step * kind.uneven),
                kind.tick,
            )
            out.mux(video.encode(frame))
            if kind.subtitles and i % 40 == 20:
                packet = av.Packet(_text(kind.subtitles, f"Line {i}"))
                packet.pts = packet.dts = int(i / kind.rate * 1000)
                packet.duration, packet.time_base = 700, Fraction(1, 1000)
                packet.stream = texts
                out.mux(packet)
        out.mux(video.encode(None))
    return path


def _text(codec: str, text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data if codec == "mov_text" else data


def film(path: Path) -> dict[str, Any]:
    """All that a file holds, but for what the images look like, and which are key frames."""
    with av.open(str(path)) as file:
        times: list[list[Any]] = [[] for _ in file.streams]
        for packet in file.demux():
            # An mp4's muxer ends texts by empty ones, at times of its own choice.
            if packet.size > 2 and packet.stream.type != "video":
                base, is_text = packet.time_base, packet.stream.type == "subtitle"
                lasts = packet.duration if is_text else None  # else the reader estimates it
                times[packet.stream_index].append(
                    (packet.pts * base, packet.dts * base, lasts, bytes(packet))
                )
        video = file.streams.video[0]
        context = video.codec_context
        colour = context.color_range, context.colorspace, context.color_primaries, context.color_trc
        return {
            "kinds": [s.type for s in file.streams],
            "labels": [dict(s.metadata) for s in file.streams],
            "ticks": [s.time_base for s in file.streams],
            "video": (context.codec.name, context.codec_tag, context.pix_fmt, context.profile),
            "rate": (video.average_rate, video.guessed_rate, video.sample_aspect_ratio),
            "times": [(s.start_time, s.duration, s.frames) for s in [*file.streams][:2]],
            "start": file.start_time,
            "length": file.duration,
            "colour": colour,
            "packets": times,
            "chapters": file.chapters(),
            "tags": dict(file.metadata),
            "shown": shown(path),
        }


def shown(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        return [frame.pts * frame.time_base for frame in file.decode(video=0)]


def images(path: Path) -> Iterator[np.ndarray]:
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            yield frame.to_ndarray()[: frame.height]


def here(works: Sequence[Work], stop: Stop) -> Iterator[Event]:
    """Do works one after the other in this process."""
    engines = Engines()
    for work in works:
        if stop.requested:
            return
        yield Begins(work)
        events: list[Event] = []
        result = do(work, stop, events.append, engines)
        yield from events
        yield Ended(work, result)


def by_segments(config: RunConfig, seconds: float = 1) -> int:
    """Run a request by segments in this process; return how many there were."""
    with SegmentedClip(config, Fraction(seconds), "1.0", silent) as clip:
        for event in clip.run(here, Stop()):
            if isinstance(event, Ended):
                assert event.result.is_done, event.result
        made = clip.join(Stop())
        assert made is not None
        assert not made.fault
        n = len(clip.plan.order)
    left = [
        p.name for p in made.outputs[0].parent.iterdir() if "segments" in p.name or "part" in p.name
    ]
    assert left == []
    return n


def compare(one: Path, other: Path) -> None:
    expected, found = film(one), film(other)
    for name, value in expected.items():
        assert found[name] == value, name


SOME = ("open gop", "uneven")  # that are tested every time


@pytest.mark.parametrize(
    "name", [n if n in SOME else pytest.param(n, marks=pytest.mark.long) for n in KINDS]
)
def test_it_is_the_film_of_one_run(tmp_path: Path, brightness: Path, name: str) -> None:
    """By frames, their times, sound, subtitles, chapters and tags."""
    kind = KINDS[name]
    clip = make(tmp_path / f"clip{kind.suffix}", kind)
    suffix = kind.suffix if kind.suffix in (".mp4", ".mkv", ".mov", ".webm") else ".mp4"
    one, two = (tmp_path / f"{name}{suffix}" for name in ("one", "two"))
    plain = RunConfig(clip, one, "#204060", model=str(brightness), bit_depth=kind.bits)
    assert run(plain).error is None
    assert by_segments(replace(plain, output=two)) >= 4
    compare(one, two)


@pytest.mark.parametrize(
    "name", [n if n == "open gop" else pytest.param(n, marks=pytest.mark.long) for n in KINDS]
)
def test_its_images_are_those_of_one_run(tmp_path: Path, brightness: Path, name: str) -> None:
    """To the bit where nothing is smoothed, with one output and with several; of a part as well."""
    kind = KINDS[name]
    clip = make(tmp_path / f"clip{kind.suffix}", kind)
    plain = RunConfig(
        clip,
        tmp_path / "one.mkv",
        "blur",
        model=str(brightness),
        save=(Save.composite, Save.alpha),
        clip=Clip(Fraction(1, 2), 4),
        encoding=Encoding("ffv1"),
        matte=MatteOptions(smooth=0),
    )
    assert run(plain).error is None
    assert by_segments(replace(plain, output=tmp_path / "two.mkv")) >= 3
    for end in ("", "_alpha"):
        one, two = tmp_path / f"one{end}.mkv", tmp_path / f"two{end}.mkv"
        compare(one, two)
        for a, b in zip(images(one), images(two), strict=True):
            assert np.array_equal(a, b)


@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("at least 1 s", {"seconds": Fraction(1, 2)}),
        ("frames: --segments", {"output": Path("frames")}),
        ("out.y4m: --segments", {"output": Path("out.y4m")}),
        ("-o -: does not go with", {"output": Path("-")}),
        ("--realtime: does not go with", {"realtime": True}),
        ("--size auto: does not go with", {"auto_size": True}),
        ("--preview: does not go with", {"preview": True}),
        ("no.mp4: no such file", {"input": Path("no.mp4")}),
        ("portrait.png: --segments cuts videos", {"input": Path("portrait.png")}),
        ("raw.h264: has no times", {"input": Path("raw.h264")}),
        ("the folder no does not exist", {"output": Path("no/out.mp4")}),
        ("cannot hold prores", {"encoding": Encoding("prores")}),
        ("no.jpg: no such file", {"background": "no.jpg"}),
    ],
)
def test_what_cannot_be_is_refused(
    portrait: Path,
    brightness: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    wrong: dict[str, Any],
) -> None:
    """Before the first frame, and nothing is left behind."""
    monkeypatch.chdir(tmp_path)
    given = wrong.get("input")
    if given == Path("portrait.png"):
        cv2.imwrite("portrait.png", np.zeros((48, 64, 3), np.uint8))
    elif given == Path("raw.h264"):
        noise_clip(given, 30)
    before = sorted(tmp_path.iterdir())
    seconds = wrong.pop("seconds", Fraction(1))
    config = replace(RunConfig(portrait, Path("out.mp4"), model=str(brightness)), **wrong)
    with pytest.raises(WsshmError, match=re.escape(what)):
        SegmentedClip(config, seconds, "1.0", silent)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.long
def test_alpha_is_within_one_code(shared_data: Path, tmp_path: Path) -> None:
    """With the shipped model's real mattes, smoothed; what leads in is what smoothing needs."""
    source = shared_data / "video/person/akiyo_cif.mp4"
    clip = tmp_path / "clip.mp4"
    with av.open(str(source)) as file, av.open(str(clip), "w") as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.codec_context.gop_size = 352, 288, 25
        for frame in islice(file.decode(video=0), 150):
            image = av.VideoFrame.from_ndarray(frame.to_ndarray(), "yuv420p")
            out.mux(video.encode(image))
        out.mux(video.encode(None))
    plain = RunConfig(
        clip,
        tmp_path / "one.mkv",
        "#204060",
        model="fast",
        save=(Save.alpha,),
        encoding=Encoding("ffv1"),
    )
    run(plain)
    assert by_segments(replace(plain, output=tmp_path / "two.mkv"), 1) >= 3
    pairs = zip(images(tmp_path / "one.mkv"), images(tmp_path / "two.mkv"), strict=True)
    assert max(int(cv2.absdiff(a, b).max()) for a, b in pairs) <= 1
