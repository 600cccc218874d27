"""Input that is odd rather than bad: it works, and what was done about it is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from tests.conftest import Wsshm, one_error_line
from tests.faults.helpers import decodable, decode, moving_clip
from tests.media import noise_clip, probe


def test_files_joined_end_to_end_go_on(wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    """Two .ts files in one: times jump back, and what follows is shown after what was."""
    one = moving_clip(tmp_path / "one.ts", 60).read_bytes()
    (tmp_path / "two.ts").write_bytes(one + one)
    result = wsshm("run", "two.ts", "--model", ones, "-o", "out.mp4")
    assert result.returncode == 0, result.stderr
    assert "times jump back" in result.stderr
    times = probe(tmp_path / "out.mp4").times
    assert len(times) == 120
    steps = np.diff([float(t) for t in times])
    assert steps.min() > 0.9 / 30
    assert steps.max() < 1.5 / 30


def test_a_stream_that_begins_on_the_way(wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    """As in a broadcast: beyond what FFmpeg looks at to open a file, 5 MB of it and its end."""
    options = {"qp": "0", "preset": "ultrafast"}
    silent = noise_clip(tmp_path / "silent.ts", 45, 640, 360, options=options).read_bytes()
    sounding = moving_clip(tmp_path / "sounding.ts", 30, 640, 360).read_bytes()
    assert len(silent) > 5_000_000
    (tmp_path / "in.ts").write_bytes(silent + sounding + silent[: 188 * 5000])
    there = decodable(tmp_path / "in.ts").frames
    assert there > 75
    result = wsshm("run", "in.ts", "--model", ones, "-o", "out.mkv")
    assert result.returncode == 0, result.stderr
    assert "left out a stream that begins on the way" in result.stderr
    assert decode(tmp_path / "out.mkv").frames == there


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_sound_of_a_transport_stream(suffix: str, wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    """AAC with ADTS headers, as in .ts, plays in the output as it did."""
    moving_clip(tmp_path / "in.ts", 60)
    result = wsshm("run", "in.ts", "--model", ones, "-o", f"out{suffix}")
    assert result.returncode == 0, result.stderr
    sounds = []
    for path in (tmp_path / "in.ts", tmp_path / f"out{suffix}"):
        with av.open(str(path)) as container:
            frames = [f.to_ndarray() for f in container.decode(audio=0)]
            sounds.append(np.concatenate(frames, axis=1))
    length = min(s.shape[1] for s in sounds)
    assert length >= 2 * 48000 - 2048
    assert np.array_equal(sounds[0][:, :length], sounds[1][:, :length])


def test_tags_in_another_encoding_do_no_harm(wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    clip = tmp_path / "in.mkv"
    with av.open(str(clip), "w") as container:
        container.metadata["title"] = "MARKER"
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        for _ in range(3):
            container.mux(video.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(video.encode(None))
    clip.write_bytes(clip.read_bytes().replace(b"MARKER", "Märkér".encode("latin-1")))
    result = wsshm("run", "in.mkv", "--model", ones)
    assert result.returncode == 0, result.stderr


def test_this_folder(wsshm: Wsshm, tmp_path: Path, ones: Path) -> None:
    """``wsshm run .`` writes beside the folder it is called in."""
    folder = tmp_path / "holiday"
    folder.mkdir()
    cv2.imwrite(str(folder / "1.png"), np.full((8, 8, 3), 90, np.uint8))
    command = [sys.executable, "-m", "wsshm_cli", "run", ".", "--model", str(ones)]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=50)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "holiday_wsshm/1.png").exists()


def test_a_closed_pipe_is_no_fault() -> None:
    for command in ("list", "show"):
        line = f"{sys.executable} -m wsshm_cli models {command} | true"
        result = subprocess.run(["bash", "-c", line], capture_output=True, text=True, timeout=50)
        assert result.stderr == ""


@pytest.mark.parametrize("time", ["1" + "0" * 17, "9" * 400])
def test_an_absurd_start_is_refused(time: str, wsshm: Wsshm, portrait: Path) -> None:
    result = wsshm("run", portrait, "--start", time)
    assert result.returncode == 2
    one_error_line(result, "--start", "no video is that long")


def test_a_second_output_of_an_image_lies_beside_the_first(
    wsshm: Wsshm, tmp_path: Path, ones: Path
) -> None:
    (tmp_path / "out").mkdir()
    cv2.imwrite(str(tmp_path / "photo.jpg"), np.full((8, 8, 3), 90, np.uint8))
    saves = ["--save", "composite", "--save", "alpha"]
    result = wsshm("run", "photo.jpg", "--model", ones, "-o", "out", *saves)
    assert result.returncode == 0, result.stderr
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"photo.png", "photo_alpha.png"}
