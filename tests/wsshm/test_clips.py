"""`wsshm.frames`: the frames and mattes of a run, and nothing left behind."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from skimage import data

import wsshm as door
from engines.video.matte.network import Network
from tests.conftest import Wsshm
from tests.faults.helpers import moving_clip
from tests.faults.senders import Sender
from tests.media import noise_clip, probe
from tests.wsshm.options import FAST, FAST_OPTIONS


def threads() -> list[str]:
    return [t.name for t in threading.enumerate() if t.name.startswith("wsshm")]


def test_mattes_are_those_of_a_run(wsshm: Wsshm, portrait: Path, tmp_path: Path) -> None:
    """To the bit, with the past that smoothing sees; and so are the person's own colours."""
    part = "--start", 0.5, "--duration", 0.3
    result = wsshm("run", portrait, *FAST_OPTIONS, *part, "--save", "alpha", "-o", "alpha/")
    assert result.returncode == 0, result.stderr
    people_folder = f"{tmp_path}/people/"
    door.run(portrait, people_folder, save="foreground", start=0.5, duration=0.3, **FAST)
    frames = list(door.frames(portrait, start=0.5, duration=0.3, **FAST))
    people = list(door.frames(portrait, foreground=True, start=0.5, duration=0.3, **FAST))
    assert len(frames) == len(people) == 9
    for number, (frame, person) in enumerate(zip(frames, people, strict=True), 1):
        name = f"{number:06d}.png"
        alpha = cv2.imread(str(tmp_path / "alpha" / name), cv2.IMREAD_UNCHANGED)
        bgra = cv2.imread(str(tmp_path / "people" / name), cv2.IMREAD_UNCHANGED)
        assert np.array_equal(frame.alpha, alpha)
        assert np.array_equal(np.dstack([person.rgb, person.alpha])[..., [2, 1, 0, 3]], bgra)


def test_frames_are_the_clips_own(ones: Path, tmp_path: Path) -> None:
    """Times of a variable rate, sizes, and arrays that stay good and may be written to."""
    pts = [0, 2, 3, 7, 8, 20]
    clip = noise_clip(tmp_path / "clip.mkv", 6, 50, 38, pts=pts)
    with door.frames(clip, model=ones) as frames:
        assert (frames.width, frames.height) == (50, 38)
        taken = list(frames)
    assert [Fraction(f.time).limit_denominator(1000) for f in taken] == probe(clip).times
    for f in taken:
        assert isinstance(f.time, float)
        assert (f.rgb.shape, f.rgb.dtype) == ((38, 50, 3), np.uint8)
        assert (f.alpha.shape, f.alpha.dtype) == ((38, 50), np.uint8)
        f.alpha[:] = f.rgb[..., 0]
    assert len({f.rgb.tobytes() for f in taken}) == 6
    assert taken.index(taken[3]) == 3  # each is itself alone: arrays have no one truth to compare
    part = list(door.frames(clip, model=ones, start=0.2))
    assert [f.time for f in part] == pytest.approx([f.time for f in taken[3:]], abs=1e-3)


def test_the_rate_and_the_number_of_frames(ones: Path, portrait: Path) -> None:
    with door.frames(portrait, model=ones) as frames:
        assert (frames.rate, frames.total) == (30, 60)
    assert next(frames, None) is None  # closed


def test_the_colours_of_a_folder_of_images(brightness: Path, tmp_path: Path) -> None:
    """Each at its own size, and to the bit."""
    images = [data.astronaut()[:40, :60], data.astronaut()[100:150, 200:230]]
    for n, image in enumerate(images):
        cv2.imwrite(str(tmp_path / f"{n}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    frames = door.frames(tmp_path, model=brightness)
    assert frames.rate is None
    assert all(np.array_equal(f.rgb, x) for f, x in zip(frames, images, strict=True))


def test_a_loop_that_is_left_early_leaves_no_thread(ones: Path, portrait: Path) -> None:
    for frame in door.frames(portrait, model=ones):
        assert frame.time == 0
        break
    assert not threads()
    with pytest.raises(ZeroDivisionError):
        print([1 / frame.time for frame in door.frames(portrait, model=ones)])
    assert not threads()
    frames = door.frames(portrait, model=ones)
    assert next(frames).time == 0
    assert threads()
    frames.close()
    frames.close()
    assert not threads()
    assert list(frames) == []


def test_a_slow_loop_lets_the_clip_wait(
    ones: Path, portrait: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames wait in short queues, so that memory does not grow with the clip."""
    seen = []
    scale = Network.scale

    def counted(self: Network, frame: Any) -> Any:
        seen.append(frame.pts)
        return scale(self, frame)

    monkeypatch.setattr(Network, "scale", counted)
    with door.frames(portrait, model=ones) as frames:
        next(frames)
        time.sleep(0.5)
        assert len(seen) < 20  # of 60


def test_a_slow_loop_sees_a_live_source_as_it_is_now(ones: Path, tmp_path: Path) -> None:
    """A frame that waits is replaced by newer ones."""
    clip = moving_clip(tmp_path / "live.mp4", 150, audio=False, gop=15)
    with Sender(clip, "close", seconds=5) as sender, door.frames(sender.url, model=ones) as frames:
        before = next(frames).time
        time.sleep(0.5)
        assert next(frames).time - before > 0.3


def test_two_clips_at_once_and_from_threads(brightness: Path, portrait: Path) -> None:
    def mean(_: int) -> list[float]:
        return [f.alpha.mean() for f in door.frames(portrait, model=brightness, duration=0.5)]

    before = cv2.getNumThreads()
    with ThreadPoolExecutor(3) as pool:
        a, b, c = pool.map(mean, range(3))
    assert a == b == c
    assert len(a) == 15
    assert cv2.getNumThreads() == before
    first = door.frames(portrait, model=brightness)
    second = door.frames(portrait, model=brightness)
    assert [next(first).time, next(second).time] == [0, 0]
    first.close()
    assert len(list(second)) == 59
    assert cv2.getNumThreads() == before


def test_another_thread_may_close_it(ones: Path, portrait: Path) -> None:
    frames = door.frames(portrait, model=ones)
    with ThreadPoolExecutor(1) as pool:
        taken = pool.submit(lambda: len(list(frames)))
        frames.close()
        assert taken.result(timeout=10) <= 60
    assert not threads()


def test_a_thread_of_any_name_waits_for_the_end(ones: Path, portrait: Path) -> None:
    left: list[str] = []

    def close() -> None:
        frames.close()
        left.extend(t for t in threads() if t != name)

    frames, name = door.frames(portrait, model=ones), "wsshm of mine"
    closing = threading.Thread(target=close, name=name)
    closing.start()
    closing.join(10)
    assert left == []
    assert not threads()


def test_a_clip_that_ends_early_gives_what_there_is(ones: Path, tmp_path: Path) -> None:
    clip = noise_clip(tmp_path / "clip.avi", 60, codec="mpeg4")
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    taken: list[door.Frame] = []
    with pytest.raises(door.BadData, match=r"clip.avi: ends early"):
        taken.extend(door.frames(clip, model=ones))
    assert 0 < len(taken) < 60
    assert not threads()


@pytest.mark.parametrize(
    ("clip", "options", "error", "says"),
    [
        ("missing.mp4", {}, door.CannotOpen, "missing.mp4: no such file"),
        (__file__, {}, door.BadData, "test_clips.py"),
        ("", {}, door.UsageError, "empty"),
        (None, {"model": "best"}, door.CannotOpen, "best"),
        (None, {"start": 100}, door.WsshmError, "100"),
        (None, {"start": -1}, door.UsageError, "start=-1"),
        (None, {"start": math.nan}, door.UsageError, "start=nan"),
        (None, {"start": 1e18}, door.UsageError, "start=1e"),
        (None, {"duration": 0}, door.UsageError, "duration=0"),
        (None, {"duration": math.inf}, door.UsageError, "duration=inf"),
        ("a\0b.mp4", {}, door.UsageError, "input=.*NUL"),
        (None, {"model": "a\0b"}, door.UsageError, "model=.*NUL"),
        (None, {"smooth": 1}, door.UsageError, "smooth=1"),
    ],
)
def test_what_cannot_be_opened_is_said_at_once(
    clip: str | None, options: dict[str, Any], error: type[Exception], says: str, portrait: Path
) -> None:
    with pytest.raises(error, match=says):
        door.frames(portrait if clip is None else clip, **options)
    assert not threads()


def script(text: str, *args: object, **how: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", text, *map(str, args)]
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **how
    )


OPEN_TWO = """
import sys, wsshm
frames = wsshm.frames(sys.argv[1], model=sys.argv[2])
print(next(frames).time, flush=True)
"""


def test_a_program_ends_with_an_open_iterator(ones: Path, portrait: Path) -> None:
    program = script(OPEN_TWO, portrait, ones)
    out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (0, "0.0\n", "")


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2), reason="this Python starts no thread then"
)
@pytest.mark.parametrize("leave", [0, 5])
def test_a_thread_may_outlive_the_main_one(leave: int, ones: Path, portrait: Path) -> None:
    """It gets every frame, or leaves an open iterator that does not keep the program."""
    text = """
import sys, threading, wsshm
def take():
    global frames
    frames = wsshm.frames(sys.argv[1], model=sys.argv[2], duration=0.5)
    other = wsshm.frames(sys.argv[1], model=sys.argv[2])
    threading.main_thread().join()
    n = 0
    for n, frame in enumerate(frames, 1):
        if n == int(sys.argv[3]): break
    print(n)
threading.Thread(target=take, name="wsshm taker").start()
"""
    program = script(text, portrait, ones, leave)
    out, err = program.communicate(timeout=30)
    assert (program.returncode, out, err) == (0, f"{leave or 15}\n", "")


def test_there_are_no_frames_while_the_program_ends(ones: Path, portrait: Path) -> None:
    """A handler of its exit is told, and does not wait for ever."""
    program = script(OPEN_TWO + "import atexit; atexit.register(next, frames)", portrait, ones)
    out, err = program.communicate(timeout=30)
    assert (program.returncode, out) == (0, "0.0\n")
    assert "Unavailable: frames: there are none while the program ends" in err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c_ends_it(ones: Path, portrait: Path) -> None:
    program = script(OPEN_TWO + "import time\nwhile True: time.sleep(0.1)", portrait, ones)
    assert program.stdout.readline() == "0.0\n"
    os.kill(program.pid, signal.SIGINT)
    _, err = program.communicate(timeout=30)
    assert err.rstrip().endswith("KeyboardInterrupt")
