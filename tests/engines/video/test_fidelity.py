"""What must not change on the way from file to file: times, sound, colours; a row for each."""

from __future__ import annotations

import hashlib
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto as T
from onnx import helper as h

from engines.video import frame as fr
from engines.video import run as job
from engines.video.config import Encoding, RunConfig, Save
from engines.video.pipeline import Pipeline
from tests import graphs
from tests.engines.video.outputs import LOSSLESS, PLAIN, decoded, run
from tests.engines.video.test_alpha_video import with_alpha
from tests.faults.helpers import moving_clip
from tests.media import heard, noise_clip, probe

CONTAINERS = ["mp4", "mov", "mkv", "webm"]
RATE = 48_000
# Time base, and the frames' times in its ticks.
TIMES: dict[str, tuple[Fraction, list[int]]] = {
    "vfr": (Fraction(1, 30000), [0, 1001, 1501, 4004, 5005, 9009, 9010, 15015, 30030, 31031]),
    "23.976": (Fraction(1001, 24000), list(range(24))),
    "29.97": (Fraction(1001, 30000), list(range(30))),
    "1": (Fraction(1), [0, 1, 2]),
    "240": (Fraction(1, 240), list(range(60))),
}


def timed_clip(path: Path, case: str, sound: str) -> Path:
    """Grey frames at the times of `case`, as many seconds of a tone, in Matroska or MP4."""
    base, ticks = TIMES[case]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30, options={"crf": "0", "bf": "2"})
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        video.codec_context.time_base = video.time_base = base
        stream = container.add_stream(sound, rate=RATE, layout="mono")
        samples = max(RATE // 4, int(ticks[-1] * base * RATE))
        wave = 8000 * np.sin(2 * np.pi * 220 * np.arange(samples) / RATE)
        tone = av.AudioFrame.from_ndarray(wave[None].astype(np.int16), "s16", "mono")
        tone.sample_rate, tone.pts, tone.time_base = RATE, 0, Fraction(1, RATE)
        assert isinstance(stream, av.AudioStream)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", RATE, frame_size=context.frame_size)
        for part in (*resampler.resample(tone), *resampler.resample(None)):
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))
        for k, tick in enumerate(ticks):
            frame = av.VideoFrame.from_ndarray(np.full((24, 32, 3), 4 * k, np.uint8), "rgb24")
            frame.pts, frame.time_base = tick, base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
    return path


@pytest.mark.parametrize("after", CONTAINERS)
@pytest.mark.parametrize("before", ["mp4", "mkv"])
@pytest.mark.parametrize("case", TIMES)
def test_times_and_sound(tmp_path: Path, ones: Path, case: str, before: str, after: str) -> None:
    """Frames within half a tick of the coarser base; sound to the byte, and to 1 ms beside them."""
    sound = "libopus" if "webm" in (before, after) else "aac"
    clip = timed_clip(tmp_path / f"in.{before}", case, sound)
    out = tmp_path / f"out.{after}"
    assert run(clip, out, ones).warnings == []
    source, result = probe(clip), probe(out)
    assert result.frames == source.frames == len(TIMES[case][1])
    tick = max(source.time_base, result.time_base)
    moved = [b - a for a, b in zip(source.times, result.times, strict=True)]
    # Matroska has no times below 0: with the sound's priming, all moves together.
    assert max(abs(m - moved[0]) for m in moved) <= tick
    if after in ("mp4", "mov") and before == "mp4":
        assert max(map(abs, moved)) <= tick / 2
    a, b = heard(clip), heard(out)
    assert [data for _, data in a] == [data for _, data in b]
    for (t, _), (u, _) in zip(a, b, strict=True):
        assert abs((u - t) - moved[0]) <= Fraction(1, 1000)


def test_what_an_edit_list_cuts_off_stays_off(tmp_path: Path, ones: Path) -> None:
    """As where somebody cut a clip without encoding it: packets that only lead up to the start."""
    whole, cut, out = (tmp_path / f"{name}.mp4" for name in ("whole", "cut", "out"))
    moving_clip(whole, 60, 64, 48, gop=15)
    kept = {"avoid_negative_ts": "disabled", "movie_timescale": "90000"}
    with av.open(str(whole)) as source, av.open(str(cut), "w", container_options=kept) as target:
        streams = [target.add_stream_from_template(stream) for stream in source.streams]
        for packet in source.demux():
            if packet.dts is not None:
                sooner = int(Fraction(7, 10) / packet.time_base)
                packet.pts, packet.dts = packet.pts - sooner, packet.dts - sooner
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    run(cut, out, ones)
    before, after = probe(cut), probe(out)
    assert before.frames == 39, "the cut is not one"
    assert after.times == before.times
    assert heard(out) == heard(cut)


def check_round_trip(ticks: list[int], ones: Path, folder: Path) -> None:
    """Frames at these times of a 1/30000 come back at them, to half a tick."""
    base = Fraction(1, 30000)
    clip = noise_clip(folder / "in.mp4", len(ticks), 32, 24, pts=ticks, time_base=base)
    run(clip, folder / "out.mp4", ones, overwrite=True)
    source, result = probe(clip), probe(folder / "out.mp4")
    assert result.frames == source.frames == len(ticks)
    assert [t - source.times[0] for t in source.times] == [(t - ticks[0]) * base for t in ticks]
    moved = [abs(b - a) for a, b in zip(source.times, result.times, strict=True)]
    assert max(moved) <= base / 2


TICKS = st.sets(st.integers(0, 300_000), min_size=1, max_size=12).map(sorted)


@pytest.mark.parametrize("examples", [10, pytest.param(300, marks=pytest.mark.long)])
@pytest.mark.timeout(600)
def test_any_times_come_back(examples: int, ones: Path, tmp_path: Path) -> None:
    """However unevenly frames follow one another."""
    check = given(ticks=TICKS)(lambda ticks: check_round_trip(ticks, ones, tmp_path))
    settings(deadline=None, max_examples=examples, derandomize=True, database=None)(check)()


def ramp(path: Path) -> Path:
    """A model whose alpha is k / 63 in column k, whatever it sees."""
    nodes = [
        h.make_node("Cast", ["frames"], ["x"], to=T.FLOAT),
        h.make_node("ReduceMean", ["x"], ["grey"], axes=[3], keepdims=0),
        h.make_node("Mul", ["grey", "zero"], ["none"]),
        h.make_node("Add", ["none", "one"], ["ones"]),
        h.make_node("CumSum", ["ones", "columns"], ["k"], exclusive=1),
        h.make_node("Div", ["k", "last"], ["alpha"]),
    ]
    numbers = {
        "zero": np.array([0], np.float32),
        "one": np.array([1], np.float32),
        "last": np.array([63], np.float32),
    }
    return graphs.build(path, nodes, numbers | {"columns": np.array(2)})


def patterned(path: Path) -> Path:
    """16 frames of 64×64 in 4:2:0 by a formula, without loss, in slices and with B-frames."""
    options = {"qp": "0", "slices": "4", "bf": "3", "g": "10"}
    y, x = np.mgrid[:64, :64]
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        for i in range(16):
            image = av.VideoFrame(64, 64, "yuv420p")
            for k, plane in enumerate(fr.planes(image)):
                height, width = plane.shape
                plane[:] = ((3 + k) * x + 5 * y + 7 * i + x * y // 8)[:height, :width] % 256
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return path


def hashes(path: Path) -> list[str]:
    """MD5 of each frame's planes, as FFmpeg's framemd5 gives it."""
    return [
        hashlib.md5(b"".join(p.tobytes() for p in fr.planes(f)), usedforsecurity=False).hexdigest()
        for f in decoded(path)
    ]


@pytest.mark.parametrize("depth", [1, 4])
@pytest.mark.parametrize(("threads", "workers"), [(1, 1), (2, 2), (8, 2)])
def test_every_pixel_is_as_it_was(tmp_path: Path, threads: int, workers: int, depth: int) -> None:
    """The frames are those of the list below, however many threads and items in queues."""
    config = RunConfig(
        patterned(tmp_path / "in.mp4"),
        tmp_path / "out.mkv",
        "#3366cc",
        model=str(ramp(tmp_path / "ramp.onnx")),
        size=64,
        matte=PLAIN,
        encoding=Encoding("ffv1"),
        threads=threads,
        network_threads=2,
        max_workers=workers,
    )
    summary = job.run(config, pipeline=partial(Pipeline, depth=depth))
    assert summary.error is None
    assert hashes(tmp_path / "out.mkv") == FRAMES


# Of `patterned` through `ramp` over #3366cc: they change with the compositing rule only.
FRAMES = [
    "ce90c527286212f1430ec0c2fe8c3241",
    "8a450c739b27211ea6787566e4b61c68",
    "48343a8878f3b20368d334725af69ac9",
    "9dd32259fa14ec1e1447116cb3e8b4c5",
    "e2ef4fa53f887ada223127d3ab0612e5",
    "abea043e212fd3b6bcc8eb89aea0a94e",
    "acab97ca4b4dda91fb9178c62e37c039",
    "6f32c40cbd423b22d5e231ff1493024d",
    "e4259181d3aebec5b8e782a6b5fc8894",
    "7859c508d2deabba9b5e1614a15c84c6",
    "8c80e2b28bbe84a34a736aa602779609",
    "32286b3a437f21b20359eb55109645eb",
    "74ad22c4efc8e40c9dd1411a181d358c",
    "6fa69dd9443434e2041febbf5becacad",
    "380037e05abe53abfb92b8aa3777dac3",
    "64aa4cd1e287f1bd02c4e16d583405b3",
]

BARS = [
    (255, 255, 255),
    (191, 191, 0),
    (0, 191, 191),
    (0, 191, 0),
    (191, 0, 191),
    (191, 0, 0),
    (0, 0, 191),
    (0, 0, 0),
    (104, 104, 104),
    (200, 120, 90),
]
BAR = 16  # pixels
KR_KB = {fr.BT601: (0.299, 0.114), fr.BT709: (0.2126, 0.0722)}


def bars_clip(path: Path, matrix: int, color_range: int) -> Path:
    """Colour bars by the formula of the standard, in 4:2:0 without loss."""
    kr, kb = KR_KB[matrix]
    red, green, blue = (np.array(c) / 255 for c in zip(*BARS, strict=True))
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 - 2 * kb), (red - luma) / (2 - 2 * kr)
    scale, offset, chroma = (255, 0, 255) if color_range == fr.FULL else (219, 16, 224)
    levels = luma * scale + offset, cb * chroma + 128, cr * chroma + 128
    fmt = fr.FrameFormat(BAR * len(BARS), 2 * BAR, "yuv420p", matrix, color_range)
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25, options={"qp": "0"})
        video.width, video.height, video.pix_fmt = fmt.width, fmt.height, "yuv420p"
        fmt.tag(video.codec_context)
        for _ in range(3):
            image = fmt.new_image()
            for plane, level in zip(fr.planes(image), levels, strict=True):
                plane[:] = np.repeat(np.rint(np.clip(level, 0, 255)), plane.shape[1] // len(BARS))
            container.mux(video.encode(image))
        container.mux(video.encode(None))
    return path


def colours(frame: av.VideoFrame) -> np.ndarray:
    """The RGB at the middle of each bar, by the standard's formula and the frame's own tags."""
    bit_depth, values = frame.format.components[0].bits, []
    for plane in list(frame.planes)[:3]:
        rows = np.frombuffer(memoryview(plane), np.uint8 if bit_depth == 8 else "<u2")
        middle = rows.reshape(plane.height, -1)[plane.height // 2, : plane.width]
        step = plane.width // len(BARS)
        values.append(middle[step // 2 :: step] / (1 << bit_depth - 8))
    y, cb, cr = values
    is_full = int(frame.color_range) == fr.FULL
    scale, offset, chroma = (255, 0, 255) if is_full else (219, 16, 224)
    y, cb, cr = (y - offset) / scale, (cb - 128) / chroma, (cr - 128) / chroma
    kr, kb = KR_KB[fr.BT601 if int(frame.colorspace) == 5 else int(frame.colorspace)]
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    return 255 * np.stack([red, green, blue], axis=1)


@pytest.mark.parametrize("matrix", [fr.BT601, fr.BT709])
@pytest.mark.parametrize("color_range", [fr.LIMITED, fr.FULL])
@pytest.mark.parametrize(
    ("name", "encoding", "save", "levels"),
    [
        ("o.mp4", LOSSLESS, Save.composite, 2),
        ("o.mov", LOSSLESS, Save.composite, 2),
        ("o.mkv", Encoding("ffv1"), Save.composite, 2),
        ("o.y4m", Encoding(), Save.composite, 2),
        ("f.mkv", Encoding("ffv1"), Save.foreground, 2),
        ("f.mov", Encoding(), Save.foreground, 2),
        ("f.webm", Encoding(crf=0), Save.foreground, 3),
        ("o", Encoding(), Save.composite, 2),
        ("f", Encoding(), Save.foreground, 2),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_colour_bars(
    tmp_path: Path,
    ones: Path,
    name: str,
    encoding: Encoding,
    save: Save,
    levels: int,
    matrix: int,
    color_range: int,
) -> None:
    """Every colour within 2 of 255 levels, through each lossless output, by its own tags.

    VP9 with alpha has no lossless mode here: 3.
    """
    clip = bars_clip(tmp_path / "in.mp4", matrix, color_range)
    out = tmp_path / name
    run(clip, out, ones, save=(save,), encoding=encoding)
    if out.is_dir():
        bgr = cv2.imread(str(out / "000002.png"), cv2.IMREAD_UNCHANGED)
        seen = bgr[BAR, BAR // 2 :: BAR, 2::-1].astype(float)
    else:
        frame = (with_alpha if save is Save.foreground else decoded)(out)[1]
        if name == "o.y4m":  # which says nothing of its matrix
            frame.colorspace = matrix
        seen = colours(frame)
    error = np.abs(seen - BARS)
    assert error.max() <= levels, (error.max(1), seen.round(1))
