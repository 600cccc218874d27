"""The size that keeps up with a clip: the choice itself, and real clips at what was chosen."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper as h

from engines import models
from engines.contract import KEY
from engines.errors import CannotCreate
from engines.video import autotune
from engines.video.autotune import Load, largest, measure, settle
from engines.video.config import Clip, RunConfig
from engines.video.matte.pace import sizes
from engines.video.pipeline import Stop
from engines.video.run import run
from tests import graphs
from tests.conftest import Wsshm, one_error_line
from tests.media import noise_clip, probe

LARGE = replace(graphs.SPEC, size=320)  # sizes from 160 to 320
CHOICE = re.compile(
    r"(realtime|size auto): (\S+) (\S+) at (\d+) lines(, x264 (\S+) because no size is small "
    r"enough)? \(≈ (\d+) FPS expected, source ([\d.]+)(: too much for this machine)?\)"
)


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is remembered of timings is forgotten after the test."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def described(path: Path, **changes: Any) -> Path:
    """A model with the description `LARGE`, fields of it changed."""
    model = onnx.load(path)
    h.set_model_props(model, {KEY: replace(LARGE, **changes).to_json()})
    onnx.save(model, path)
    return path


@pytest.fixture
def quick(tmp_path: Path) -> Path:
    """A model that does next to nothing, for up to 320 lines."""
    return described(graphs.constant(tmp_path / "quick.onnx", 1.0))


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    """A model that keeps up with nothing."""
    return described(graphs.hungry(tmp_path / "slow.onnx", 100, times=10))


def test_sizes_are_multiples_of_the_stride_up_to_the_models_own() -> None:
    """From 160 lines on; a model that is smaller, or between two multiples, has its own as well."""
    assert sizes(LARGE) == [160, 192, 224, 256, 288, 320]
    assert sizes(replace(LARGE, size=64)) == [64]
    assert sizes(replace(LARGE, size=200)) == [160, 192, 200]
    assert sizes(replace(LARGE, stride=64, size=256)) == [192, 256]
    assert sizes(replace(LARGE, stride=256, size=160)) == [160]


@settings(deadline=None)
@given(
    st.lists(st.integers(64, 2160), min_size=1, max_size=12, unique=True).map(sorted),
    st.floats(0.1, 1e4),
    st.floats(1, 120),
)
def test_largest_is_the_largest_that_holds(choices: list[int], speed: float, rate: float) -> None:
    """As trying all of them says; asked about no more than a few."""
    asked: list[int] = []

    def fps(size: int) -> float:
        asked.append(size)
        return speed * 1e4 / size**2

    found = largest(choices, fps, rate)
    assert found == max([s for s in choices if speed * 1e4 / s**2 >= rate] or choices[:1])
    assert len(asked) <= len(choices).bit_length()


def test_expected_rate_is_what_the_cores_give() -> None:
    """2 cores, 30 ms without the network and 20 for it: 40 frames a second."""
    assert Load(30, 2).fps(20) == pytest.approx(40)


def gives(load: Load) -> Callable[[RunConfig, Stop], Load]:
    """A trial for which every frame takes as much."""
    return lambda config, stop: load


def test_choice_follows_the_machine(quick: Path, portrait: Path, tmp_path: Path) -> None:
    """All the power there is: its own size; none: the smallest, which is said not to hold."""
    config = RunConfig(portrait, tmp_path / "o.mp4", model=str(quick), auto_size=True)
    own, line = settle(config, Stop(), gives(Load(0, 1e6)))
    assert (own.size, own.auto_size, own.precision) == (320, False, "fp32")
    assert (CHOICE.fullmatch(line) or [""] * 10)[9] is None
    least, line = settle(config, Stop(), gives(Load(1e6, 1)))
    assert least.size == 160
    assert line.endswith(": too much for this machine)")


def test_choice_leaves_room_for_the_network(
    portrait: Path, quick: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network of 1 core-ms for every 10 lines, 5 of other work, one core, 30 frames a second."""
    monkeypatch.setattr(autotune, "work", lambda engines, h, w: dict.fromkeys(engines, h / 10))
    tried: list[RunConfig] = []

    def trial(config: RunConfig, stop: Stop) -> Load:
        tried.append(config)
        return Load(5 + 16, 1)  # at 160 lines, with the network

    config = RunConfig(portrait, tmp_path / "o.mp4", model=str(quick), auto_size=True)
    settled, line = settle(config, Stop(), trial)
    assert [(c.size, c.clip.duration) for c in tried] == [(160, 1)]
    # 33.3 ms a frame, 27.8 with a little to spare: 5 and 22.4, but not 5 and 25.6.
    found = CHOICE.fullmatch(line)
    assert found
    assert (settled.size, found[4], found[9]) == (224, "224", None)
    assert int(found[7]) == round(1000 / (5 + 22.4))


def test_fast_model_is_taken_where_it_comes_nearer_to_its_size(
    tmp_path: Path, portrait: Path, quick: Path, slow: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The shipped ``fast`` where the default is too slow, unless a model is named."""
    shipped = [
        models.Model("big", {"fp32": models.File(slow, "")}, "", True),
        models.Model("fast", {"fp32": models.File(quick, "")}, "", False),
    ]
    monkeypatch.setattr(models, "shipped", lambda: shipped)
    monkeypatch.setattr(autotune, "shipped", lambda: shipped)
    config = RunConfig(portrait, tmp_path / "o.mp4", clip=Clip(0, 0.2), realtime=True)
    for asked, model in (
        (config, "fast"),
        (replace(config, model="big"), "big"),
        (replace(config, realtime=False, auto_size=True), None),
    ):
        assert settle(asked, Stop(), partial(measure, run))[0].model == model


def test_a_run_settles_its_size_itself(quick: Path, portrait: Path, tmp_path: Path) -> None:
    """And says the choice first, before anything of the clip itself is run."""
    said: list[str] = []
    config = RunConfig(
        portrait, tmp_path / "o.mp4", model=str(quick), clip=Clip(0, 0.2), auto_size=True
    )
    summary = run(config, on_start=lambda s: said.append(f"started at {s.size}"), say=said.append)
    assert summary.exit_code == 0
    found = CHOICE.fullmatch(said[0])
    assert found, said
    assert said[1:] == [f"started at {found[4]}"]
    assert summary.to_dict()["size"] == int(found[4])
    assert summary.frames == probe(tmp_path / "o.mp4").frames == 6


@pytest.mark.parametrize("option", [("--size", "auto"), ("--realtime",)])
def test_a_clip_is_run_at_what_was_chosen(
    wsshm: Wsshm, quick: Path, portrait: Path, tmp_path: Path, option: tuple[str, ...]
) -> None:
    """The first line says it, the run does it, every frame is there, nothing else is."""
    before = {p.name for p in tmp_path.iterdir()}
    result = wsshm("run", portrait, "--model", quick, "-o", "o.mp4", "--json", *option)
    assert result.returncode == 0, result.stderr
    first, second, *_ = result.stderr.splitlines()
    found = CHOICE.fullmatch(first)
    assert found, first
    assert (found[2], found[3], found[8]) == ("tiny", "fp32", "30")
    assert int(found[4]) in sizes(LARGE)
    assert second.startswith("tiny · onnx · cpu · fp32 · 320x240 seen at ")
    assert json.loads(result.stdout)["size"] == int(found[4])
    assert probe(tmp_path / "o.mp4").frames == 60
    assert {p.name for p in tmp_path.iterdir()} - before <= {"o.mp4", "cache"}


def test_too_much_is_said_and_run_all_the_same(wsshm: Wsshm, slow: Path, tmp_path: Path) -> None:
    """The smallest size, x264 as always since no preset would have been enough."""
    clip = noise_clip(tmp_path / "in.mp4", 6)
    result = wsshm("run", clip, "--model", slow, "-o", "o.mp4", "--realtime")
    assert result.returncode == 0, result.stderr
    found = CHOICE.fullmatch(result.stderr.splitlines()[0])
    assert found, result.stderr
    assert (found[4], found[5], found[9]) == ("160", None, ": too much for this machine")
    assert probe(tmp_path / "o.mp4").frames == 6


def test_preset_is_changed_where_that_is_what_holds(
    tmp_path: Path, portrait: Path, quick: Path
) -> None:
    """Only in real time, only x264's, only when no size is small enough; and it is said."""

    def trial(config: RunConfig, stop: Stop) -> Load:
        return Load({None: 50, "superfast": 40, "ultrafast": 5}[config.encoding.preset], 1)

    config = RunConfig(portrait, tmp_path / "o.mp4", model=str(quick), realtime=True)
    settled, line = settle(config, Stop(), trial)
    assert settled.encoding.preset == "ultrafast"
    assert (CHOICE.fullmatch(line) or [""] * 7)[6] == "ultrafast"
    for other in (
        replace(config, realtime=False, auto_size=True),
        replace(config, output=tmp_path / "o.webm"),
        replace(config, encoding=replace(config.encoding, codec="hevc")),
        replace(config, encoding=replace(config.encoding, preset="slow")),
    ):
        settled, line = settle(other, Stop(), gives(Load(50, 1)))
        assert settled.encoding == other.encoding
        assert line.endswith(": too much for this machine)")


@pytest.mark.parametrize("option", ["--size=auto", "--realtime"])
def test_images_have_no_rate_to_hold(wsshm: Wsshm, ones: Path, tmp_path: Path, option: str) -> None:
    """2, one line with what to write instead, nothing on disk."""
    image = tmp_path / "in.png"
    cv2.imwrite(str(image), np.zeros((48, 64, 3), np.uint8))
    for source in (image, tmp_path):
        result = wsshm("run", source, "--model", ones, "-o", "out", option)
        assert result.returncode == 2, result.stderr
        one_error_line(result, option.replace("=", " "), "--size N")
        assert [p.name for p in tmp_path.iterdir()] == ["in.png"]


def test_output_that_is_there_is_refused_before_anything_is_measured(
    tmp_path: Path, portrait: Path, quick: Path
) -> None:
    """The same error as without, with the name that was asked for."""
    (tmp_path / "o.mp4").write_text("mine")

    def trial(config: RunConfig, stop: Stop) -> Load:
        raise AssertionError("nothing was to be tried")

    config = RunConfig(portrait, tmp_path / "o.mp4", model=str(quick), realtime=True)
    with pytest.raises(CannotCreate, match=r"o\.mp4: exists already"):
        settle(config, Stop(), trial)
    assert (tmp_path / "o.mp4").read_text() == "mine"


def test_stop_while_it_is_measured_ends_the_run(portrait: Path, slow: Path, tmp_path: Path) -> None:
    """SIGTERM in the first second: 143, and neither output nor temporary files are left."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    command = [
        sys.executable,
        "-m",
        "wsshm_cli",
        "run",
        str(portrait),
        "--model",
        str(slow),
        "-o",
        str(tmp_path / "o.mp4"),
        "--realtime",
    ]
    environment = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not any(folder.rglob("*.mp4")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == 143, errors
    assert not (tmp_path / "o.mp4").exists()
    assert not [*folder.iterdir()]
