"""Recordings with sound whose clocks are as tests want them."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from engines.video.summary import Summary
from tests.engines.video.read.helpers import run
from tests.media import heard, probe

RATE = 30  # images a second
SOUND_RATE = 48_000
Clock = Callable[[Any, Fraction], float]  # seconds to add, from the stream and its own time


def recording(
    path: Path,
    seconds: float = 1.0,
    clock: Clock = lambda stream, time: 0.0,
    *,
    video: str = "libx264",
    audio: str | None = "aac",
    sound_seconds: float | None = None,
    as_decoded: bool = False,
    options: dict[str, str] | None = None,
    time_base: Fraction = Fraction(1, RATE),
    images: list[float] | None = None,
) -> Path:
    """Write noise at 30 images a second with a tone, a key frame every half second.

    Args:
        clock: moves the packets.
        as_decoded: give images the times of decoding, as old programs do.
        images: seconds at which there is one; None for an even rate.
    """
    rng = np.random.default_rng(0)
    packets = []
    with av.open(str(path), "w") as container:
        options = {"g": "15", "bf": "2", **(options or {})}
        stream: Any = container.add_stream(video, rate=RATE, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.time_base = stream.time_base = time_base
        sound: Any = container.add_stream(audio, rate=SOUND_RATE, layout="mono") if audio else None
        times = images if images is not None else [n / RATE for n in range(round(seconds * RATE))]
        for time in times:
            rgb = rng.integers(0, 256, (48, 64, 3), np.uint8)
            image = av.VideoFrame.from_ndarray(rgb, "rgb24")
            image.pts, image.time_base = round(time / time_base), time_base
            packets += stream.encode(image)
        packets += stream.encode(None)
        if as_decoded:
            first = packets[0].dts
            for packet in packets:
                packet.pts = packet.dts = packet.dts - first
        if sound is not None:
            packets += tone(sound, sound_seconds or seconds)
        packets.sort(key=lambda p: p.dts * p.time_base)  # as they were before the clock jumped
        for packet in packets:
            shift = clock(packet.stream, packet.pts * packet.time_base)
            ticks = round(shift / packet.time_base)
            packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
            container.mux(packet)
    return path


def tone(stream: Any, seconds: float) -> list[Any]:
    """The packets of a tone."""
    wave = 0.3 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * SOUND_RATE)) / SOUND_RATE)
    frame = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
    frame.sample_rate, frame.pts, frame.time_base = SOUND_RATE, 0, Fraction(1, SOUND_RATE)
    context = stream.codec_context
    context.open()
    resampler = av.AudioResampler(
        context.format, "mono", SOUND_RATE, frame_size=context.frame_size or None
    )
    parts = (*resampler.resample(frame), *resampler.resample(None))
    return [p for part in parts for p in stream.encode(part)] + stream.encode(None)


def jump(by: float, at: float = 0.5, only: str = "") -> Clock:
    """A clock that jumps `by` seconds at `at`, a key frame; `only` that of one type of stream."""

    def clock(stream: Any, time: Fraction) -> float:
        return by if time >= at - 1e-3 and stream.type.startswith(only) else 0.0

    return clock


def joined(path: Path, *parts: Path) -> Path:
    """Append files to one another as they are."""
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def times_of(clip: Path, model: Path) -> tuple[list[float], list[float], Summary]:
    """Run a clip into an mp4; return seconds of its images and of its sound."""
    out = clip.with_name(f"{clip.name}.out.mp4")
    summary = run(clip, out, model)
    return [float(t) for t in probe(out).times], [float(t) for t, _ in heard(out)], summary
