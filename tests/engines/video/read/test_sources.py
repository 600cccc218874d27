"""What goes in: every kind of source keeps one contract, and time survives the whole run."""

from __future__ import annotations

import random
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engines.errors import BadData, CannotOpen, UsageError
from engines.files import natural_key
from engines.video import frame as fr
from engines.video import run as job
from engines.video.config import Clip, Encoding, RunConfig
from engines.video.frame import Frame
from engines.video.read.open import open_source
from engines.video.read.source import FrameSource
from engines.video.summary import Summary
from tests.conftest import SHARED
from tests.media import noise_clip, probe

LOSSLESS = Encoding(crf=0)


def frames_of(source: FrameSource) -> list[Frame]:
    """The images of a source, without the packets between them."""
    return [item for item in source.items() if isinstance(item, Frame)]


def image(path: Path, width: int = 32, height: int = 24, grey: int = 100) -> Path:
    """A flat image, in the format of the ending."""
    cv2.imwrite(str(path), np.full((height, width, 3), grey, np.uint8))
    return path


def shared(name: str) -> Path:
    """A real clip, or a skip where the collection is not at hand."""
    path = SHARED / "video" / name
    if not path.exists():
        pytest.skip(f"needs {path}")
    return path


def run(clip: Path, out: Path, model: Path, *, part: Clip | None = None) -> Summary:
    """A run without loss, on which nothing went wrong."""
    summary = job.run(
        RunConfig(
            clip, out, "#000000", model=str(model), size=64, clip=part or Clip(), encoding=LOSSLESS
        )
    )
    assert summary.error is None
    assert summary.exit_code == 0
    return summary


# One contract


def _file(folder: Path) -> Path:
    return noise_clip(folder / "in.mp4", 12, 32, 24)


def _still(folder: Path) -> Path:
    return image(folder / "in.png")


def _folder(folder: Path) -> Path:
    (folder / "in").mkdir()
    for i in range(12):
        image(folder / "in" / f"{i}.png", grey=i)
    return folder / "in"


@pytest.mark.parametrize(("make", "count"), [(_file, 12), (_still, 1), (_folder, 12)])
def test_every_source_keeps_the_contract(
    tmp_path: Path, make: Callable[[Path], Path], count: int
) -> None:
    """Size, number and rising times are as announced; closing is safe at any time, and twice."""
    path = make(tmp_path)
    warnings: list[str] = []
    with open_source(path, warn=warnings.append) as source:
        assert (source.format.width, source.format.height) == (32, 24)
        assert source.total == count
        assert source.path == path
        found = frames_of(source)
        assert len(found) == count
        times = [f.pts for f in found]
        assert times == sorted(set(times))
        for f in found:
            assert (f.image.width, f.image.height) == (32, 24)
            assert f.image.format.name == f.format.pix_fmt == source.format.pix_fmt
            assert f.time_base == source.time_base
        assert source.fault is None
        assert warnings == []
    source.close()
    source.close()


@pytest.mark.parametrize("make", [_file, _still, _folder])
def test_every_source_may_be_left_early(tmp_path: Path, make: Callable[[Path], Path]) -> None:
    """Closing the iterator after one frame, then the source, raises nothing and says nothing."""
    source = open_source(make(tmp_path))
    items = source.items()
    assert isinstance(next(items), Frame)
    items.close()  # type: ignore[attr-defined]
    source.close()
    assert source.fault is None


def test_nothing_that_can_be_opened_is_refused_by_name(tmp_path: Path) -> None:
    """Missing, empty, junk and special files end in the errors the table promises."""
    with pytest.raises(CannotOpen, match="no such file"):
        open_source(tmp_path / "missing.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadData, match="no images"):
        open_source(tmp_path / "empty")
    for name in ("junk.mp4", "junk.png"):
        (tmp_path / name).write_bytes(b"junk" * 100)
        with pytest.raises(BadData, match=name):
            open_source(tmp_path / name)
    with pytest.raises(UsageError, match=r"cut videos, not images$"):
        open_source(image(tmp_path / "a.png"), Clip(1.0))


# Images


def test_folder_is_in_natural_order(tmp_path: Path) -> None:
    """2 comes before 10, whatever the letters; hidden and other files are not images."""
    names = ["10.png", "2.PNG", "1.jpg", "A3.png", "a12.png", "a4.webp", "b.bmp"]
    for i, name in enumerate(names):
        image(tmp_path / name, grey=10 * i)
    (tmp_path / ".DS_Store").write_bytes(b"x")
    image(tmp_path / "._2.png")
    (tmp_path / "notes.txt").write_text("not an image")
    (tmp_path / "folder.png").mkdir()
    with open_source(tmp_path) as source:
        assert source.total == 7
        names_seen = [f.name for f in frames_of(source)]
    assert names_seen == ["1", "2", "10", "A3", "a4", "a12", "b"]


def test_natural_order_is_total_and_takes_any_name() -> None:
    """The order does not depend on the folder's; digits of other scripts raise nothing."""
    tied = [Path("2.png"), Path("02.png"), Path("002.png")]
    assert sorted(tied, key=natural_key) == sorted(reversed(tied), key=natural_key)
    names = ["²5.png", "5².png", "٣.png", "½.png", "1e5.png", "１.png", "é.png", "-1.png"]
    assert len(sorted(map(Path, names), key=natural_key)) == len(names)


def test_images_keep_their_own_sizes(tmp_path: Path) -> None:
    """A folder may hold images of several sizes; each frame says its own."""
    image(tmp_path / "1.png", 32, 24)
    image(tmp_path / "2.png", 25, 37)
    with open_source(tmp_path) as source:
        sizes = [(f.format.width, f.format.height) for f in frames_of(source)]
    assert sizes == [(32, 24), (25, 37)]


def test_unreadable_images_of_a_folder_are_named(tmp_path: Path) -> None:
    """What cannot be read is skipped, named in a warning, and a fault at the end."""
    image(tmp_path / "1.png")
    (tmp_path / "2.png").write_bytes(b"junk")
    image(tmp_path / "3.png")
    warnings: list[str] = []
    with open_source(tmp_path, warn=warnings.append) as source:
        assert [f.name for f in frames_of(source)] == ["1", "3"]
        assert source.fault is not None
        assert "2.png" in source.fault
        assert "1 of 3" in source.fault
        assert any("2.png" in w for w in warnings)


def test_images_are_turned_upright(tmp_path: Path) -> None:
    """EXIF orientation 6, as phones write it: the stored image is turned clockwise."""
    stored = np.zeros((24, 32, 3), np.uint8)
    stored[:12, :16] = 255  # white top left, and so white top right when upright
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(stored).save(tmp_path / "in.png", exif=exif)
    Image.fromarray(stored).save(tmp_path / "in.jpg", exif=exif, quality=100)
    for name in ("in.jpg", "in.png"):
        with open_source(tmp_path / name) as source:
            (frame,) = frames_of(source)
            assert (source.format.width, source.format.height) == (24, 32)
            green = fr.planes(frame.image)[0]
            assert green[4, 20] > 250
            assert max(green[4, 4], green[28, 4], green[28, 20]) < 5


# Time

GAPS = random.Random(7)
VFR = [0]
for _ in range(29):
    VFR.append(VFR[-1] + GAPS.randint(500, 9000))
TIMES: dict[str, tuple[Fraction, list[int], dict[str, str]]] = {
    "vfr": (Fraction(1, 30000), VFR, {}),
    "vfr with B-frames": (Fraction(1, 30000), VFR, {"bf": "3", "x264-params": "b-adapt=0"}),
    "23.976": (Fraction(1001, 24000), list(range(30)), {}),
    "29.97": (Fraction(1001, 30000), list(range(30)), {}),
    "1 fps": (Fraction(1), list(range(30)), {}),
    "240 fps": (Fraction(1, 240), list(range(30)), {}),
    "late start": (Fraction(1, 1000), [1075 + 40 * i for i in range(30)], {}),
    "B-frames": (Fraction(1, 25), list(range(30)), {"bf": "3", "x264-params": "b-adapt=0"}),
}


@pytest.mark.parametrize("after", ["mp4", "mkv"])
@pytest.mark.parametrize("before", ["mp4", "mkv"])
@pytest.mark.parametrize("case", TIMES)
def test_times_survive_a_run(
    tmp_path: Path, ones: Path, case: str, before: str, after: str
) -> None:
    """Every frame is shown within half a tick, of the coarser time base, of when it was."""
    time_base, pts, options = TIMES[case]
    clip = noise_clip(
        tmp_path / f"in.{before}", len(pts), 32, 24, pts=pts, time_base=time_base, options=options
    )
    summary = run(clip, tmp_path / f"out.{after}", ones)
    source, result = probe(clip), probe(tmp_path / f"out.{after}")
    assert summary.frames == result.frames == source.frames == len(pts)
    tick = max(source.time_base, result.time_base)
    error = max(abs(a - b) for a, b in zip(source.times, result.times, strict=True))
    assert error <= tick / 2, (case, float(error), float(tick))
    assert result.hashes == source.hashes


@pytest.mark.parametrize("after", ["mp4", "mkv"])
def test_real_variable_rate_with_sound(tmp_path: Path, ones: Path, after: str) -> None:
    """A real clip with unevenly dropped frames and sound keeps both."""
    clip = shared("derived/person_vfr_audio.mp4")
    run(clip, tmp_path / f"out.{after}", ones)
    source, result = probe(clip), probe(tmp_path / f"out.{after}")
    tick = max(source.time_base, result.time_base)
    assert result.frames == source.frames
    assert result.audio == source.audio
    # Matroska has no times below 0: with the sound's priming, all moves together.
    moved = [b - a for a, b in zip(source.times, result.times, strict=True)]
    assert max(moved) - min(moved) <= tick
    assert max(moved) <= (0 if after == "mp4" else Fraction(1024, 44100) + tick)
    before, now = audio_times(clip), audio_times(tmp_path / f"out.{after}")
    offsets = [b - a for (a, _), (b, _) in zip(before, now, strict=True)]
    assert max(abs(o - moved[0]) for o in offsets) <= Fraction(1, 1000)


def test_transport_stream_keeps_gaps_and_frames(tmp_path: Path, ones: Path) -> None:
    """A .ts begins at some time of its own; the distances between frames are kept."""
    clip = noise_clip(tmp_path / "in.ts", 30, 32, 24)
    run(clip, tmp_path / "out.mp4", ones)
    source, result = probe(clip), probe(tmp_path / "out.mp4")
    assert result.hashes == source.hashes
    moved = [a - b for a, b in zip(source.times, result.times, strict=True)]
    assert max(moved) - min(moved) <= max(source.time_base, result.time_base)


def test_frames_do_not_depend_on_decode_threads(tmp_path: Path) -> None:
    """1, 2 and 8 threads give the same frames at the same times."""
    clip = noise_clip(
        tmp_path / "in.mp4", 40, 128, 96, options={"slices": "4", "bf": "3", "g": "10"}
    )
    seen = []
    for threads in (1, 2, 8):
        with open_source(clip, threads=threads) as source:
            seen.append([(f.pts, f.image.to_ndarray().tobytes()) for f in frames_of(source)])
    assert len(seen[0]) == 40
    assert seen[0] == seen[1] == seen[2]


# A part of a video


def audio_times(path: Path) -> list[tuple[Fraction, bytes]]:
    """When each audio packet is heard, and its bytes."""
    with av.open(str(path)) as container:
        return [
            (p.pts * p.time_base, bytes(p))
            for p in container.demux(container.streams.audio[0])
            if p.size
        ]


PARTS = [
    ("0.5", "0.7"),
    ("0.51", "0.3"),
    ("0", "0.1"),
    ("0", "0.2"),
    ("0.1", "0.2"),
    ("1", None),
    ("1.9", "5"),
    ("0.3333333333", "0.5"),
]


@pytest.mark.parametrize(("start", "duration"), PARTS)
def test_part_is_exact_to_the_frame(
    tmp_path: Path, portrait: Path, ones: Path, start: str, duration: str | None
) -> None:
    """Frames and sound of [start, start + duration) and no others, start now at 0."""
    begin, length = Fraction(start), Fraction(duration or 1000)
    part = Clip(float(start), duration and float(duration))
    run(portrait, tmp_path / "out.mp4", ones, part=part)
    source, result = probe(portrait), probe(tmp_path / "out.mp4")
    half = source.time_base / 2  # what is typed in decimals may miss a frame's time by this much
    inside = [i for i, t in enumerate(source.times) if -half <= t - begin < length - half]
    assert result.frames == len(inside)
    assert result.hashes == [source.hashes[i] for i in inside]
    for i, t in zip(inside, result.times, strict=True):
        assert abs(source.times[i] - begin - t) <= source.time_base
    first = begin - half if begin else -1  # the codec's priming lies before the first moment
    wanted = [
        (t - begin, data)
        for t, data in audio_times(portrait)
        if t >= first and t < begin + length - half
    ]
    heard = audio_times(tmp_path / "out.mp4")
    assert [data for _, data in heard] == [data for _, data in wanted]
    for (t, _), (u, _) in zip(heard, wanted, strict=True):
        assert abs(t - u) <= Fraction(1, 1000)


@pytest.mark.parametrize("container", ["mp4", "mkv", "mov", "ts", "avi"])
def test_part_is_exact_in_every_container(tmp_path: Path, ones: Path, container: str) -> None:
    """A start between key frames is decoded up to, and then exact."""
    options = {"g": "12", "bf": "0" if container == "avi" else "3"}
    clip = noise_clip(tmp_path / f"in.{container}", 60, 32, 24, options=options)
    source = probe(clip)
    with av.open(str(clip)) as opened:
        begin = Fraction(opened.start_time or 0, av.time_base)
    for first, last in ((15, 21), (24, 25), (35, 60), (1, 60)):
        start = float(source.times[first] - begin)
        duration = (last - first) / 30 if last < 60 else None
        out = tmp_path / f"{first}.mp4"
        run(clip, out, ones, part=Clip(start, duration))
        result = probe(out)
        assert result.hashes == source.hashes[first:last], f"frames {first} to {last}"
        assert result.times[0] <= source.time_base


def test_part_beyond_the_end_is_said(tmp_path: Path) -> None:
    """A start after the last frame is bad data, with both numbers to compare."""
    clip = noise_clip(tmp_path / "in.mp4", 10, 32, 24)
    with pytest.raises(BadData, match="ends before --start 7 s"):
        open_source(clip, Clip(7.0))


# What pixels mean


MATRICES = {  # ISO/IEC 14496-12: x' = ax + cy, y' = bx + dy, y downwards
    "90 clockwise": ((0, 1, -1, 0), -1),
    "180": ((-1, 0, 0, -1), 2),
    "90 counterclockwise": ((0, -1, 1, 0), 1),
}


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p"])
@pytest.mark.parametrize("turn", MATRICES)
def test_turned_video_is_upright(tmp_path: Path, ones: Path, turn: str, pix_fmt: str) -> None:
    """As phones store it: the display matrix is applied, and not written again."""
    (a, b, c, d), turns = MATRICES[turn]
    clip = tmp_path / "in.mp4"
    base = np.random.default_rng(3).integers(0, 256, (48, 64, 3), np.uint8)
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"crf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        stream.set_display_matrix([v * 65536 for v in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30])
        for _ in range(3):
            frame = av.VideoFrame.from_ndarray(base, "rgb24").reformat(format=pix_fmt)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(clip)) as container:
        stored = next(container.decode(video=0))
        assert stored.rotation != 0
    upright = [np.rot90(p, turns) for p in fr.planes(stored)]
    width, height = (64, 48) if turn == "180" else (48, 64)
    with open_source(clip) as source:
        assert (source.format.width, source.format.height) == (width, height)
        found = frames_of(source)
        assert len(found) == 3
        planes = fr.planes(found[1].image)
    same = source.format.pix_fmt == pix_fmt
    assert same or (pix_fmt == "yuv422p" and source.format.pix_fmt == "yuv420p")
    for seen, expected in zip(planes if same else planes[:1], upright, strict=same):
        np.testing.assert_array_equal(seen, expected)
    run(clip, tmp_path / "out.mp4", ones)
    with av.open(str(tmp_path / "out.mp4")) as container:
        result = next(container.decode(video=0))
        assert result.rotation == 0
        assert (result.width, result.height) == (width, height)
        np.testing.assert_array_equal(fr.planes(result)[0], upright[0])


@pytest.mark.parametrize(
    ("name", "size"),
    [("tricky/with-gps.mov", (320, 568)), ("derived/person_rotate90_audio.mp4", (720, 1280))],
)
def test_real_turned_video_is_upright(
    tmp_path: Path, ones: Path, name: str, size: tuple[int, int]
) -> None:
    """A real phone's file: turned, with sound and with streams that are no video."""
    clip = shared(name)
    run(clip, tmp_path / "out.mp4", ones, part=Clip(0, 0.2))
    result = probe(tmp_path / "out.mp4")
    assert result.size == size
    assert result.frames == 6


@pytest.mark.parametrize(
    ("pix_fmt", "becomes", "shift"),
    [
        ("yuv420p10le", "yuv420p", 2),
        ("yuv422p10le", "yuv422p", 2),
        ("yuv444p10le", "yuv444p", 2),
        ("yuv420p12le", "yuv420p", 4),
    ],
)
def test_deeper_video_is_made_8_bit_and_said(
    tmp_path: Path, pix_fmt: str, becomes: str, shift: int
) -> None:
    """10 and 12 bits become 8, nothing else changes, and a warning names both formats."""
    clip = noise_clip(tmp_path / "in.mkv", 3, pix_fmt=pix_fmt, codec="ffv1")
    with av.open(str(clip)) as container:
        deep = next(container.decode(video=0))
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        assert source.format.pix_fmt == becomes
        assert source.format.range == fr.LIMITED
        found = frames_of(source)
        warned = [w for w in warnings if pix_fmt in w and f"8-bit {becomes}" in w]
        assert len(warned) == 1
        assert "--bits 10 keeps 10" in warned[0]
    for plane, wide in zip(fr.planes(found[0].image), deep.planes, strict=True):
        codes = np.frombuffer(wide, np.uint16).reshape(wide.height, -1)[:, : wide.width]
        assert np.abs(plane - codes / (1 << shift)).max() <= 1


@pytest.mark.parametrize(
    ("pix_fmt", "codec", "name"),
    [
        ("bgr0", "ffv1", "in.mkv"),
        ("rgb24", "png", "in.mov"),
        ("rgba", "png", "in.mov"),
        ("bgr24", "libx264rgb", "in.mp4"),
    ],
)
def test_rgb_video_keeps_its_colours_and_says_so(
    tmp_path: Path, pix_fmt: str, codec: str, name: str
) -> None:
    """RGB is converted once, by the matrix the format names; flat patches come back within 3."""
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[:24, :32], rgb[:24, 32:], rgb[24:, :32] = (200, 30, 40), (20, 180, 60), (10, 20, 230)
    rgb[24:, 32:] = 255
    with av.open(str(tmp_path / name), "w") as container:
        options = {"qp": "0"} if codec == "libx264rgb" else {}
        stream = container.add_stream(codec, rate=30, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 48, pix_fmt
        frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pix_fmt)
        container.mux([*stream.encode(frame), *stream.encode(None)])
    warnings: list[str] = []
    with open_source(tmp_path / name, warn=warnings.append) as source:
        (found,) = frames_of(source)
        fmt = source.format
        assert any("processed as 8-bit" in w for w in warnings)
    assert fmt.pix_fmt in fr.PLANAR
    seen = fr.RgbScaler(fmt)(found.image, 64, 48).astype(int)
    for y, x in ((12, 16), (12, 48), (36, 16), (36, 48)):
        assert np.abs(seen[y, x] - rgb[y, x]).max() <= 3


@pytest.mark.parametrize("pix_fmt", ["gray", "nv12", "yuv411p", "yuv440p", "yuyv422", "yuva420p"])
def test_other_formats_are_converted(tmp_path: Path, pix_fmt: str) -> None:
    """Grey, packed and odd subsamplings come out planar, luma untouched, with a warning."""
    clip = noise_clip(tmp_path / "in.nut", 3, pix_fmt=pix_fmt, codec="rawvideo")
    with av.open(str(clip)) as container:
        before = next(container.decode(video=0)).reformat(format="yuv444p")
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        assert len(found) == 3
        assert source.format.pix_fmt in fr.PLANAR
        assert any(pix_fmt in w for w in warnings)
    luma = fr.planes(found[0].image)[0].astype(int)
    assert np.abs(luma - fr.planes(before)[0]).max() <= 1


def test_full_range_is_kept(tmp_path: Path) -> None:
    """yuvj420p is 4:2:0 at full range: not converted, no warning."""
    clip = noise_clip(tmp_path / "in.avi", 3, pix_fmt="yuvj420p", codec="mjpeg")
    with av.open(str(clip)) as container:
        before = [p.copy() for p in fr.planes(next(container.decode(video=0)))]
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        assert (source.format.pix_fmt, source.format.range) == ("yuv420p", fr.FULL)
        assert warnings == []
        for a, b in zip(before, fr.planes(frames_of(source)[0].image), strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize(("height", "matrix"), [(480, fr.BT601), (720, fr.BT709)])
def test_untagged_matrix_goes_by_height(tmp_path: Path, height: int, matrix: int) -> None:
    """Without a tag, 720 lines and more are BT.709, fewer BT.601."""
    clip = noise_clip(tmp_path / "in.mkv", 1, 32, height, options={"preset": "ultrafast"})
    with open_source(clip) as source:
        assert source.format.matrix == matrix


def test_hdr_is_refused_with_a_way_out(tmp_path: Path) -> None:
    """PQ and HLG would come out washed out; the message says how to convert."""
    for transfer in (16, 18):
        clip = noise_clip(
            tmp_path / f"{transfer}.mkv",
            2,
            pix_fmt="yuv420p10le",
            codec="ffv1",
            color_trc=transfer,
            color_primaries=9,
            colorspace=9,
        )
        with pytest.raises(BadData, match=r"HDR.*ffmpeg"):
            open_source(clip)


# Damage


def test_size_change_is_scaled_and_said(tmp_path: Path, ones: Path) -> None:
    """Two streams of different size in one .ts: all frames come, at the first size."""
    noise_clip(tmp_path / "1.ts", 20, 64, 48)
    later = [20 + i for i in range(20)]
    noise_clip(tmp_path / "2.ts", 20, 96, 80, pts=later)
    clip = tmp_path / "in.ts"
    clip.write_bytes((tmp_path / "1.ts").read_bytes() + (tmp_path / "2.ts").read_bytes())
    with av.open(str(clip)) as container:
        sizes = [(f.width, f.height) for f in container.decode(video=0)]
    assert {(64, 48), (96, 80)} == set(sizes)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = frames_of(source)
        assert len(found) == len(sizes)
        assert {(f.image.width, f.image.height) for f in found} == {(64, 48)}
        assert [f.pts for f in found] == sorted({f.pts for f in found})
        assert len([w for w in warnings if "96x80" in w and "64x48" in w]) == 1
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert probe(tmp_path / "out.mp4").frames == summary.frames == len(sizes)


def _decodable(clip: Path) -> int:
    frames = 0
    with av.open(str(clip)) as container:
        try:
            for packet in container.demux(video=0):
                frames += len(packet.decode())
        except av.error.FFmpegError:
            pass
    return frames


@pytest.mark.parametrize("cut", [0.3, 0.5, 0.8])
@pytest.mark.parametrize("container", ["mkv", "ts"])
def test_cut_off_file_gives_what_it_has_and_warns(
    tmp_path: Path, ones: Path, container: str, cut: float
) -> None:
    """Every frame that can be decoded is in the output; that some are missing is said.

    A cut .mkv still says how long it was; a .ts never did, and is whole as far as anyone can tell.
    """
    whole = noise_clip(tmp_path / f"whole.{container}", 90, 32, 24).read_bytes()
    clip = tmp_path / f"in.{container}"
    clip.write_bytes(whole[: int(len(whole) * cut)])
    summary = run(clip, tmp_path / "out.mp4", ones)
    there = _decodable(clip)
    assert 0 < there < 90
    assert summary.frames == probe(tmp_path / "out.mp4").frames == there
    if container == "mkv":
        assert any("ends early" in w for w in summary.warnings)


def test_real_cut_transport_stream_gives_what_it_has(tmp_path: Path, ones: Path) -> None:
    """A real .ts, cut in the middle of a packet."""
    clip = shared("derived/person_truncated.ts")
    summary = run(clip, tmp_path / "out.mp4", ones)
    assert summary.frames == probe(tmp_path / "out.mp4").frames == _decodable(clip)


@pytest.mark.parametrize("cut", [0.4, 0.7])
def test_cut_off_mp4_is_an_error_that_keeps_what_it_has(
    tmp_path: Path, ones: Path, cut: float
) -> None:
    """An index that promises more than there is: 65, the numbers, and a playable output."""
    clip = noise_clip(tmp_path / "whole.mp4", 90, 32, 24)
    fast = tmp_path / "fast.mp4"
    with av.open(str(clip)) as a, av.open(str(fast), "w", options={"movflags": "faststart"}) as b:
        stream = b.add_stream_from_template(a.streams.video[0])
        for packet in a.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                b.mux(packet)
    data = fast.read_bytes()
    clip = tmp_path / "in.mp4"
    clip.write_bytes(data[: int(len(data) * cut)])
    summary = job.run(RunConfig(clip, tmp_path / "out.mp4", "blur", model=str(ones), size=64))
    assert summary.exit_code == 65
    assert "ends early" in str(summary.error)
    assert "of 90 frames" in str(summary.error)
    assert summary.frames == probe(tmp_path / "out.mp4").frames == _decodable(clip)
