"""Input that ends early, cut anywhere: what can be decoded is kept, and what is missing is said."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.conftest import one_error_line
from tests.faults.helpers import command, decodable, decode, moving_clip, parts

FRAMES = 120
CUTS = [0, 5, 25, 50, 75, 90, 99, 99.9]  # percent that is left
KINDS = {
    "index last": ("mp4", {}),
    "index first": ("mp4", {"movflags": "faststart"}),
    "mkv": ("mkv", {}),
    "ts": ("ts", {}),
}


def trial(kind: str, percent: float, model: Path, folder: Path) -> None:
    """One cut: exit code, words, and every frame that PyAV can decode."""
    container, muxing = KINDS[kind]
    whole = moving_clip(folder / f"whole.{container}", FRAMES, muxing=muxing).read_bytes()
    clip, out = folder / f"in.{container}", folder / f"out.{container}"
    out = out.with_suffix(".mkv" if container == "ts" else out.suffix)
    clip.write_bytes(whole[: int(len(whole) * percent / 100)])
    there = decodable(clip).frames
    result = subprocess.run(
        command("run", clip, "--model", model, "-o", out, "--json"),
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert not parts(folder)
    if not there:
        assert kind == "index last" or percent <= 5
        assert result.returncode == 65, result.stderr
        one_error_line(result, clip, "may be incomplete")
        assert not out.exists()
        return
    assert kind != "index last"
    summary = json.loads(result.stdout)
    # The last packet of sound is cut too, and nothing in a .ts says so: it is copied as it is.
    held = decodable(out) if kind == "ts" else decode(out)
    assert held.frames == summary["frames"] == there
    early = [x for x in summary["warnings"] if "ends early" in x]
    missing = FRAMES - there
    if kind == "index first" and missing:
        assert result.returncode == 65, result.stderr
        line = one_error_line(result, clip, "ends early", "what could be read was kept")
        assert f"({there} of {FRAMES} frames written)" in line
        return
    assert result.returncode == 0, result.stderr
    if kind == "mkv" and missing > 2:
        assert len(early) == 1
    if kind == "ts" or not missing:  # a .ts never says how long it is
        assert not early


@pytest.mark.parametrize("kind", KINDS)
def test_cut_in_the_middle(kind: str, ones: Path, tmp_path: Path) -> None:
    trial(kind, 50, ones, tmp_path)


@pytest.mark.long
@pytest.mark.parametrize("percent", CUTS)
@pytest.mark.parametrize("kind", KINDS)
def test_cut_anywhere(kind: str, percent: float, ones: Path, tmp_path: Path) -> None:
    trial(kind, percent, ones, tmp_path)
