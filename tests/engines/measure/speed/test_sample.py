"""The clip that is made to measure with."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np

from engines.measure.speed import sample
from tests.media import probe


def test_sample_is_a_moving_image(tmp_path: Path) -> None:
    paths = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    assert [sample.write(p, 0.5, 160, 96) for p in paths] == [15, 15]
    a, b = (probe(p) for p in paths)
    assert (a.frames, a.size) == (15, (160, 96))
    assert len(set(a.hashes)) == 15
    assert a.hashes == b.hashes
    with av.open(str(paths[0])) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        first, *_, last = (f.to_ndarray(format="rgb24") for f in container.decode(video=0))
    assert first.std() > 40  # an image
    assert np.abs(first.astype(int) - last).mean() > 2
    assert sample.write(tmp_path / "c.mp4", 0.01, 64, 64) == 1
