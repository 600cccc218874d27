"""Sound of every codec, input container and number of channels, into every output container.

The sound arrives, or one line says what became of it. A default run takes a sample.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from engines.video.compose.composite import Composited
from engines.video.config import STDOUT, Clip, Encoding, Save
from engines.video.frame import Frame
from engines.video.pipeline import Stop
from engines.video.read.video import VideoSource
from engines.video.write.video import VideoSink

SECONDS = 0.6
INPUTS = {  # by ending: the video codec that it usually holds
    "avi": "mpeg4",
    "mkv": "mpeg4",
    "mov": "mpeg4",
    "mp4": "mpeg4",
    "3gp": "mpeg4",
    "ts": "mpeg2video",
    "mpg": "mpeg2video",
    "mxf": "mpeg2video",
    "wmv": "wmv2",
    "flv": "flv",
    "nut": "mpeg4",
    "webm": "libvpx",
}
OUTPUTS = ".m4v", ".mp4", ".mov", ".mkv", ".webm", "-"  # the first two are the same to FFmpeg
LAYOUTS = {
    1: ("mono",),
    2: ("stereo",),
    3: ("3.0", "2.1"),
    4: ("4.0", "quad"),
    5: ("5.0", "5.0(side)"),
    6: ("5.1", "5.1(side)"),
    7: ("6.1", "7.0"),
    8: ("7.1",),
}
# What FFmpeg takes them for where a file says only how many there are.
UNSAID = dict(enumerate(("mono", "stereo", "2.1", "4.0", "5.0", "5.1", "6.1", "7.1"), 1))
# A few of each kind, the ones that once went wrong among them.
SAMPLE = {
    ("aac", "mp4", 6),
    ("aac", "ts", 2),
    ("aac", "mkv", 5),
    ("ac3", "ts", 6),
    ("eac3", "mkv", 2),
    ("mp2", "mpg", 2),
    ("libmp3lame", "flv", 1),
    ("libmp3lame", "avi", 2),
    ("libopus", "webm", 6),
    ("libopus", "ts", 2),
    ("flac", "mkv", 3),
    ("flac", "wmv", 2),
    ("tta", "mkv", 7),
    ("alac", "mov", 2),
    ("wmav2", "wmv", 2),
    ("wmav1", "avi", 1),
    ("adpcm_ima_wav", "avi", 2),
    ("adpcm_ms", "wmv", 2),
    ("libopencore_amrnb", "3gp", 1),
    ("pcm_s16le", "avi", 2),
    ("pcm_s16le", "mxf", 2),
    ("pcm_s24le", "mkv", 6),
    ("pcm_f32le", "mkv", 4),
    ("pcm_u8", "avi", 2),
    ("pcm_s16be", "mov", 8),
    ("wavpack", "mkv", 7),
    ("vorbis", "mkv", 2),
}


@dataclass(frozen=True)
class Sound:
    """What is heard in a file."""

    codec: str
    seconds: float
    rate: int
    channels: int
    levels: dict[str, float]  # root mean square of 1, by loudspeaker
    frame: float  # seconds of the longest frame


def encoders() -> list[str]:
    found = []
    for name in sorted(av.codecs_available):
        try:
            codec = av.Codec(name, "w")
        except (ValueError, av.error.FFmpegError):
            continue
        if codec.type == "audio" and codec.name == name and name not in ("anull", "comfortnoise"):
            found.append(name)
    return found


def open_encoder(stream: Any, channels: int) -> bool:
    """Whether an encoder takes so many channels."""
    for layout in LAYOUTS[channels]:
        try:
            stream.codec_context.layout = layout
            stream.codec_context.open(strict=False)
        except (av.error.FFmpegError, ValueError):
            continue
        return True
    return False


def write_input(path: Path, encoder: str, channels: int) -> bool:
    """Six images with a tone in every channel; False where there is no such file."""
    rates = av.Codec(encoder, "w").audio_rates or [48000]
    rate = 48000 if 48000 in rates else max(rates)
    if encoder in ("libopencore_amrnb", "g723_1", "nellymoser"):
        rate = 8000
    if encoder in ("adpcm_g722", "g722"):
        rate = 16000
    try:
        with av.open(str(path), "w", container_options={"strict": "-2"}) as container:
            video: Any = container.add_stream(INPUTS[path.suffix[1:]], rate=25)
            video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
            rates_of_bits = {"libopencore_amrnb": "12200", "wmav1": "128000", "wmav2": "128000"}
            options = {"strict": "-2"}
            if encoder in rates_of_bits:
                options["b"] = rates_of_bits[encoder]
            sound: Any = container.add_stream(encoder, rate=rate, options=options)
            if not open_encoder(sound, channels):
                return False
            context = sound.codec_context
            time = np.arange(int(SECONDS * rate)) / rate
            levels = 0.05 * 1.5 ** np.arange(8, 8 - channels, -1) / 1.5  # the first one is loudest
            wave = np.outer(np.sin(2 * np.pi * 300 * time), levels).astype(np.float32)
            tone = av.AudioFrame.from_ndarray(wave.reshape(1, -1), "flt", context.layout.name)
            tone.sample_rate, tone.pts, tone.time_base = rate, 0, Fraction(1, rate)
            cutter = av.AudioResampler(
                context.format, context.layout, rate, frame_size=context.frame_size or 1024
            )
            packets = []
            for part in (*cutter.resample(tone), *cutter.resample(None), None):
                packets += sound.encode(part)
            grey = av.VideoFrame.from_ndarray(np.full((72, 64), 128, np.uint8), "yuv420p")
            for i in range(round(SECONDS * 25)):
                grey.pts, grey.time_base = i, Fraction(1, 25)
                packets += video.encode(grey)
            packets += video.encode(None)
            container.mux(sorted(packets, key=lambda p: float((p.dts or 0) * p.time_base)))
        return hear(path) is not None
    except (av.error.FFmpegError, ValueError, OverflowError, StopIteration):
        return False


def hear(path: Path) -> Sound | None:
    """What FFmpeg makes of the first sound in a file."""
    samples, square, longest = 0, np.zeros(1), 0.0
    with av.open(str(path)) as container:
        if not container.streams.audio or not container.streams.video:
            return None
        stream = container.streams.audio[0]
        for frame in container.decode(stream):
            to_float = av.AudioResampler("flt", frame.layout, frame.sample_rate)
            for part in to_float.resample(frame):
                wave = part.to_ndarray().reshape(-1, frame.layout.nb_channels).astype(float)
                square = square + (wave**2).sum(axis=0)
            samples += frame.samples
            longest = max(longest, frame.samples / frame.sample_rate)
        if not samples:
            return None
        rate, channels = frame.sample_rate, frame.layout.nb_channels
        name = stream.codec_context.codec.canonical_name
        layout = frame.layout
    if layout.name == f"{channels} channels":
        layout = av.AudioLayout(UNSAID[channels])
    names = [c.name for c in layout.channels]
    levels = dict(zip(names, np.sqrt(square / samples).tolist(), strict=True))
    return Sound(name, samples / rate, rate, channels, levels, longest)


@contextmanager
def stdout_into(path: Path) -> Iterator[None]:
    """Standard output is a pipe whose bytes go into a file."""
    sys.stdout.flush()
    saved = os.dup(1)
    with path.open("wb") as file, subprocess.Popen(["cat"], stdin=-1, stdout=file) as cat:
        assert cat.stdin is not None
        os.dup2(cat.stdin.fileno(), 1)
        cat.stdin.close()
        try:
            yield
        finally:
            os.dup2(saved, 1)
            os.close(saved)


def convert(clip: Path, out: Path, suffix: str) -> list[str]:
    """Pass a clip through source and sink as they are; returns what is said."""
    said: list[str] = []
    with VideoSource(clip, Clip(), threads=1, warn=said.append) as source:
        encoding = Encoding(codec="libvpx" if suffix == ".webm" else None)
        sink = VideoSink(
            out, suffix, Save.composite, source, encoding, alpha=False, copies=True, stop=Stop()
        )
        for item in source.items():
            if isinstance(item, Frame):
                sink.write(Composited(item, np.zeros((48, 64), np.uint8), None, item.image))
            else:
                sink.packet(item)
        sink.close(whole=True)
        assert source.fault is None
    return [w for w in (*said, *sink.warnings) if "ends early" not in w]


def judge(before: Sound, out: Path, said: list[str]) -> str:
    """What became of a sound: kept, re-encoded or refused; else what is wrong."""
    after = hear(out)
    text = "; ".join(said)
    if after is None:
        return "refused" if "left out" in text else "WRONG: lost without a word"
    is_new = "re-encoded" in text
    wrong = []
    # FFmpeg takes one for the other in some containers; their decoders take both.
    is_same = {after.codec, before.codec} in ({after.codec}, {"mp2", "mp3"}, {"ac3", "eac3"})
    if is_same == is_new and after.codec not in ("aac", "opus"):
        wrong.append(f"{before.codec} became {after.codec}")
    slack = 0.01 + before.frame + after.frame
    if abs(after.seconds - before.seconds) > slack:
        wrong.append(f"{before.seconds:.3f} s became {after.seconds:.3f} s")
    if after.channels < before.channels and not re.search(r" in (stereo|[\d.]+)", text):
        wrong.append(f"{before.channels} channels became {after.channels}")
    if not is_new and (after.rate, after.channels) != (before.rate, before.channels):
        wrong.append(f"{before} became {after}")
    if after.rate < before.rate and " kHz" not in text:
        wrong.append(f"{before.rate} became {after.rate}")
    for place in before.levels.keys() & after.levels.keys() - {"LFE"}:
        was, is_now = before.levels[place], after.levels[place]
        if not 0.8 < is_now / was < 1.25 and not ("BC" in before.levels and place[0] in "BS"):
            wrong.append(f"{place} at {was:.3f} became {is_now:.3f}")
    return f"WRONG: {', '.join(wrong)}" if wrong else "re-encoded" if is_new else "kept"


@cache
def all_encoders() -> tuple[str, ...]:
    return tuple(encoders())


def sweep(
    folder: Path, encoder: str, ending: str, channels: int, outputs: tuple[str, ...] = OUTPUTS
) -> dict[str, str]:
    """The verdict for each output; empty where there is no such input."""
    clip = folder / f"in.{ending}"
    if not write_input(clip, encoder, channels):
        return {}
    before = hear(clip)
    assert before is not None
    verdicts = {}
    for output in outputs:
        if (before.codec, output) == ("tta", "-"):
            continue  # its decoder asks for the length, which nobody knows at the head of a pipe
        suffix = ".mkv" if output == "-" else output
        out = folder / f"out{suffix}"
        out.unlink(missing_ok=True)
        if output == "-":
            with stdout_into(out):
                said = convert(clip, STDOUT, suffix)
        else:
            said = convert(clip, out, suffix)
        verdict = judge(before, out, said)
        verdicts[output] = verdict if verdict == "kept" else f"{verdict} | {'; '.join(said)}"
    return verdicts


@pytest.mark.parametrize(("encoder", "ending", "channels"), sorted(SAMPLE))
def test_sound_arrives(tmp_path: Path, encoder: str, ending: str, channels: int) -> None:
    """A codec in a container with so many channels, into each kind of output."""
    verdicts = sweep(tmp_path, encoder, ending, channels)
    assert verdicts, "no such input"
    assert not [f"{k}: {v}" for k, v in verdicts.items() if "WRONG" in v or "refused" in v]


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("ending", INPUTS)
def test_all_sound_arrives_or_is_named(tmp_path: Path, ending: str) -> None:
    """Every encoder that FFmpeg has here, with 1 to 8 channels."""
    wrong = []
    for encoder in all_encoders():
        for channels in LAYOUTS:
            for output, verdict in sweep(tmp_path, encoder, ending, channels, OUTPUTS[1:]).items():
                if "WRONG" in verdict:
                    wrong.append(f"{encoder} {channels} .{ending} → {output}: {verdict}")
    assert not wrong
