"""The programs of examples/, run as their heads say."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from shutil import copy
from typing import Any

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from examples.watch_folder import seen
from tests.conftest import REPOSITORY
from tests.media import heard, noise_clip, probe, write_clip


@pytest.fixture
def talk(tmp_path: Path) -> Path:
    """Nine frames of a person with sound."""
    write_clip(tmp_path / "talk.mp4", seconds=0.3, width=160, height=120)
    return tmp_path / "talk.mp4"


def example(name: str, *args: object, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, str(REPOSITORY / "examples" / f"{name}.py"), *map(str, args)]
    return subprocess.Popen(
        command,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        **how,
    )


def output(name: str, *args: object) -> str:
    program = example(name, *args)
    out, err = program.communicate(timeout=50)
    assert program.returncode == 0, err
    return out


def test_frames(talk: Path) -> None:
    rows = [*csv.DictReader(output("frames", talk, "--model", "fast").splitlines())]
    assert [Fraction(row["time"]) for row in rows] == [round(Fraction(n, 30), 3) for n in range(9)]
    for row in rows:
        assert 0.2 < float(row["share"]) < 0.8
        left, top, width, height = (int(row[x]) for x in ("left", "top", "width", "height"))
        assert left + width <= 160
        assert top + height == 120  # she is seen down to the lower edge
        assert width * height > 0.3 * 160 * 120


def test_alpha_for_editors(talk: Path, ones: Path, tmp_path: Path) -> None:
    lines = output("alpha_for_editors", talk, tmp_path / "out", "--model", ones).splitlines()
    assert len(lines) == 3
    with av.open(str(tmp_path / "out/person.mov")) as clip:
        codec = clip.streams.video[0].codec_context
        assert (codec.name, codec.format.name[:8]) == ("prores", "yuva444p")
    assert probe(tmp_path / "out/person.webm").frames == 9
    images = sorted((tmp_path / "out/person").iterdir())
    assert len(images) == 9
    assert cv2.imread(str(images[0]), cv2.IMREAD_UNCHANGED).shape == (120, 160, 4)


def test_talking_head(talk: Path, ones: Path, tmp_path: Path) -> None:
    for name, colour in (("red", (0, 0, 255)), ("blue", (255, 0, 0))):
        page = np.full((90, 160, 3), colour, np.uint8)
        cv2.imwrite(str(tmp_path / f"{name}.png"), page)
    slides = [tmp_path / f"{name}.png" for name in ("red", "blue")]
    out = tmp_path / "out.mp4"
    output("talking_head", talk, out, *slides, "--seconds", 0.15, "--model", ones)
    after = probe(out)
    assert (after.size, after.times) == ((1280, 720), probe(talk).times)
    assert [data for _, data in heard(out)] == [data for _, data in heard(talk)]
    with av.open(str(out)) as clip:
        first, *_, last = (f.to_ndarray(format="rgb24").astype(int) for f in clip.decode(video=0))
    for image, slide in ((first, (255, 0, 0)), (last, (0, 0, 255))):
        assert np.abs(image[:300] - slide).max() < 12
        assert image[-300:, -400:].std() > 20  # all of the frame is person
        assert np.abs(image[-300:, :700] - slide).max() < 12


def test_talking_head_by_another_clock(talk: Path, ones: Path, tmp_path: Path) -> None:
    """Sound keeps its place beside the images where a file's clock does not begin at 0."""
    late = tmp_path / "talk.ts"
    with av.open(str(talk)) as source, av.open(str(late), "w") as target:
        copies = {s: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                ticks = round(5 / packet.time_base)
                packet.pts, packet.dts = packet.pts + ticks, packet.dts + ticks
                packet.stream = copies[packet.stream]
                target.mux(packet)
    cv2.imwrite(str(tmp_path / "slide.png"), np.zeros((90, 160, 3), np.uint8))
    out = tmp_path / "out.mp4"
    output("talking_head", late, out, tmp_path / "slide.png", "--model", ones)
    assert probe(late).times[0] >= 5
    gaps = [heard(path)[0][0] - probe(path).times[0] for path in (late, out)]
    assert float(gaps[1]) == pytest.approx(float(gaps[0]), abs=0.002)
    assert len(heard(out)) == len(heard(late))


def test_watch_folder(talk: Path, ones: Path, tmp_path: Path) -> None:
    """What is there, what comes later, and what is no video; then Ctrl-C."""
    inbox, out = tmp_path / "inbox", tmp_path / "out"
    inbox.mkdir()
    (inbox / "notes.mp4").write_text("not a video")
    copy(talk, inbox / "a.mp4")
    noise_clip(inbox / "c.ts", frames=3)
    Image.new("P", (64, 48)).save(inbox / "d.gif")
    args = inbox, out, "--bg", "#00b140", "--model", ones, "--seconds", 0.2
    program = example("watch_folder", *args)
    try:
        assert program.stdout.readline() == f"{out}/a.mp4: 9 frames\n"
        assert program.stdout.readline() == f"{out}/c.ts.mp4: 3 frames\n"
        assert program.stdout.readline() == f"{out}/d.gif.png: 1 frames\n"
        copy(talk, inbox / "b.mp4")
        assert program.stdout.readline() == f"{out}/b.mp4: 9 frames\n"
    finally:
        program.send_signal(signal.SIGINT)
        rest, err = program.communicate(timeout=30)
    assert (program.returncode, rest) == (0, "stopped\n")
    assert err.count("failed: ") == 1
    assert "notes.mp4" in err
    assert {p.name for p in out.iterdir()} == {"a.mp4", "b.mp4", "c.ts.mp4", "d.gif.png"}
    assert probe(out / "b.mp4").frames == 9


def test_watch_folder_while_files_are_renamed(tmp_path: Path) -> None:
    for n in range(30):
        (tmp_path / f"{n}.part").touch()
    over = threading.Event()

    def rename() -> None:
        while not over.is_set():
            for n in range(30):
                part, whole = tmp_path / f"{n}.part", tmp_path / f"{n}.mp4"
                part.rename(whole)
                whole.rename(part)

    thread = threading.Thread(target=rename)
    thread.start()
    try:
        for _ in range(200):
            assert all(size == 0 for size, _ in seen(tmp_path).values())
    finally:
        over.set()
        thread.join()
