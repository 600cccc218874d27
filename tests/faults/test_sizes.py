"""Sizes from 1×1 to 8K, odd and prime; and files that would need any amount of memory."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
import zlib
from fractions import Fraction
from pathlib import Path

import av
import cv2
import pytest

from tests.conftest import Wsshm
from tests.faults.helpers import decode
from tests.media import noise_clip, probe


def odd_clip(path: Path, width: int, height: int, pixels: str, frames: int = 10) -> Path:
    """Lossless frames of any size."""
    return noise_clip(path, frames, width, height, codec="rawvideo", pix_fmt=pixels)


# One and two, odd, prime, and many times the stride of a network and one; and 8K.
SMALL = [(1, 1), (1, 67), (101, 1), (2, 2), (2, 61), (3, 5), (97, 61), (641, 361)]
LARGE = [(7680, 4320), (7681, 4320)]
FORMATS = ["yuv420p", "yuv444p", "bgr0"]
# By default those of ordinary video, and the smallest and one more of every other kind.
QUICK = [
    *((*size, FORMATS[0]) for size in SMALL),
    *((*size, pixels) for size in [(1, 1), (641, 361)] for pixels in FORMATS[1:]),
]
MORE = [(*size, pixels) for size in SMALL + LARGE for pixels in FORMATS]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("width", "height", "pixels"),
    [*QUICK, *(pytest.param(*x, marks=pytest.mark.long) for x in MORE if x not in QUICK)],
)
def test_any_size_runs(
    width: int, height: int, pixels: str, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """Exactly the size of the input, or one warning that says what was padded."""
    frames = 2 if (width, height) in LARGE else 10
    clip = odd_clip(tmp_path / "in.nut", width, height, pixels, frames)
    result = wsshm("run", clip, "--model", ones, "-o", "out.mp4", "--json", timeout=250)
    assert result.returncode == 0, result.stderr
    after = probe(tmp_path / "out.mp4")
    assert after.frames == decode(tmp_path / "out.mp4").frames == frames
    padded = [x for x in json.loads(result.stdout)["warnings"] if "padded" in x]
    if after.size == (width, height):
        assert not padded
        return
    assert after.size == (width + width % 2, height + height % 2)
    assert len(padded) == 1
    assert f"{width}x{height} is odd" in padded[0]
    assert f"padded to {after.size[0]}x{after.size[1]}" in padded[0]
    assert result.stderr.count(padded[0]) == 1


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (641, 361)])
def test_any_size_is_kept_by_images(
    width: int, height: int, wsshm: Wsshm, ones: Path, tmp_path: Path
) -> None:
    """PNG files have exactly the size of the input, and no warning."""
    clip = odd_clip(tmp_path / "in.nut", width, height, "yuv444p")
    result = wsshm("run", clip, "--model", ones, "--bg", "transparent", "-o", "out", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["warnings"] == []
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == 10
    for path in written:
        assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).shape == (height, width, 4)


def png(edge: int) -> bytes:
    """A black square that is packed a hundredfold and more."""
    packer = zlib.compressobj(1)
    rows = b"".join([*(packer.compress(bytes(1 + edge)) for _ in range(edge)), packer.flush()])
    header = struct.pack(">2I5B", edge, edge, 8, 0, 0, 0, 0)
    out = b"\x89PNG\r\n\x1a\n"
    for kind, content in ((b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")):
        crc = zlib.crc32(kind + content)
        out += struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc)
    return out


def png_video(path: Path, image: bytes, edge: int) -> Path:
    """One frame; `edge` is what the container says of it."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("png", rate=30)
        video.width, video.height, video.pix_fmt = edge, edge, "gray"
        container.start_encoding()
        packet = av.Packet(image)
        packet.stream, packet.pts, packet.dts, packet.time_base = video, 0, 0, Fraction(1, 30)
        packet.is_keyframe = True
        container.mux(packet)
    return path


# `wsshm run` again and again in one process: what each takes of memory over what there was before
# it, in MB, and of the processor, in seconds.
RUNS = """
import json, sys, time
from pathlib import Path
from wsshm_cli.__main__ import main


def size(field):
    text = Path("/proc/self/status").read_text()
    return int(text.split(f"{field}:")[1].split()[0]) / 1024


for args in json.loads(sys.argv[1]):
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before, began, sys.argv = size("VmRSS"), time.process_time(), ["wsshm", "run", *args]
    try:
        main()
    except SystemExit as e:
        print(e.code, size("VmHWM") - before, time.process_time() - began)
"""


@pytest.mark.long
def test_large_frames_take_little_memory(ones: Path, tmp_path: Path) -> None:
    """A clip in 4K, decoded, matted and encoded in H.264: ≤ 900 MB over what there was before."""
    noise_clip(tmp_path / "in.mp4", 60, 3840, 2160, options={"preset": "veryfast"})
    runs = [["in.mp4", "-o", "out.mp4", "--model", str(ones)]]
    command = [sys.executable, "-c", RUNS, json.dumps(runs)]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    code, more, _ = result.stdout.split()
    assert code == "0", result.stderr
    assert 300 < float(more) <= 900


def test_bombs_are_refused(ones: Path, tmp_path: Path) -> None:
    """16000×16000 in 1.1 MB, as input and as background: one line, ≤ 150 MB and ≤ 1 s.

    Seconds are the processor's, of a process that has imported everything.
    """
    bomb = png(16000)
    assert len(bomb) < 2_000_000
    noise_clip(tmp_path / "good.mp4", 10)
    (tmp_path / "bomb.png").write_bytes(bomb)
    png_video(tmp_path / "bomb.mov", bomb, 16000)
    png_video(tmp_path / "lies.mov", bomb, 64)
    png_video(tmp_path / "over.mov", png(8193), 8193)
    bombs = ["bomb.png", "bomb.mov", "lies.mov", "over.mov"]
    model = ["--model", str(ones)]
    runs = [["good.mp4", *model], *([name, *model] for name in bombs)]
    runs += [["good.mp4", "-o", "out.mp4", "--bg", name, *model] for name in bombs]
    result = subprocess.run(
        [sys.executable, "-c", RUNS, json.dumps(runs)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
    )
    assert result.returncode == 0, result.stderr
    errors = [x for x in result.stderr.splitlines() if x.startswith("wsshm: error: ")]
    (code, *_), *refused = [line.split() for line in result.stdout.splitlines()]
    assert code == "0", result.stderr
    assert len(refused) == len(errors) == 2 * len(bombs)
    for name, error, (code, memory, seconds) in zip(2 * bombs, errors, refused, strict=True):
        print(f"{float(memory):.0f} MB, {float(seconds):.2f} s: {error}")
        assert code == "65"
        assert name in error
        assert "megapixels" in error
        assert float(memory) <= 150
        assert float(seconds) <= 1
    assert {p.name for p in tmp_path.iterdir()} == {"good.mp4", "good_wsshm.mp4", *bombs}
