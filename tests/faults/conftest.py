"""Fixtures of the fault tests."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import pytest

from engines.video.write.codecs import find_codec
from tests.faults.helpers import GOP, RATE, moving_clip


@pytest.fixture(scope="session")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1500 frames with sound: long enough for a signal to land inside."""
    return moving_clip(tmp_path_factory.mktemp("moving") / "moving.mp4", 1500)


@pytest.fixture(scope="session")
def held_back(moving: Path) -> int:
    """The most frames that the product's default encoder keeps inside, on images like these."""
    codec = find_codec("h264")
    encoder = av.CodecContext.create(codec.encoder, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = 160, 120, "yuv420p"
    encoder.framerate, encoder.gop_size = Fraction(RATE), GOP
    encoder.time_base = Fraction(1, 15360)
    encoder.options = {**codec.options, **codec.tuning, "crf": f"{codec.crf:g}"}
    most = inside = 0
    with av.open(str(moving)) as container:
        for frame in container.decode(video=0):
            frame.pict_type = 0
            inside += 1 - len(encoder.encode(frame))
            most = max(most, inside)
            if frame.time > 10:
                break
    assert 0 <= most <= RATE
    return most
