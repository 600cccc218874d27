"""Real media, made on the spot and read back with PyAV alone."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from examples.portrait_clip import portrait_frame, write_clip

__all__ = [
    "Probe",
    "grey_clip",
    "heard",
    "noise_clip",
    "portrait_frame",
    "probe",
    "sound_clip",
    "write_clip",
]


@dataclass
class Probe:
    """What a video file holds, by full decoding."""

    frames: int
    times: list[Fraction]  # seconds each frame is shown at
    hashes: list[int]  # of the decoded luma and chroma bytes
    size: tuple[int, int]
    audio: list[bytes]  # packets of all audio streams, in file order
    time_base: Fraction


def probe(path: Path) -> Probe:
    """Decode all of `path`; raises what PyAV raises when it is not clean."""
    times, hashes, audio = [], [], []
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        size, time_base = (video.width, video.height), video.time_base
        for packet in container.demux(video, *container.streams.audio):
            if packet.stream is video:
                for frame in packet.decode():
                    assert isinstance(frame, av.VideoFrame)
                    times.append(frame.pts * frame.time_base)
                    hashes.append(hash(frame.to_ndarray().tobytes()))
            elif packet.size:
                audio.append(bytes(packet))
    return Probe(len(times), times, hashes, size, audio, time_base)


def noise_clip(
    path: Path,
    frames: int = 30,
    width: int = 64,
    height: int = 48,
    *,
    pix_fmt: str = "yuv420p",
    codec: str = "libx264",
    pts: list[int] | None = None,
    time_base: Fraction = Fraction(1, 30),
    options: dict[str, str] | None = None,
    **context: object,
) -> Path:
    """Write seeded moving noise; `pts` in ticks of `time_base`, `context` set on the encoder."""
    rng = np.random.default_rng(0)
    base = rng.integers(0, 256, (height + frames, width + frames, 3), np.uint8)
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=30, options=options or {})
        assert isinstance(video, av.VideoStream)
        video.width, video.height, video.pix_fmt = width, height, pix_fmt
        video.codec_context.time_base = time_base
        for name, value in context.items():
            setattr(video.codec_context, name, value)
        for i in range(frames):
            rgb = np.ascontiguousarray(base[i : i + height, i : i + width])
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
            frame.pts, frame.time_base = (pts[i] if pts else i), time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


def grey_clip(path: Path, images: list[np.ndarray]) -> Path:
    """Write (H, W) uint8 grey images in full range, without loss: read back to the bit."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0"})
        video.height, video.width = images[0].shape
        video.pix_fmt, video.color_range = "yuvj444p", 2
        for luma in images:
            yuv = np.stack([luma, *[np.full_like(luma, 128)] * 2])
            container.mux(video.encode(av.VideoFrame.from_ndarray(yuv, "yuvj444p")))
        container.mux(video.encode(None))
    return path


def sound_clip(path: Path, codec: str = "aac", seconds: float = 1.0, layout: str = "mono") -> Path:
    """Noise images at 30 frames a second, with a tone in any codec."""
    rate = {"libopus": 48000, "libopencore_amrnb": 8000}.get(codec, 44100)
    rng = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        options = {"b": "12200"} if "amr" in codec else {}
        sound = container.add_stream(codec, rate=rate, layout=layout, options=options)
        assert isinstance(sound, av.AudioStream)
        wave = 8000 * np.sin(2 * np.pi * 220 * np.arange(int(seconds * rate)) / rate)
        tone = av.AudioFrame.from_ndarray(wave[None].astype(np.int16), "s16", "mono")
        tone.sample_rate, tone.pts, tone.time_base = rate, 0, Fraction(1, rate)
        resampler = av.AudioResampler(
            sound.codec_context.format, layout, rate, frame_size=sound.codec_context.frame_size
        )
        for part in (*resampler.resample(tone), *resampler.resample(None)):
            container.mux(sound.encode(part))
        container.mux(sound.encode(None))
        for _ in range(round(seconds * 30)):
            rgb = rng.integers(0, 256, (24, 32, 3), np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(rgb, "rgb24")))
        container.mux(video.encode(None))
    return path


def heard(path: Path) -> list[tuple[Fraction, bytes]]:
    """Time and bytes of each audio packet."""
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return []
        return [
            (p.pts * p.time_base, bytes(p))
            for p in container.demux(container.streams.audio[0])
            if p.size
        ]
