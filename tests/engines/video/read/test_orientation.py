"""Video that is stored turned or mirrored: it comes out as players show it."""

from __future__ import annotations

import gc
import math
import struct
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
from av.bitstream import BitStreamFilterContext

from engines.video import frame as fr
from engines.video.compose.moving import VideoBackground
from engines.video.config import BackgroundFit, Clip
from engines.video.frame import Frame, FrameFormat
from engines.video.read.open import open_source
from tests.engines.video.read.helpers import frames_of, run

# a, b, c, d of ISO/IEC 14496-12: x' = ax + cy, y' = bx + dy, with y downwards.
UPRIGHT = {
    "as it is": (1, 0, 0, 1),
    "turned clockwise": (0, 1, -1, 0),
    "upside down": (-1, 0, 0, -1),
    "turned counter-clockwise": (0, -1, 1, 0),
    "mirrored": (-1, 0, 0, 1),
    "flipped": (1, 0, 0, -1),
    "transposed": (0, 1, 1, 0),
    "transposed the other way": (0, -1, -1, 0),
}
Matrix = tuple[float, float, float, float]
BLACK, WHITE, GREY, DARK = 16, 235, 128, 60


def corners(width: int, height: int) -> np.ndarray:
    """(H, W) luma with four different corners: no two orientations of it are alike."""
    luma = np.full((height, width), GREY, np.uint8)
    luma[: height // 2, : width // 2] = BLACK
    luma[: height // 2, width // 2 :] = WHITE
    luma[height // 2 :, : width // 2] = DARK
    luma[0, :] = 90
    return luma


def shown(plane: np.ndarray, matrix: Matrix) -> np.ndarray:
    """A plane with every sample where the matrix puts it."""
    a, b, c, d = (round(v) for v in matrix)
    y, x = np.mgrid[: plane.shape[0], : plane.shape[1]]
    across, down = a * x + c * y, b * x + d * y
    across, down = across - across.min(), down - down.min()
    result = np.zeros((down.max() + 1, across.max() + 1), plane.dtype)
    result[down, across] = plane
    return result


def filled(width: int, height: int, pix_fmt: str) -> av.VideoFrame:
    """`corners` as an image, with chroma that has corners too."""
    image = FrameFormat(width, height, pix_fmt).new_image()
    scale = 4 if pix_fmt.endswith("10le") else 1
    for i, plane in enumerate(fr.planes(image)):
        plane[:] = np.roll(corners(plane.shape[1], plane.shape[0]), i).astype(int) * scale
    return image


def write(
    path: Path,
    images: list[av.VideoFrame],
    matrix: Matrix,
    codec: str = "libvpx-vp9",
    aspect: Fraction | None = None,
) -> Path:
    """Write images without loss, with a display matrix for the whole file."""
    a, b, c, d = (round(65536 * v) for v in matrix)
    options = {"lossless": "1"} if codec == "libvpx-vp9" else {"qp": "0"}
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=25, options=options)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height = images[0].width, images[0].height
        stream.pix_fmt = images[0].format.name
        stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for i, image in enumerate(images):
            image.pts, image.time_base = i, Fraction(1, 25)
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    return path


def lumas(path: Path) -> list[np.ndarray]:
    with open_source(path) as source:
        return [fr.planes(f.image)[0] for f in frames_of(source)]


@pytest.mark.parametrize(
    ("pix_fmt", "width", "height"),
    [
        ("yuv420p", 65, 49),
        ("yuv422p", 65, 49),
        ("yuv422p", 64, 48),
        ("yuv444p", 65, 49),
        ("yuv420p10le", 64, 48),
    ],
)
@pytest.mark.parametrize("name", UPRIGHT)
def test_every_orientation_is_shown_upright(
    tmp_path: Path, name: str, width: int, height: int, pix_fmt: str
) -> None:
    """All eight, with odd sizes, every subsampling and 10 bits: each sample in its place."""
    matrix = UPRIGHT[name]
    image = filled(width, height, pix_fmt)
    bit_depth = 10 if pix_fmt.endswith("10le") else 8
    codec = "libx264" if bit_depth == 10 else "libvpx-vp9"
    clip = write(tmp_path / "in.mp4", [image] * 2, matrix, codec)
    warnings: list[str] = []
    with open_source(clip, bit_depth=bit_depth, warn=warnings.append) as source:
        found, fmt = frames_of(source), source.format
    upright = [shown(p, matrix) for p in fr.planes(image)]
    assert (fmt.height, fmt.width) == upright[0].shape
    assert len(found) == 2
    if pix_fmt == "yuv422p" and matrix[0] == 0:  # turned, it would be 4:4:0
        assert fmt.pix_fmt == "yuv420p"
        upright = upright[:1]
    else:
        assert (fmt.pix_fmt, warnings) == (pix_fmt, [])
    for frame in found:
        for plane, expected in zip(fr.planes(frame.image), upright, strict=False):
            np.testing.assert_array_equal(plane, expected)


@pytest.mark.parametrize("name", UPRIGHT)
def test_a_run_writes_it_upright(tmp_path: Path, ones: Path, name: str) -> None:
    """The pixels are turned, and the output says nothing of turning any more."""
    image = filled(64, 48, "yuv420p")
    clip = write(tmp_path / "in.mp4", [image] * 2, UPRIGHT[name], "libx264", Fraction(4, 3))
    run(clip, tmp_path / "out.mp4", ones)
    with av.open(str(tmp_path / "out.mp4")) as container:
        result: Any = next(container.decode(video=0))
        aspect = container.streams.video[0].sample_aspect_ratio
        assert not any("MATRIX" in str(s.type) for s in result.side_data)
    expected = shown(fr.planes(image)[0], UPRIGHT[name])
    np.testing.assert_array_equal(fr.planes(result)[0], expected)
    assert aspect == (Fraction(3, 4) if UPRIGHT[name][0] == 0 else Fraction(4, 3))


@pytest.mark.parametrize("name", UPRIGHT)
def test_a_background_is_shown_upright(tmp_path: Path, name: str) -> None:
    """``--bg`` video of a phone, too."""
    image = filled(64, 48, "yuv444p")
    clip = write(tmp_path / "bg.mp4", [image] * 2, UPRIGHT[name])
    expected = [shown(p, UPRIGHT[name]) for p in fr.planes(image)]
    fmt = FrameFormat(expected[0].shape[1], expected[0].shape[0], "yuv444p")
    frame = Frame(fmt.new_image(), fmt, 0, Fraction(1, 25))
    background = VideoBackground(clip, None, BackgroundFit.cover, print, 8)
    try:
        for plane, wanted in zip(background.planes(frame, []), expected, strict=True):
            np.testing.assert_array_equal(plane, wanted)
    finally:
        background.close()


@pytest.mark.parametrize("name", list(UPRIGHT)[1:])
def test_orientation_within_the_stream(tmp_path: Path, name: str) -> None:
    """H.264 says it itself, in a message before its pictures; the container knows nothing of it."""
    a, b, c, d = UPRIGHT[name]
    turn = {(0, 1): 270, (0, -1): 90, (-1, 0): 180, (1, 0): 0}[int(a), int(b)]
    if a * d - b * c < 0:  # mirrored after turning
        turn = {(0, 1): 90, (0, -1): 270, (-1, 0): 0, (1, 0): 180}[int(a), int(b)]
    flip = ":flip=horizontal" if a * d - b * c < 0 else ""
    image = filled(64, 48, "yuv420p")
    plain = write(tmp_path / "plain.mp4", [image] * 3, (1, 0, 0, 1), "libx264")
    clip = tmp_path / "in.mkv"
    with av.open(str(plain)) as given, av.open(str(clip), "w") as out:
        video = given.streams.video[0]
        stream = out.add_stream_from_template(video)
        change = BitStreamFilterContext(
            f"h264_metadata=display_orientation=insert:rotate={turn}{flip}", video
        )
        for packet in given.demux(video):
            for changed in change.filter(packet if packet.size else None):
                changed.stream = stream
                out.mux(changed)
    with av.open(str(clip)) as container:
        first: Any = next(container.decode(video=0))
        data = first.side_data["DISPLAYMATRIX"]
        e, f, _, g, h = struct.unpack("=5i", bytes(data)[:20])
    stated = tuple(round(v / 65536) for v in (e, f, g, h))
    assert stated == UPRIGHT[name]
    expected = shown(fr.planes(image)[0], UPRIGHT[name])
    with open_source(clip, Clip(start=0.04)) as source:  # after the key frame
        late = [fr.planes(f.image)[0] for f in frames_of(source)]
    found = lumas(clip) + late
    assert len(found) == 5
    for luma in found:
        np.testing.assert_array_equal(luma, expected)


EXIF_ORIENTATIONS = {  # by their number
    1: "as it is",
    2: "mirrored",
    3: "upside down",
    4: "flipped",
    5: "transposed",
    6: "turned clockwise",
    7: "transposed the other way",
    8: "turned counter-clockwise",
}


EXIF_NUMBERS = {name: number for number, name in EXIF_ORIENTATIONS.items()}
SAMPLINGS = {
    "yuvj420p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "yuvj422p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "yuvj444p": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}


def motion_jpeg(path: Path, luma: np.ndarray, numbers: list[int], pix_fmt: str) -> Path:
    """Write grey JPEG files as a film, each with its own EXIF orientation."""
    options = [cv2.IMWRITE_JPEG_QUALITY, 100, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[pix_fmt]]
    _, data = cv2.imencode(".jpg", cv2.merge([luma] * 3), options)
    jpeg = data.tobytes()
    with av.open(str(path), "w") as out:
        stream = out.add_stream("mjpeg", rate=25)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = luma.shape[1], luma.shape[0], pix_fmt
        for i, number in enumerate(numbers):
            tags = b"II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x112, 3, 1, number) + bytes(4)
            exif = struct.pack(">H", len(tags) + 8) + b"Exif\0\0" + tags
            packet = av.Packet(jpeg[:2] + b"\xff\xe1" + exif + jpeg[2:])
            packet.pts = packet.dts = i
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), True
            out.mux(packet)
    return path


@pytest.mark.parametrize("number", EXIF_ORIENTATIONS)
@pytest.mark.parametrize("ending", ["avi", "mov", "mkv"])
def test_exif_orientation_of_motion_jpeg(tmp_path: Path, number: int, ending: str) -> None:
    """Cameras that write the same JPEG files into a film."""
    luma = corners(64, 48)
    found = lumas(motion_jpeg(tmp_path / f"in.{ending}", luma, [number] * 3, "yuvj420p"))
    expected = shown(luma, UPRIGHT[EXIF_ORIENTATIONS[number]]).astype(int)
    assert len(found) == 3
    for plane in found:
        assert np.abs(plane - expected).max() <= 3


@pytest.mark.parametrize("pix_fmt", SAMPLINGS)
@pytest.mark.parametrize("second", ["mirrored", "turned clockwise", "upside down", "transposed"])
def test_orientation_that_changes_on_the_way(tmp_path: Path, second: str, pix_fmt: str) -> None:
    """Each image is turned by its own matrix; one of another shape is scaled to the first's."""
    luma = corners(64, 48)
    numbers = [1, 1, EXIF_NUMBERS[second], 1]
    clip = motion_jpeg(tmp_path / "in.avi", luma, numbers, pix_fmt)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        found = [fr.planes(f.image) for f in frames_of(source)]
        fmt = source.format
    assert (fmt.width, fmt.height, fmt.pix_fmt) == (64, 48, pix_fmt.replace("yuvj", "yuv"))
    for planes in found:
        assert [p.shape[::-1] for p in planes] == list(fmt.plane_sizes)
    for planes in (found[0], found[1], found[3]):
        assert np.abs(planes[0].astype(int) - luma).max() <= 3
    expected = shown(luma, UPRIGHT[second])
    if expected.shape != luma.shape:
        assert any("changes to 48x64" in w and "64x48" in w for w in warnings)
        expected = cv2.resize(expected, (64, 48), interpolation=cv2.INTER_LINEAR)
    assert np.median(np.abs(found[2][0] - expected.astype(int))) <= 1
    for plane in found[2][1:]:
        assert np.abs(plane.astype(int) - 128).max() <= 1


@pytest.mark.parametrize(
    ("matrix", "says"),
    [((0, 0, 0, 0), "to nothing"), ((1, 1, 1, 1), "to nothing"), ((1, 0, 0, 0), "to nothing")],
)
def test_a_matrix_of_nothing_is_left_alone(tmp_path: Path, matrix: Matrix, says: str) -> None:
    image = filled(64, 48, "yuv420p")
    clip = write(tmp_path / "in.mp4", [image], matrix)
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        (frame,) = frames_of(source)
    np.testing.assert_array_equal(fr.planes(frame.image)[0], fr.planes(image)[0])
    assert len(warnings) == 1
    assert says in warnings[0]


@pytest.mark.parametrize(
    ("degrees", "nearest"),
    [
        (0.4, "as it is"),
        (30, "as it is"),
        (60, "turned clockwise"),
        (-100, "turned counter-clockwise"),
        (170, "upside down"),
    ],
)
def test_a_turn_by_another_angle_is_said(tmp_path: Path, degrees: float, nearest: str) -> None:
    """It is shown at the nearest right angle; what is nearly one is not worth a word."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    image = filled(64, 48, "yuv420p")
    clip = write(tmp_path / "in.mp4", [image], (cos, sin, -sin, cos))
    warnings: list[str] = []
    with open_source(clip, warn=warnings.append) as source:
        (frame,) = frames_of(source)
    expected = shown(fr.planes(image)[0], UPRIGHT[nearest])
    np.testing.assert_array_equal(fr.planes(frame.image)[0], expected)
    assert [f"turned by {round(degrees)}°" in w for w in warnings] == [True] * (degrees != 0.4)


def test_images_are_freed_as_soon_as_they_are_let_go(portrait: Path) -> None:
    """Not only when the garbage collector runs: a 4K image has 12 MB."""
    gc.collect()
    gc.disable()
    try:
        held = []
        with open_source(portrait) as source:
            for _ in islice(source.frames(), 20):
                held.append(sum(type(x) is av.VideoFrame for x in gc.get_objects()))
    finally:
        gc.enable()
    assert max(held) < held[0] + 10
