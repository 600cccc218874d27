"""Every video encoder into every container, and every input into each: right, or refused in a line.

A sample by default; all with ``-m long``.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import pytest

from engines.errors import Unavailable, UsageError
from engines.video.config import Encoding, Save
from engines.video.pipeline import Stop
from engines.video.write.codecs import CODECS, CONTAINERS
from engines.video.write.open import Target, open_sink
from tests.engines.video.write.helpers import PlainSource

FRAMES = 12
TICKS = Fraction(1, 30), Fraction(1, 90_000)
# Encoders that take few sizes get one of theirs.
SIZES = {"dnxhd": (1280, 720), "dvvideo": (720, 576), "h261": (352, 288), "cfhd": (320, 240)}
OURS = [codec.name for codec in CODECS]
OTHERS = [
    *("mpeg4", "mpeg2video", "mpeg1video", "msmpeg4", "msmpeg4v2", "wmv1", "wmv2", "flv"),
    *("h261", "h263", "h263p", "libx264rgb", "libvpx", "dnxhd", "cfhd", "dvvideo"),
    *("huffyuv", "ffvhuff", "utvideo", "magicyuv", "snow", "svq1", "cinepak", "ljpeg", "jpegls"),
    *("jpeg2000", "vc2", "png", "gif", "qtrle", "v210", "prores_aw", "asv1", "speedhq", "libwebp"),
    *("rawvideo", "wrapped_avframe", "rv20", "roqvideo", "zmbv", "dpx", "targa", "vnull", "bmp"),
]


@dataclass(frozen=True)
class Output:
    """An output to try; `preset` ultrafast encodes without B-frames."""

    codec: str
    suffix: str
    pixels: str
    alpha: bool
    preset: str | None
    tick: Fraction

    def __str__(self) -> str:
        words = [self.codec, self.suffix, self.pixels, "alpha" * self.alpha]
        return " ".join(filter(None, [*words, self.preset, str(self.tick)]))


def outputs() -> list[Output]:
    """Every combination that differs."""
    return [
        Output(codec, suffix, pixels, alpha, preset, tick)
        for codec in dict.fromkeys([*OURS, *OTHERS])
        for suffix in CONTAINERS
        for pixels in ("yuv420p", "yuv420p10le", "gbrp")
        for alpha in (False, True)
        for preset in ((None, "ultrafast") if codec in ("h264", "hevc") else (None,))
        for tick in TICKS
    ]


def written(output: Output, folder: Path) -> str:
    """Write frames and judge the file; return the line that refuses it, or nothing."""
    size = SIZES.get(output.codec, (64, 48))
    source = PlainSource(output.tick, pixels=output.pixels, size=size)
    path = folder / f"out{output.suffix}"
    target = Target(path, output.suffix, Save.composite, output.alpha)
    encoding = Encoding(output.codec, preset=output.preset)
    step = round(Fraction(1, 30) / output.tick)
    refusal = ""
    try:
        sink = open_sink(target, source, encoding, False, Stop(), lambda _: None)
    except (UsageError, Unavailable) as e:
        refusal = str(e)
    if refusal:
        assert list(folder.iterdir()) == []
        assert "\n" not in refusal
        return refusal
    for i in range(FRAMES):
        sink.write(source.plain(i * step, step, alpha=output.alpha))
    sink.close(whole=True)
    assert sink.frames == FRAMES
    assert list(folder.iterdir()) == [path]
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.codec_context.options = {"err_detect": "explode"}
        frames = list(container.decode(video))
    path.unlink()
    assert len(frames) == FRAMES
    for i, frame in enumerate(frames):
        assert abs(frame.pts * frame.time_base - Fraction(i, 30)) <= Fraction(1, 1000)
        assert (frame.width, frame.height) == (source.format.width, source.format.height)
        if not source.format.is_rgb:
            assert frame.color_range in (source.format.range, 0)  # 0 is limited too
        grey = frame.to_ndarray(format="gray").mean()
        assert abs(grey - source.grey(i * step)) <= 8, (i, grey, source.grey(i * step))
    return ""


def sample(every: list[Output], count: int) -> list[Output]:
    """A selection that is the same each time, and has each codec of the table."""
    rng = random.Random(0)
    first = [next(o for o in every if o.codec == name and o.suffix == ".mkv") for name in OURS]
    return [*first, *rng.sample(every, count)]


@pytest.mark.parametrize("output", sample(outputs(), 30), ids=str)
def test_encoders_into_containers(output: Output, tmp_path: Path) -> None:
    """Every frame at its time and in its grey, or one line before anything is on the disk."""
    written(output, tmp_path)


@pytest.mark.parametrize(
    ("codec", "suffix", "says"),
    [
        ("vc2", ".mkv", r"--codec vc2: does not start for 64x48"),
        ("rawvideo", ".mov", r"out\.mov: \.mov cannot hold rawvideo video"),
        ("h263", ".mov", r"--codec h263: does not start for 64x48"),
        ("libx264", ".webm", r"out\.webm: \.webm cannot hold h264 video"),
    ],
)
def test_what_would_fail_later_is_refused_first(
    tmp_path: Path, codec: str, suffix: str, says: str
) -> None:
    """The first frame that the encoder refuses, or the file that nothing reads."""
    output = Output(codec, suffix, "yuv420p", False, None, Fraction(1, 90_000))
    assert re.search(says, written(output, tmp_path))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_all_encoders_into_all_containers(tmp_path: Path) -> None:
    refused: Counter[str] = Counter()
    for output in outputs():
        refused[written(output, tmp_path).replace(str(tmp_path), "")] += 1
    print(f"{refused.pop('')} written, {refused.total()} refused:")
    for line, times in sorted(refused.items()):
        print(f"{times:4}  {line}")
