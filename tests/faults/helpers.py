"""What the fault tests share: processes to interrupt, files judged strictly, small disks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest

from tests.media import portrait_frame

RATE, SAMPLE_RATE = 30, 48000
GOP = RATE  # frames: the key frames of an output are at most a second apart


def moving_clip(
    path: Path,
    frames: int,
    width: int = 160,
    height: int = 120,
    *,
    audio: bool = True,
    sounding: tuple[int, int] | None = None,
    gop: int = RATE,
    muxing: dict[str, str] | None = None,
) -> Path:
    """A person who slides to the side, with sound, at 30 frames a second; quick to make.

    Args:
        sounding: the frames during which there are packets of sound; all when None.
        muxing: options of the container.
    """
    rgb = portrait_frame(0.5, width, height)
    first, last = sounding or (0, frames)
    with av.open(str(path), "w", options=muxing or {}) as container:
        options = {"crf": "20", "preset": "ultrafast"}
        video = container.add_stream("libx264", rate=RATE, options=options)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        video.codec_context.gop_size = gop
        sound: Any = None
        if audio:
            sound = container.add_stream("aac", rate=SAMPLE_RATE, layout="mono")
        for i in range(frames):
            frame = av.VideoFrame.from_ndarray(np.roll(rgb, 3 * i, axis=1), "rgb24")
            container.mux(video.encode(frame))
            if audio and first <= i < last:
                start = i * SAMPLE_RATE // RATE
                t = np.arange(start, (i + 1) * SAMPLE_RATE // RATE) / SAMPLE_RATE
                wave = 0.05 * np.sin(2 * np.pi * 220 * t)
                tone = av.AudioFrame.from_ndarray(wave[None].astype(np.float32), "fltp", "mono")
                tone.sample_rate, tone.pts = SAMPLE_RATE, start
                tone.time_base = Fraction(1, SAMPLE_RATE)
                container.mux(sound.encode(tone))
        container.mux(video.encode(None))
        if audio:
            container.mux(sound.encode(None))
    return path


@dataclass(frozen=True)
class Held:
    """What strict decoding found in a file."""

    frames: int
    samples: int  # of sound


def decode(path: Path, *, cut: bool = False) -> Held:
    """Decode every packet of the images and the sound; raises at the first fault in either.

    ``err_detect=explode`` makes FFmpeg's decoders fail where they would conceal damage.

    Args:
        cut: the end of the file may lie inside its last packet, which then does not count.
    """
    frames, samples = 0, 0
    with av.open(str(path)) as container:
        streams = [*container.streams.video, *container.streams.audio]
        assert container.streams.video, f"{path}: no video"
        for stream in streams:
            stream.codec_context.options = {"err_detect": "explode"}
        last, over = None, False
        for packet in container.demux(streams):
            assert not (over and packet.size), f"{path}: goes on after a packet that is cut short"
            if cut and packet.is_corrupt and packet.pos + packet.size >= path.stat().st_size:
                over = True
                continue
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    samples += frame.samples
                    continue
                assert isinstance(frame, av.VideoFrame)
                assert last is None or frame.pts > last, f"{path}: time goes back at {frame.pts}"
                last, frames = frame.pts, frames + 1
    return Held(frames, samples)


@dataclass(frozen=True)
class Decodable:
    """What a damaged file has: frames, and packets that a decoder refuses."""

    frames: int
    skipped: int


def decodable(clip: Path) -> Decodable:
    """What PyAV alone gets out of a file, leaving out what it cannot decode."""
    frames = skipped = 0
    with (
        suppress(av.error.FFmpegError, IndexError),  # no more of it, or no video in it
        av.open(str(clip), metadata_errors="replace") as container,
    ):
        video = container.streams.video[0]
        if video.codec_context is None:  # an unknown codec
            return Decodable(0, 0)
        video.codec_context.thread_type = "AUTO"  # on which it depends when an error shows
        for packet in container.demux(video, *container.streams.audio):
            if packet.stream is not video:
                skipped += packet.is_corrupt
                continue
            try:
                frames += len(packet.decode())
            except av.error.FFmpegError:
                skipped += 1
    return Decodable(frames, skipped)


def parts(folder: Path) -> list[Path]:
    """The unfinished files in `folder`."""
    return sorted(p for p in folder.rglob("*.part*"))


def command(*args: object) -> list[str]:
    return [sys.executable, "-m", "wsshm_cli", *map(str, args)]


def without_root() -> list[str]:
    """A command prefix under which file permissions bind root too; skips where there is none."""
    if os.geteuid():
        return []
    tool = shutil.which("setpriv")
    if tool is None:
        pytest.skip("root passes every permission check here, and setpriv is missing")
    prefix = [tool, "--bounding-set=-dac_override,-dac_read_search"]
    if subprocess.run([*prefix, "true"], capture_output=True).returncode:
        pytest.skip("root passes every permission check here, and may not give that up")
    return prefix


@contextmanager
def disk(folder: Path, kilobytes: int) -> Iterator[Path]:
    """A real file system of this size; skips where none can be mounted."""
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("mounting a small disk needs root")
    folder.mkdir()
    size = f"size={kilobytes}k"
    mount = ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


class Running:
    """A `wsshm` process that is to be interrupted."""

    def __init__(self, args: list[object], cwd: Path):
        self.began = time.perf_counter()
        self.process = subprocess.Popen(
            command(*args), cwd=cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    @property
    def age(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self.began

    def handles_signals(self) -> bool:
        """Whether wsshm has taken SIGTERM over, which Python by itself never does."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False
        caught = next(x.split()[1] for x in status.splitlines() if x.startswith("SigCgt"))
        return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)

    def finish(self, timeout: float = 30) -> Ended:
        """Wait for the end; `seconds` counts from this call."""
        began = time.perf_counter()
        stdout, stderr = self.process.communicate(timeout=timeout)
        return Ended(self.process.returncode, stdout, stderr, time.perf_counter() - began)


@dataclass(frozen=True)
class Ended:
    """How a process went."""

    returncode: int
    stdout: str
    stderr: str
    seconds: float

    @property
    def summary(self) -> dict[str, Any] | None:
        """What ``--json`` printed, if it came to that."""
        return json.loads(self.stdout) if self.stdout else None


def image(path: Path, width: int = 64, height: int = 48) -> Path:
    """A small image file."""
    bgr = cv2.cvtColor(portrait_frame(0.5, width, height), cv2.COLOR_RGB2BGR)
    assert cv2.imwrite(str(path), bgr)
    return path
