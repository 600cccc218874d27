"""Damaged video: bits turned over, a block of zeros. Nothing crashes or hangs, little is lost."""

from __future__ import annotations

import json
import random
import subprocess
from contextlib import suppress
from pathlib import Path

import av
import pytest

from tests.faults.helpers import command, decode, moving_clip, parts

FRAMES, FLIPS = 120, 20
CONTAINERS = ["mp4", "mkv", "ts"]


def damaged(data: bytes, seed: int) -> bytes:
    """`FLIPS` bits turned over; in every tenth file, 4 kB of zeros as well."""
    rng, out = random.Random(seed), bytearray(data)
    for _ in range(FLIPS):
        at = rng.randrange(len(out))
        out[at] ^= 1 << rng.randrange(8)
    if seed % 10 == 0:
        at = rng.randrange(len(out) - 4096)
        out[at : at + 4096] = bytes(4096)
    return bytes(out)


def decodable(clip: Path) -> int:
    """Frames that PyAV gives when packets that cannot be decoded are left out."""
    frames = 0
    try:
        with av.open(str(clip)) as container:
            for packet in container.demux(video=0):
                with suppress(av.error.FFmpegError):
                    frames += len(packet.decode())
    except (av.error.FFmpegError, IndexError):
        pass
    return frames


def trials(container: str, seeds: range, model: Path, folder: Path) -> list[int]:
    """Frames that were kept of each file: all that there are."""
    whole = moving_clip(folder / f"whole.{container}", FRAMES, 640, 360, gop=15).read_bytes()
    kept = []
    for seed in seeds:
        clip, out = folder / f"in.{container}", folder / "out.mkv"
        clip.write_bytes(damaged(whole, seed))
        args = ["run", clip, "--model", model, "-o", out, "--json", "--no-audio"]
        result = subprocess.run(command(*args), capture_output=True, text=True, timeout=30)
        told = f"{container} {seed}: rc {result.returncode}, {result.stderr}"
        assert result.returncode in (0, 65), told
        assert "Traceback" not in result.stderr, told
        assert not parts(folder), told
        frames = json.loads(result.stdout)["frames"] if result.stdout else 0
        if frames:
            assert decode(out).frames == frames, told
            out.unlink()
        else:  # where the file's own index was hit
            assert result.returncode == 65, told
        assert frames == decodable(clip), told
        kept.append(frames)
    return kept


@pytest.mark.parametrize("container", CONTAINERS)
def test_damage(container: str, ones: Path, tmp_path: Path) -> None:
    trials(container, range(3), ones, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("container", CONTAINERS)
def test_much_damage(container: str, ones: Path, tmp_path: Path) -> None:
    """200 files of each kind, of which an index or a header is hit in few."""
    kept = trials(container, range(200), ones, tmp_path)
    most = [n for n in kept if n >= 0.98 * FRAMES]
    print(f"{container}: {len(most)} of {len(kept)} kept 98 %; the least {sorted(kept)[:9]}")
    assert len(most) >= 0.9 * len(kept)
