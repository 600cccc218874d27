"""`wsshm run` as a user types it, in real processes, on real media."""

from __future__ import annotations

import json
from pathlib import Path

import av
import cv2
import numpy as np

from tests.conftest import Wsshm
from tests.media import probe


def test_clip_keeps_frames_times_and_sound(
    wsshm: Wsshm, portrait: Path, ones: Path, tmp_path: Path
) -> None:
    result = wsshm("run", portrait, "--model", ones, "-o", "out.mp4", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 60
    before, after = probe(portrait), probe(tmp_path / "out.mp4")
    assert after.frames == before.frames == 60
    assert after.times == before.times
    assert after.audio == before.audio
    assert after.size == before.size


def lumas(path: Path) -> np.ndarray:
    """(N, H, W) uint8."""
    with av.open(str(path)) as clip:
        return np.stack([frame.to_ndarray(format="gray") for frame in clip.decode(video=0)])


def test_the_matte_is_as_asked(wsshm: Wsshm, portrait: Path, tmp_path: Path) -> None:
    """Every option that shapes a matte reaches it: more or less of it is person, or soft."""
    plain = ["--smooth", 0, "--no-refine", "--no-decontaminate"]
    wanted = {
        "plain": plain,
        "default": [],
        "smooth": [*plain, "--smooth", 0.9],
        "small": [*plain, "--erode", 4],
        "large": [*plain, "--erode", -4],
        "soft": [*plain, "--feather", 8],
        "one": [*plain, "--islands", 1],
    }
    clips = {}
    for name, options in wanted.items():
        result = wsshm(
            "run",
            portrait,
            "--model",
            "fast",
            "--precision",
            "fp32",
            "--size",
            96,
            "--duration",
            0.2,
            "--save",
            "alpha",
            "-o",
            f"{name}.mkv",
            "--crf",
            0,
            *options,
        )
        assert result.returncode == 0, result.stderr
        clips[name] = lumas(tmp_path / f"{name}.mkv")
    person = {name: float((clip > 127).mean()) for name, clip in clips.items()}
    edge = {name: float(((clip > 25) & (clip < 230)).mean()) for name, clip in clips.items()}
    assert person["small"] < 0.99 * person["plain"] < person["plain"] < 0.99 * person["large"]
    assert edge["soft"] > 1.2 * edge["plain"]
    assert person["one"] <= person["plain"]
    for name in ("default", "smooth"):
        assert np.abs(clips[name].astype(int) - clips["plain"]).max() > 8, name
    np.testing.assert_array_equal(clips["smooth"][0], clips["plain"][0])


def test_images_of_a_folder_are_matted_by_themselves(
    wsshm: Wsshm, tmp_path: Path, brightness: Path
) -> None:
    """Smoothing is for frames of one clip: the second of two like images shows no past."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = np.full((96, 96, 3), 100, np.uint8)
    for name, level in (("a", 100), ("b", 104)):
        image[:] = level
        cv2.imwrite(str(folder / f"{name}.png"), image)
    result = wsshm("run", folder, "--model", brightness, "--save", "alpha", "-o", "out")
    assert result.returncode == 0, result.stderr
    means = [cv2.imread(str(tmp_path / "out" / f"{n}.png"), 0).mean() for n in "ab"]
    assert means[1] - means[0] >= 3
