"""`wsshm run` as a user types it, in real processes, on real media."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Wsshm
from tests.media import probe


def test_clip_keeps_frames_times_and_sound(
    wsshm: Wsshm, portrait: Path, ones: Path, tmp_path: Path
):
    result = wsshm("run", portrait, "--model", ones, "-o", "out.mp4", "--json")
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["frames"] == 60
    before, after = probe(portrait), probe(tmp_path / "out.mp4")
    assert after.frames == before.frames == 60
    assert after.times == before.times
    assert after.audio == before.audio
    assert after.size == before.size
