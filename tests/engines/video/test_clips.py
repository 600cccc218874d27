"""Every clip of the collection: each runs, or ends with the one line that says why not."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import SHARED, Wsshm, one_error_line
from tests.faults.helpers import decode, parts

VIDEOS = SHARED / "video"
# Exit code, and a word of the line. What is not named runs to its end.
BAD = {
    "audio_only.m4a": (65, "no video in it"),
    "empty_file.mp4": (65, "not a readable video"),
    "random_bytes.mp4": (65, "not a readable video"),
}
CLIPS = sorted(p for p in VIDEOS.glob("*/*") if p.is_file() and p.suffix != ".md")


@pytest.mark.data
@pytest.mark.long
@pytest.mark.timeout(300)
@pytest.mark.parametrize("clip", CLIPS, ids=[f"{p.parent.name}/{p.name}" for p in CLIPS])
def test_a_clip(clip: Path, wsshm: Wsshm, ones: Path, tmp_path: Path) -> None:
    """Two seconds of it, in a real process, with a tiny model."""
    args = ["--model", ones, "--duration", 2, "-o", "out.mkv", "--json"]
    result = wsshm("run", clip, *args, timeout=280)
    assert "Traceback" not in result.stderr, result.stderr
    assert not parts(tmp_path)
    if clip.name in BAD:
        code, says = BAD[clip.name]
        assert result.returncode == code, result.stderr
        one_error_line(result, clip.name, says)
        assert not list(tmp_path.iterdir())
        return
    assert result.returncode == 0, result.stderr
    assert decode(tmp_path / "out.mkv").frames == json.loads(result.stdout)["frames"] > 0
