"""Inputs and options that cannot work, each with what is to be said of it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np

from tests.faults.helpers import disk, image, moving_clip, without_root
from tests.media import noise_clip


@dataclass
class Case:
    """What to type, and how it must end. Paths are inside the test's own folder."""

    code: int
    names: str  # what the error line names: a file, or what was typed
    says: str  # of the cause
    advice: str  # a word of what to do about it
    args: Sequence[object]
    prefix: list[str] = field(default_factory=list)
    keeps: bool = False  # whether what could be read is written


Make = Callable[[Path, ExitStack], Case]
CASES: dict[str, Make] = {}


def case(make: Make) -> Make:
    CASES[make.__name__] = make
    return make


def clip(folder: Path) -> Path:
    """A clip with which nothing is wrong."""
    return noise_clip(folder / "in.mp4", frames=10)


def bad(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


@case
def missing(folder: Path, stack: ExitStack) -> Case:
    return Case(66, "none.mp4", "no such file", "", ["none.mp4"])


@case
def empty(folder: Path, stack: ExitStack) -> Case:
    return Case(65, "in.mp4", "not a readable video", "may be", [bad(folder, "in.mp4", b"")])


@case
def junk(folder: Path, stack: ExitStack) -> Case:
    data = np.random.default_rng(0).bytes(100_000)
    return Case(65, "in.mp4", "not a readable video", "may be", [bad(folder, "in.mp4", data)])


@case
def text_named_mp4(folder: Path, stack: ExitStack) -> Case:
    data = b"Dear diary, today I was renamed.\n" * 100
    return Case(65, "in.mp4", "not a readable video", "may be", [bad(folder, "in.mp4", data)])


@case
def junk_image(folder: Path, stack: ExitStack) -> Case:
    data = np.random.default_rng(0).bytes(10_000)
    return Case(65, "in.png", "not a readable image", "may be", [bad(folder, "in.png", data)])


@case
def empty_image(folder: Path, stack: ExitStack) -> Case:
    return Case(65, "in.jpg", "not a readable image", "may be", [bad(folder, "in.jpg", b"")])


@case
def audio_only(folder: Path, stack: ExitStack) -> Case:
    path = folder / "in.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48000, layout="mono")
        tone = av.AudioFrame.from_ndarray(np.zeros((1, 48000), np.float32), "fltp", "mono")
        tone.sample_rate = 48000
        container.mux([*sound.encode(tone), *sound.encode(None)])
    return Case(65, "in.mp4", "no video in it", "audio only", [path])


@case
def truncated_index_last(folder: Path, stack: ExitStack) -> Case:
    data = moving_clip(folder / "whole.mp4", 60).read_bytes()
    path = bad(folder, "in.mp4", data[: len(data) * 3 // 4])
    return Case(65, "in.mp4", "not a readable video", "incomplete", [path])


@case
def truncated_index_first(folder: Path, stack: ExitStack) -> Case:
    whole = moving_clip(folder / "whole.mp4", 120, muxing={"movflags": "faststart"})
    data = whole.read_bytes()
    path = bad(folder, "in.mp4", data[: len(data) * 3 // 4])
    return Case(65, "in.mp4", "ends early", "what could be read was kept", [path], keeps=True)


@case
def no_frame_in_it(folder: Path, stack: ExitStack) -> Case:
    path = folder / "in.mp4"
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=30)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        container.start_encoding()
    assert path.stat().st_size
    return Case(65, "in.mp4", "no video in it", "", [path])


def _tagged(folder: Path, tag: bytes) -> Path:
    """A clip whose codec has another tag."""
    data = noise_clip(folder / "whole.mp4", 10).read_bytes()
    assert data.count(b"avc1") == 2  # among the brands, and of the stream
    at = data.rindex(b"avc1")
    return bad(folder, "in.mp4", data[:at] + tag + data[at + 4 :])


@case
def encrypted(folder: Path, stack: ExitStack) -> Case:
    """As films are sold for Apple's players."""
    path = _tagged(folder, b"drmi")
    return Case(65, "in.mp4", "encrypted", "use a copy", [path])


@case
def no_decoder(folder: Path, stack: ExitStack) -> Case:
    """Images in a codec that nobody has told FFmpeg of."""
    path = _tagged(folder, b"zzzz")
    return Case(65, "in.mp4", "no decoder", "", [path])


@case
def folder_without_images(folder: Path, stack: ExitStack) -> Case:
    (folder / "images").mkdir()
    (folder / "images" / "notes.txt").write_text("none here")
    return Case(65, "images", "no videos or images in it", "add --recursive", ["images"])


@case
def folder_that_cannot_be_listed(folder: Path, stack: ExitStack) -> Case:
    inner = folder / "takes" / "day1"
    inner.mkdir(parents=True)
    clip(folder).rename(folder / "takes" / "a.mp4")
    inner.chmod(0)
    args = ["takes", "--recursive"]
    return Case(66, "takes/day1", "permission denied", "make it readable", args, without_root())


@case
def model_of_many_that_cannot_be_read(folder: Path, stack: ExitStack) -> Case:
    bad(folder, "m.onnx", b"").chmod(0)
    args = [clip(folder), "b.mp4", "-o", "out", "--model", "m.onnx"]
    return Case(66, "m.onnx", "permission denied", "make it readable", args, without_root())


@case
def folder_of_broken_images(folder: Path, stack: ExitStack) -> Case:
    (folder / "images").mkdir()
    for name in ("1.png", "2.jpg"):
        bad(folder / "images", name, b"no image")
    return Case(65, "images", "none of its 2 images can be read", "", ["images"])


@case
def no_permission(folder: Path, stack: ExitStack) -> Case:
    path = clip(folder)
    path.chmod(0)
    return Case(66, "in.mp4", "permission denied", "make it readable", [path], without_root())


@case
def folder_without_permission(folder: Path, stack: ExitStack) -> Case:
    path = folder / "images"
    path.mkdir()
    image(path / "1.png")
    path.chmod(0)
    stack.callback(path.chmod, 0o700)
    return Case(66, "images", "permission denied", "make it readable", [path], without_root())


@case
def dangling_link(folder: Path, stack: ExitStack) -> Case:
    (folder / "in.mp4").symlink_to("gone.mp4")
    return Case(66, "in.mp4", "no such file", "", ["in.mp4"])


@case
def fifo(folder: Path, stack: ExitStack) -> Case:
    os.mkfifo(folder / "in.mp4")
    return Case(66, "in.mp4", "neither a file nor a folder", "wsshm run -", ["in.mp4"])


@case
def hdr(folder: Path, stack: ExitStack) -> Case:
    path = noise_clip(
        folder / "in.mp4",
        10,
        codec="libx265",
        pix_fmt="yuv420p10le",
        color_trc=16,
        color_primaries=9,
        colorspace=9,
        options={"x265-params": "log-level=error"},
    )
    return Case(65, "in.mp4", "HDR video (PQ)", "convert it", [path])


@case
def output_in_no_folder(folder: Path, stack: ExitStack) -> Case:
    return Case(
        73, "none/out.mp4", "does not exist", "create it", [clip(folder), "-o", "none/out.mp4"]
    )


@case
def output_in_folder_without_permission(folder: Path, stack: ExitStack) -> Case:
    path = folder / "locked"
    path.mkdir(mode=0o555)
    args = [clip(folder), "-o", "locked/out.mp4"]
    return Case(73, "locked/out.mp4", "no permission to write", "", args, without_root())


@case
def output_on_read_only_disk(folder: Path, stack: ExitStack) -> Case:
    small = stack.enter_context(disk(folder / "disk", 100))
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    return Case(
        73, "disk/out.mp4", "no permission to write", "", [clip(folder), "-o", "disk/out.mp4"]
    )


@case
def output_exists(folder: Path, stack: ExitStack) -> Case:
    bad(folder, "out.mp4", b"precious")
    return Case(73, "out.mp4", "exists already", "--overwrite", [clip(folder), "-o", "out.mp4"])


@case
def output_folder_not_empty(folder: Path, stack: ExitStack) -> Case:
    (folder / "out").mkdir()
    bad(folder / "out", "precious.png", b"precious")
    return Case(73, "out", "not empty", "--overwrite", [clip(folder), "-o", "out"])


@case
def output_is_the_input(folder: Path, stack: ExitStack) -> Case:
    args = [clip(folder), "-o", "in.mp4", "--overwrite"]
    return Case(2, "in.mp4", "is the input", "another", args)


@case
def output_is_the_input_by_a_link(folder: Path, stack: ExitStack) -> Case:
    (folder / "link.mp4").symlink_to("in.mp4")
    args = [clip(folder), "-o", "link.mp4", "--overwrite"]
    return Case(2, "link.mp4", "is the input", "another", args)


@case
def output_folder_is_a_file(folder: Path, stack: ExitStack) -> Case:
    bad(folder, "notes", b"mine")
    args = [clip(folder), "-o", "notes/", "--overwrite"]
    return Case(73, "notes", "is a file", "name another folder", args)


@case
def output_name_too_long(folder: Path, stack: ExitStack) -> Case:
    name = "x" * 300 + ".mp4"
    return Case(73, name, "too long", "", [clip(folder), "-o", name])


@case
def input_name_too_long(folder: Path, stack: ExitStack) -> Case:
    name = "x" * 300 + ".mp4"
    return Case(66, name, "too long", "", [name])


@case
def background_name_too_long(folder: Path, stack: ExitStack) -> Case:
    name = "x" * 300 + ".jpg"
    return Case(66, name, "too long", "", [clip(folder), "--bg", name])


@case
def background_is_a_folder(folder: Path, stack: ExitStack) -> Case:
    (folder / "beaches").mkdir()
    args = [clip(folder), "--bg", "beaches"]
    return Case(66, "beaches", "is a folder", "name one image", args)


@case
def background_without_permission(folder: Path, stack: ExitStack) -> Case:
    path = image(folder / "beach.png")
    path.chmod(0)
    args = [clip(folder), "--bg", "beach.png"]
    return Case(66, "beach.png", "permission denied", "make it readable", args, without_root())


@case
def model_without_permission(folder: Path, stack: ExitStack) -> Case:
    path = bad(folder, "model.onnx", b"")
    path.chmod(0)
    args = [clip(folder), "--model", "model.onnx"]
    return Case(66, "model.onnx", "", "", args, without_root())


@case
def output_of_unknown_kind(folder: Path, stack: ExitStack) -> Case:
    return Case(2, "out.xyz", "unknown kind", ".mp4", [clip(folder), "-o", "out.xyz"])


@case
def unknown_background(folder: Path, stack: ExitStack) -> Case:
    return Case(66, "beach.jpg", "no such file", "'#rrggbb'", [clip(folder), "--bg", "beach.jpg"])


@case
def background_is_junk(folder: Path, stack: ExitStack) -> Case:
    bad(folder, "beach.jpg", b"no image")
    args = [clip(folder), "--bg", "beach.jpg"]
    return Case(65, "beach.jpg", "not a readable image", "may be", args)


@case
def wrong_colour(folder: Path, stack: ExitStack) -> Case:
    return Case(2, "#12", "a colour is written", "#rrggbb", [clip(folder), "--bg", "#12"])


@case
def wrong_blur(folder: Path, stack: ExitStack) -> Case:
    return Case(2, "blur:much", "takes a number", "up to 50", [clip(folder), "--bg", "blur:much"])


@case
def unknown_model(folder: Path, stack: ExitStack) -> Case:
    args = [clip(folder), "--model", "none"]
    return Case(66, "none", "no shipped model", "there are", args)


@case
def model_is_junk(folder: Path, stack: ExitStack) -> Case:
    bad(folder, "model.onnx", np.random.default_rng(0).bytes(10_000))
    return Case(65, "model.onnx", "", "", [clip(folder), "--model", "model.onnx"])


@case
def cuda(folder: Path, stack: ExitStack) -> Case:
    return Case(69, "cuda", "", "", [clip(folder), "--device", "cuda"])


@case
def unknown_codec(folder: Path, stack: ExitStack) -> Case:
    return Case(69, "h265x", "no such video encoder", "use", [clip(folder), "--codec", "h265x"])


@case
def codec_that_the_container_lacks(folder: Path, stack: ExitStack) -> Case:
    args = [clip(folder), "-o", "out.webm", "--codec", "h264"]
    return Case(2, "out.webm", "cannot hold h264", "another", args)


@case
def images_to_mp4(folder: Path, stack: ExitStack) -> Case:
    (folder / "images").mkdir()
    image(folder / "images" / "1.png")
    args = ["images", "-o", "out.mp4"]
    return Case(2, "out.mp4", "images do not become a video", "folder", args)


@case
def video_to_one_image(folder: Path, stack: ExitStack) -> Case:
    args = [clip(folder), "-o", "out.png"]
    return Case(2, "out.png", "one image cannot hold a video", "folder", args)


@case
def transparent_to_mp4(folder: Path, stack: ExitStack) -> Case:
    args = [clip(folder), "-o", "out.mp4", "--bg", "transparent"]
    return Case(2, "out.mp4", "cannot hold", ".webm .mov .mkv", args)
